import { once } from 'node:events'
import { type Socket, connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { encodeTraces } from '@agl/otlp'
import { describe, expect, it, onTestFinished } from 'vitest'
import { openStore } from '../src/index.ts'
import { folder } from './folder.ts'
import { type Program, run } from './processes.ts'
import { llmSpan } from './spans.ts'

const MEBIBYTE = 1024 * 1024

interface Server {
  program: Program
  url: string
  /** Megabytes of objects and buffers that its thread for requests holds, after garbage was collected. */
  held(): Promise<number>
}

async function server(): Promise<Server> {
  const program = run('serve.ts', [`sqlite:${join(folder(), 'agl.db')}`])
  const url = await program.line(/^http/)
  let asked = 0
  return {
    program,
    url,
    held: async () => {
      program.process.stdin?.write(`held-${++asked}\n`)
      const [, bytes] = (await program.line(new RegExp(`^held-${asked} `))).split(' ')
      return Number(bytes) / MEBIBYTE
    },
  }
}

async function socket(url: string): Promise<Socket> {
  const opened = connect(Number(new URL(url).port), '127.0.0.1')
  opened.on('error', () => undefined)
  onTestFinished(() => void opened.destroy())
  await once(opened, 'connect')
  return opened
}

async function sockets(count: number, url: string): Promise<Socket[]> {
  return Promise.all(Array.from({ length: count }, () => socket(url)))
}

/** That others are served meanwhile, and that the server ends when it is told to. */
async function check({ url, program }: Server): Promise<void> {
  const store = await openStore(url)
  for (let n = 0; n < 20; n++) {
    const { rolloutId, attempt } = await store.startRollout()
    const spans = Array.from({ length: 20 }, () => llmSpan({ rolloutId, attemptId: attempt.attemptId }))
    expect(await store.addSpans(spans)).toMatchObject({ added: 20 })
    expect(await store.querySpans({ rolloutId })).toMatchObject({ total: 20 })
  }
  await store.close()
  program.process.stdin?.end()
  expect(await program.end()).toMatchObject({ code: 0, errors: '' })
}

describe('a server', () => {
  it('serves others, and ends, while clients send their headers byte by byte', async () => {
    const slow = await server()
    let over = false
    onTestFinished(() => void (over = true))
    const drip = async (client: Socket): Promise<void> => {
      for (const byte of `POST /v1/traces HTTP/1.1\r\nhost: localhost\r\nx-long: ${'x'.repeat(10_000)}`) {
        if (over || client.destroyed) return
        client.write(byte)
        await sleep(5)
      }
    }
    const clients = await sockets(100, slow.url)
    const dripping = clients.map(drip)
    await check(slow)
    over = true
    await Promise.all(dripping)
  })

  it('serves others, and ends, while clients stop in the middle of a body', async () => {
    const slow = await server()
    const clients = await sockets(100, slow.url)
    for (const [i, client] of clients.entries()) {
      const path = i % 2 === 0 ? '/v1/traces' : '/v1/agl/rollouts'
      client.write(`POST ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n{"input":`)
    }
    await check(slow)
  })

  it('serves others, ends, and keeps little for clients that never read their answers', async () => {
    const slow = await server()
    const store = await openStore(slow.url)
    const { rolloutId, attempt } = await store.startRollout()
    const ids = { rolloutId, attemptId: attempt.attemptId }
    const text = 'x'.repeat(MEBIBYTE / 10)
    for (let n = 0; n < 4; n++) {
      await store.addSpans(Array.from({ length: 50 }, () => llmSpan({ ...ids, attributes: { text } })))
    }
    await store.close()
    const before = await slow.held()
    for (const client of await sockets(20, slow.url)) {
      client.pause()
      client.write(`GET /v1/agl/spans?rollout_id=${rolloutId}&limit=-1 HTTP/1.1\r\nhost: localhost\r\n\r\n`)
    }
    await checkBegan(slow.url)
    // Each answer has 20 MB.
    expect((await slow.held()) - before).toBeLessThan(200)
    await check(slow)
  })

  /** That what was asked before has been begun: the store does one after the other. */
  async function checkBegan(url: string): Promise<void> {
    const store = await openStore(url)
    for (let n = 0; n < 50; n++) expect(await store.queryRollouts()).toMatchObject({ total: 1 })
    await store.close()
  }

  it('takes 50 MB of spans at once, refuses more than 64 MB, and keeps nothing of either', async () => {
    const large = await server()
    const store = await openStore(large.url)
    const post = async (body: Uint8Array): Promise<number> => {
      const headers = { 'content-type': 'application/x-protobuf' }
      const response = await fetch(`${large.url}/v1/traces`, {
        method: 'POST',
        headers,
        body: Buffer.from(body),
      })
      await response.arrayBuffer()
      return response.status
    }
    const { rolloutId, attempt } = await store.startRollout()
    const ids = { rolloutId, attemptId: attempt.attemptId }
    const text = 'x'.repeat(4600)
    const spans = Array.from({ length: 11_000 }, () => llmSpan({ ...ids, attributes: { text } }))
    const { body } = encodeTraces(spans)
    expect(body.length).toBeGreaterThan(50 * MEBIBYTE)
    const before = await large.held()
    expect(await post(body)).toBe(200)
    expect(await store.querySpans({ rolloutId, limit: 1 })).toMatchObject({ total: spans.length })
    await expect.poll(async () => (await large.held()) - before, { timeout: 10_000 }).toBeLessThan(10)
    expect(await post(new Uint8Array(65 * MEBIBYTE)).catch(() => 413)).toBe(413)
    await expect.poll(async () => (await large.held()) - before, { timeout: 10_000 }).toBeLessThan(10)
    await store.close()
    await check(large)
  })
})
