import { once } from 'node:events'
import { request } from 'node:http'
import { type Socket, connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { openStore, serveStore } from '../src/index.ts'
import { served } from './served.ts'
import { llmSpan } from './spans.ts'

const token = 'a-secret-token'

async function connected(url: string): Promise<Socket> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  socket.on('error', () => undefined)
  onTestFinished(() => void socket.destroy())
  await once(socket, 'connect')
  return socket
}

/** A request with headers that fetch does not let anybody set. */
async function raw(
  url: string,
  headers: Record<string, string>,
  method = 'GET',
): Promise<number | undefined> {
  const sent = request(url, { headers, method }).end()
  const [response] = await once(sent, 'response')
  response.resume()
  return response.statusCode
}

describe('who may use the server', () => {
  it('asks for the token everywhere but at its health', async () => {
    const { get, post } = await served({ token })
    expect(await get('health')).toMatchObject({ status: 200 })
    for (const answer of [await get('rollouts'), await post('rollouts', {}), await post('/v1/traces')]) {
      expect(answer).toMatchObject({ status: 401, body: { detail: 'This store needs a token.' } })
      expect(answer.headers.get('www-authenticate')).toBe('Bearer')
    }
    const wrong = await get('rollouts', { headers: { authorization: 'Bearer a-secret-tokem' } })
    expect(wrong).toMatchObject({ status: 401, body: { detail: 'The token is wrong.' } })
  })

  it('takes the token as a bearer token, and as the password of any user', async () => {
    const { get } = await served({ token })
    const basic = Buffer.from(`agl:${token}`).toString('base64')
    for (const authorization of [`Bearer ${token}`, `bearer ${token}`, `Basic ${basic}`]) {
      expect(await get('rollouts', { headers: { authorization } })).toMatchObject({ status: 200 })
    }
  })

  it('takes a token of several words, and none that no header carries', async () => {
    const { get, store } = await served({ token: 'open the door' })
    const headers = { authorization: 'Bearer open the door' }
    expect(await get('rollouts', { headers })).toMatchObject({ status: 200 })
    for (const wrong of ['', ' led', 'a\nb', '€']) {
      await expect(serveStore(store, { port: 0, token: wrong })).rejects.toMatchObject({ code: 'usage' })
    }
  })

  it('answers only to names of this machine, unless there is a token', async () => {
    const { url } = await served()
    const rollouts = `${url}/v1/agl/rollouts`
    for (const host of ['localhost:4747', '127.0.0.1', '[::1]:4747', 'a.localhost']) {
      expect(await raw(rollouts, { host })).toBe(200)
    }
    expect(await raw(rollouts, { host: 'evil.example:4747' })).toBe(403)
    const guarded = await served({ token })
    const headers = { host: 'agents.example', authorization: `Bearer ${token}` }
    expect(await raw(`${guarded.url}/v1/agl/rollouts`, headers)).toBe(200)
  })

  it('lets pages of other sites neither change anything nor read, unless they are allowed to', async () => {
    const origin = 'https://dashboard.example'
    const closed = await served()
    expect(await raw(`${closed.url}/v1/agl/workers/w`, { origin }, 'POST')).toBe(403)
    const read = await closed.get('rollouts', { headers: { origin } })
    expect(read.headers.has('access-control-allow-origin')).toBe(false)

    const open = await served({ cors: [origin] })
    expect(await raw(`${open.url}/v1/agl/workers/w`, { origin }, 'POST')).toBe(200)
    expect(await raw(`${open.url}/v1/agl/workers/w`, { origin: 'https://other.example' }, 'POST')).toBe(403)
    const preflight = await open.get('rollouts', {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': 'POST' },
    })
    expect(preflight.status).toBe(200)
    expect(preflight.headers.get('access-control-allow-origin')).toBe(origin)
  })

  it('says in one sentence that a port is taken', async () => {
    const { url, store } = await served()
    await expect(serveStore(store, { port: Number(new URL(url).port) })).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringMatching(/cannot be served at 127\.0\.0\.1:\d+ .*EADDRINUSE/),
    })
  })
})

