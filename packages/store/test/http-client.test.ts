import { once } from 'node:events'
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { start, trace } from '@agl/core'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type Store, openStore, storeSink } from '../src/index.ts'
import { folder } from './folder.ts'
import { run } from './processes.ts'
import { served } from './served.ts'
import { llmSpan } from './spans.ts'

async function client(url: string, token?: string): Promise<Store> {
  const store = await openStore(url, token === undefined ? {} : { token })
  onTestFinished(() => store.close())
  return store
}

/** A server that counts what it is asked, and answers as `handle` says. */
async function scripted(
  handle: (path: string, response: ServerResponse, count: number, request: IncomingMessage) => void,
): Promise<{ url: string; asked: string[] }> {
  const asked: string[] = []
  const server = createServer((request, response) => {
    const path = request.url ?? ''
    asked.push(path)
    request.resume().on('end', () => {
      if (path === '/v1/agl/health') response.end('{"status":"ok"}')
      else handle(path, response, asked.filter((other) => other === path).length, request)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  return { url: `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`, asked }
}

const ROLLOUT = {
  rollout_id: 'ro-1',
  input: null,
  start_time: 1,
  end_time: 2,
  mode: null,
  resources_id: null,
  config: {},
  metadata: null,
}

const calls = (asked: readonly string[]): string[] => asked.filter((path) => !path.endsWith('/health'))

describe('a client', () => {
  it('asks again for what does no harm twice, once the server is well', async () => {
    const { url, asked } = await scripted((_path, response, count) => {
      response.statusCode = count === 1 ? 500 : 200
      response.end('{"items":[],"limit":-1,"offset":0,"total":0}')
    })
    const store = await client(url)
    expect((await store.queryRollouts()).total).toBe(0)
    expect(asked).toEqual(['/v1/agl/rollouts/search', '/v1/agl/health', '/v1/agl/rollouts/search'])
  })

  it('asks again after a connection was cut in the middle of an answer', async () => {
    const { url, asked } = await scripted((_path, response, count) => {
      if (count > 1) return response.end('null')
      response.writeHead(200, { 'content-length': 100 })
      response.write('{"worker_id"', () => response.destroy())
      return undefined
    })
    const store = await client(url)
    expect(await store.getWorker('w')).toBeUndefined()
    expect(calls(asked)).toHaveLength(2)
  })

  it.each([400, 401, 403, 404, 422])('takes %i for final', async (status) => {
    const { url, asked } = await scripted((_path, response) => {
      response.statusCode = status
      response.end('{"detail":"no"}')
    })
    const store = await client(url)
    await expect(store.updateRollout('ro-1', { status: 'failed' })).rejects.toMatchObject({
      code: expect.stringMatching(/^(usage|value_invalid)$/),
    })
    expect(asked).toHaveLength(1)
  })

  it('never sends a second time what would count twice', async () => {
    const { url, asked } = await scripted((_path, response, count) => {
      if (count === 1) response.destroy()
      else response.end('[]')
    })
    const store = await client(url)
    const message = expect.stringContaining('may or may not have done')
    const twice = { code: 'store_unavailable', message }
    await expect(store.enqueueRollouts([{ input: 1 }])).rejects.toMatchObject(twice)
    await expect(store.dequeueRollouts()).rejects.toMatchObject(twice)
    await expect(store.startAttempt('ro-1')).rejects.toMatchObject(twice)
    await expect(store.addResources({})).rejects.toMatchObject(twice)
    await expect(store.updateRollout('ro-1', { status: 'requeuing' })).rejects.toMatchObject(twice)
    expect(new Set(asked).size).toBe(asked.length)
  })

  it('says in one sentence that nobody is there, soon where nobody ever was', async () => {
    const { url, close } = await served()
    await close()
    const store = await client(url)
    await expect(store.statistics()).rejects.toMatchObject({
      code: 'store_unavailable',
      message: expect.stringMatching(
        /^The store at http:\/\/127\.0\.0\.1:\d+ cannot be reached \(.*ECONNREFUSED.*\); check that it is running\.$/,
      ),
    })
  })

  it('waits for a server that it knows, and then does what was asked', async () => {
    const file = `sqlite:${join(folder(), 'agl.db')}`
    const first = run('serve.ts', [file])
    const url = await first.line(/^http/)
    const store = await client(url)
    const { rolloutId } = await store.startRollout()
    first.process.kill('SIGKILL')
    await first.end()
    const asked = [
      store.updateRollout(rolloutId, { metadata: { by: 'patience' } }),
      store.enqueueRollouts([{ input: 'once' }]),
    ]
    await sleep(1500)
    const second = run('serve.ts', [file, new URL(url).port])
    await second.line(/^http/)
    await Promise.all(asked)
    expect(await store.getRollout(rolloutId)).toMatchObject({ metadata: { by: 'patience' } })
    expect((await store.queryRollouts({ statusIn: ['queuing'] })).total).toBe(1)
    second.process.kill()
  })

  it('takes another server for what it is', async () => {
    const { url } = await scripted((_path, response) => response.end('<html>'))
    const store = await client(url)
    await expect(store.statistics()).rejects.toMatchObject({
      message: expect.stringContaining('is it a store of Agent Lightning'),
    })
  })

  it('takes no answer for what it is not', async () => {
    let body = ''
    const { url } = await scripted((_path, response) => {
      response.setHeader('agl-result', '{"cut')
      response.end(body)
    })
    const store = await client(url)
    for (body of ['', '<html>', 'null', '[]', '{"items":5}', '{"items":[{}],"total":1}']) {
      await expect(store.querySpans({ rolloutId: 'ro-1' })).rejects.toMatchObject({
        code: 'store_unavailable',
      })
      await expect(store.queryRollouts()).rejects.toMatchObject({ name: 'AglError' })
    }
    expect(await store.addSpans([llmSpan()])).toMatchObject({ added: 1 })
  })

  it('follows nobody who sends it elsewhere', async () => {
    const elsewhere = await scripted((_path, response) => response.end('{}'))
    const { url } = await scripted((path, response) => {
      response.writeHead(307, { location: elsewhere.url + path }).end()
    })
    const store = await client(url, 'secret')
    await expect(store.statistics()).rejects.toMatchObject({ code: 'usage' })
    expect(elsewhere.asked).toEqual([])
  })

  it('goes on waiting though the server’s clock is faster than its own', async () => {
    const rollout = { ...ROLLOUT, status: 'succeeded' }
    const { url } = await scripted((path, response, count) => {
      response.setHeader('server', 'agl-store')
      if (!path.endsWith('/waits/rollouts')) response.end('{}')
      else if (count > 1) response.end(JSON.stringify([rollout]))
      else setTimeout(() => response.end('[]'), 900)
    })
    const store = await client(url)
    await store.statistics()
    expect(await store.waitForRollouts(['ro-1'], { timeout: 1 })).toMatchObject([{ rolloutId: 'ro-1' }])
  })

  it('sends less at once where that is too much, so that a large span costs no other', async () => {
    const server = await served({ maxBodyBytes: 100_000 })
    const store = await client(server.url)
    const ids = { rolloutId: 'ro-1', attemptId: 'at-1' }
    await store.startRollout(ids)
    const event = { name: 'prompt', timestamp: null, attributes: { text: 'x'.repeat(20_000) } }
    const spans = Array.from({ length: 40 }, (_, i) => llmSpan({ ...ids, name: `n${i}`, events: [event] }))
    const large = llmSpan({ ...ids, name: 'large', attributes: { text: 'x'.repeat(200_000) } })
    expect(await store.addSpans(spans.toSpliced(7, 0, large))).toEqual({
      added: 40,
      duplicates: 0,
      refused: [{ spanId: large.spanId, reason: expect.stringContaining('larger') }],
    })
    const { items } = await server.store.querySpans({ rolloutId: 'ro-1' })
    expect(items.map(({ name }) => name)).toEqual(spans.map(({ name }) => name))
  })

  it('shows a token, and never tells it', async () => {
    const { url } = await served({ token: 'tok&en/1' })
    const inURL = url.replace('//', `//agl:${encodeURIComponent('tok&en/1')}@`)
    for (const store of [await client(url, 'tok&en/1'), await client(inURL)]) {
      expect(store.url).toBe(url)
      expect((await store.statistics()).name).toBe(url)
    }
    const wrong = await client(url.replace('//', '//agl:wrong-one@'))
    const error: unknown = await wrong.statistics().catch((reason: unknown) => reason)
    expect(error).toMatchObject({
      code: 'usage',
      message: expect.stringMatching(
        /^The store at http:\S+ refused the token \(The token is wrong\.\); .*\.$/,
      ),
    })
    expect(String(error)).not.toContain('wrong-one')
    await expect((await client(url)).statistics()).rejects.toMatchObject({
      message: expect.stringContaining('needs a token'),
    })
  })

  it.each([
    'http://',
    'http://host:99999',
    'http://host/v1/agl',
    'http://host?x=1',
    'http://agl:50%@host',
    'http://agl:%E2%82%AC@host',
  ])('refuses the URL %s', async (url) => {
    await expect(openStore(url)).rejects.toMatchObject({ code: 'usage' })
  })

  it('sends what OTLP cannot say another way', async () => {
    const server = await served()
    const store = await client(server.url)
    const ids = { rolloutId: 'ro-1', attemptId: 'at-1' }
    await store.startRollout(ids)
    const odd = llmSpan({ ...ids, traceId: 'no hex', spanId: 'neither', name: 'odd' })
    const added = await store.addSpans([llmSpan({ ...ids, name: 'plain' }), odd])
    expect(added).toEqual({ added: 2, duplicates: 0, refused: [] })
    expect(await store.addSpans([odd])).toMatchObject({ added: 0, duplicates: 1 })
    const { items } = await store.querySpans({ rolloutId: 'ro-1' })
    expect(items.map(({ name, spanId }) => [name, spanId])).toEqual([
      ['plain', expect.any(String)],
      ['odd', 'neither'],
    ])
  })

  it('brings over what OTLP has no standard place for', async () => {
    const server = await served()
    const store = await client(server.url)
    const ids = { rolloutId: 'ro-1', attemptId: 'at-1' }
    await store.startRollout(ids)
    const context = {
      traceId: '0af7651916cd43dd8448eb211c80319c',
      spanId: 'b7ad6b7169203331',
      isRemote: true,
      traceState: { vendor: 'x' },
    }
    const span = llmSpan({
      ...ids,
      sequenceId: 4,
      parent: context,
      links: [{ context, attributes: null }],
      startTime: 1_700_000_000.1234567,
      attributes: { empty: [], float: 0.1, big: 2 ** 53, negative: -0.5, list: ['a'], flags: [true, false] },
    })
    await store.addSpans([span], { keepSequenceIds: true })
    const viaHTTP = (await store.querySpans({ rolloutId: 'ro-1' })).items
    const [direct] = (await server.store.querySpans({ rolloutId: 'ro-1' })).items
    expect(viaHTTP).toEqual([direct])
    expect(direct).toMatchObject({
      sequenceId: 4,
      startTime: span.startTime,
      parentId: span.parentId,
      parent: { isRemote: true },
      attributes: { empty: [], float: 0.1, big: 2 ** 53, negative: -0.5, list: ['a'], flags: [true, false] },
    })
  })

  it('as a sink loses no span while the server is away', async () => {
    const file = `sqlite:${join(folder(), 'agl.db')}`
    const first = run('serve.ts', [file])
    const url = await first.line(/^http/)
    const store = await client(url)
    const lightning = await start({ sinks: [storeSink(store)], log: 'silent' })
    onTestFinished(async () => void (await lightning.shutdown()))
    await trace('before', async () => undefined)
    expect(await lightning.flush()).toMatchObject({ written: 1, dropped: 0 })
    first.process.kill('SIGKILL')
    await first.end()
    await Promise.all(Array.from({ length: 300 }, (_, i) => trace(`away ${i}`, async () => undefined)))
    await sleep(1000)
    const second = run('serve.ts', [file, new URL(url).port])
    await second.line(/^http/)
    await expect.poll(async () => (await store.statistics()).totalSpans, { timeout: 20_000 }).toBe(301)
    expect((await store.queryRollouts({ statusIn: ['succeeded'] })).total).toBe(301)
    expect(await lightning.flush()).toMatchObject({ dropped: 0 })
    second.process.kill()
  })
})