describe('clients that misbehave, and the end', () => {
  it('gives a rollout back to the queue whose answer finds nobody', async () => {
    const { url, store } = await served()
    for (let i = 0; i < 10; i++) {
      const socket = await connected(url)
      const body = '{"timeout": 9}'
      socket.write(
        `POST /v1/agl/queues/rollouts/dequeue HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
      )
      await sleep(20)
      // It goes in the moment in which there is something for it.
      socket.resetAndDestroy()
      const [queued] = await store.enqueueRollouts([{ input: i }])
      const { rolloutId = '' } = queued ?? {}
      await sleep(20)
      expect(await store.getRollout(rolloutId)).toMatchObject({ status: 'queuing' })
      await store.updateRollout(rolloutId, { status: 'cancelled' })
    }
  })

  it('does not keep an answer for ever for a client that does not read it', async () => {
    const { url, store } = await served({ patience: 200 })
    const size = 32 * 1024 * 1024
    await store.enqueueRollouts([{ input: 'x'.repeat(size) }])
    const socket = await connected(url)
    socket.pause()
    socket.write('GET /v1/agl/rollouts HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n')
    await sleep(1000)
    const closed = once(socket, 'close')
    let read = 0
    socket.on('data', (chunk: Buffer) => (read += chunk.length))
    socket.resume()
    await closed
    expect(read).toBeGreaterThan(0)
    expect(read).toBeLessThan(size)
  })

  it('closes without waiting for connections that nobody uses', async () => {
    const { url, store, close } = await served({ grace: 600_000 })
    const { rolloutId, attempt } = await store.startRollout()
    const ids = { rolloutId, attemptId: attempt.attemptId }
    await store.addSpans(Array.from({ length: 20_000 }, () => llmSpan(ids)))
    const [unused, busy] = [await connected(url), await connected(url)]
    busy.pause()
    busy.write(`GET /v1/agl/spans?rollout_id=${rolloutId} HTTP/1.1\r\nhost: localhost\r\n\r\n`)
    await sleep(200)
    const closing = close()
    // Its answer began before the end, and the connection was to be kept.
    busy.resume()
    await Promise.all([closing, once(unused.resume(), 'close'), once(busy, 'close')])
    expect([unused.readableEnded, busy.readableEnded]).toEqual([true, true])
  })

  it('closes while slow clients have not finished their requests', async () => {
    const { url, close } = await served({ grace: 200 })
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    socket.on('error', () => undefined)
    await once(socket, 'connect')
    socket.write('POST /v1/agl/rollouts HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{')
    await sleep(50)
    const gone = once(socket, 'close')
    await close()
    await gone
    expect(socket.destroyed).toBe(true)
  })

  it('survives broken requests and clients that vanish', async () => {
    const server = await served()
    const { rolloutId, attempt } = await server.store.startRollout()
    const ids = { rolloutId, attemptId: attempt.attemptId }
    await server.store.addSpans(Array.from({ length: 2000 }, () => llmSpan(ids)))
    const requests = [
      'nonsense\r\n\r\n',
      'POST /v1/agl/rollouts HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{',
      `GET /v1/agl/spans?rollout_id=${rolloutId} HTTP/1.1\r\nhost: localhost\r\n\r\n`,
      'POST /v1/agl/queues/rollouts/dequeue HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 14\r\n\r\n{"timeout": 9}',
    ]
    for (const text of requests) {
      const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
      socket.on('error', () => undefined)
      await once(socket, 'connect')
      socket.write(text)
      await sleep(20)
      socket.destroy()
    }
    expect(await server.get('health')).toMatchObject({ status: 200 })
    // Nobody takes it for the client that waited and is gone.
    await server.store.enqueueRollouts([{ input: 'kept' }])
    await sleep(50)
    expect((await server.post('queues/rollouts/dequeue')).body).toMatchObject([{ input: 'kept' }])
  })

  it('ends those who wait when it closes', async () => {
    const store = await openStore('memory:')
    const { rolloutId } = await store.startRollout()
    const server = await serveStore(store, { port: 0 })
    const headers = { 'content-type': 'application/json' }
    const ask = (path: string, body: object): Promise<Response> =>
      fetch(`${server.url}/v1/agl/${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
    const waits = [
      ask('waits/rollouts', { rollout_ids: [rolloutId] }),
      ask('queues/rollouts/dequeue', { timeout: 60 }),
    ]
    await sleep(50)
    await server.close()
    const [wait, dequeue] = await Promise.all(waits)
    expect(wait?.status).toBe(503)
    expect(await dequeue?.json()).toEqual([])
    expect((await store.statistics()).totalRollouts).toBe(1)
    await store.close()
  })
})
