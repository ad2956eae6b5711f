import { inspect } from 'node:util'
import { createServer } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { GatewayClient, type GatewayClientOptions, type GatewayState } from '@agl/train/gateway'
import { startGatewayServer, startRelay, type Relay } from './gateway-server.ts'

const KEY = 'a-key-that-nobody-may-see'

async function gateway(options: { key?: string; port?: number } = {}): Promise<string> {
  const server = await startGatewayServer(options)
  onTestFinished(() => server[Symbol.asyncDispose]())
  return server.url
}

/** A client, and what stands between it and the gateway. */
async function relayed(
  options: Omit<GatewayClientOptions, 'url'> = {},
): Promise<{ client: GatewayClient; relay: Relay }> {
  const relay = await startRelay(await gateway())
  onTestFinished(() => relay[Symbol.asyncDispose]())
  return { client: new GatewayClient({ url: relay.url, ...options }), relay }
}

async function listen(
  answer: (respond: (status: number, headers: Record<string, string>, body: string) => void) => void,
): Promise<string> {
  const server = createServer((_, response) =>
    answer((status, headers, body) => response.writeHead(status, headers).end(body)),
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.close()
    server.closeAllConnections()
  })
  const address = server.address()
  return `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`
}

async function ended(client: GatewayClient, ids: readonly string[]): Promise<void> {
  await client.enqueue(ids.map((rolloutId) => ({ rolloutId, input: { data_id: `data ${rolloutId}` } })))
  for (const id of ids) await client.patchStatus(id, { state: 'failed' })
}

async function collect<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const all: Item[] = []
  for await (const item of items) all.push(item)
  return all
}

/** A model that says what vLLM says when it is asked for ids. */
function modelServer(ids: readonly number[] | null): Promise<string> {
  const choice = {
    index: 0,
    message: { role: 'assistant', content: 'ho' },
    finish_reason: 'stop',
    token_ids: ids,
    logprobs: ids && { content: ids.map((id) => ({ token: `t${id}`, logprob: -id / 10 })) },
  }
  return listen((respond) =>
    respond(
      200,
      { 'content-type': 'application/json' },
      JSON.stringify({ id: 'chatcmpl-1', choices: [choice], prompt_token_ids: ids && [1, 2] }),
    ),
  )
}

function callModelAt(client: GatewayClient, rolloutId: string): Promise<Response> {
  const { AGL_OPENAI_BASE_URL: base } = client.agentEnvironment({ rolloutId, isTrain: true })
  return fetch(`${base}/chat/completions`, {
    method: 'POST',
    body: JSON.stringify({ model: 'any', messages: [{ role: 'user', content: 'hi' }] }),
  })
}

async function callModel(client: GatewayClient, rolloutId: string): Promise<number> {
  return (await callModelAt(client, rolloutId)).status
}

describe('a gateway client', () => {
  it('takes a rollout from its queue to its end', async () => {
    const client = new GatewayClient({ url: await gateway({ key: KEY }), key: KEY })
    await client.health()
    const [rollout] = await client.enqueue([
      {
        input: { question: 'why? ✓', data_id: 'd1' },
        isTrain: false,
        config: { timeoutSeconds: 7, local: { agentClass: 'a.B', envMap: { Q: 'input.question' } } },
        metadata: { batch_idx: 3, own: [1] },
      },
    ])
    expect(rollout).toMatchObject({
      input: { question: 'why? ✓', data_id: 'd1' },
      isTrain: false,
      config: {
        timeoutSeconds: 7,
        local: { agentClass: 'a.B', envMap: { Q: 'input.question' } },
        k8s: null,
      },
      metadata: { batch_idx: 3, own: [1] },
      status: { state: 'queuing', version: 1, lastAttemptId: null, errorMessage: null },
    })
    const { rolloutId = '' } = rollout ?? {}
    expect(await client.list(['queuing', 'running'])).toEqual([rollout])
    expect(await client.list(['succeeded'])).toEqual([])
    expect(await client.list([])).toEqual([])
    const running = await client.patchStatus(rolloutId, {
      state: 'running',
      lastAttemptId: '0',
      k8sJobName: 'j',
    })
    expect(running.status).toMatchObject({
      state: 'running',
      version: 2,
      lastAttemptId: '0',
      k8sJobName: 'j',
    })
    expect(await client.sendEvent(rolloutId, 'note', { text: 'ok' })).toMatchObject({
      eventType: 'note',
      rolloutId,
      attemptId: '0',
      timestamp: expect.any(Number),
      data: { text: 'ok' },
    })
    await client.patchStatus(rolloutId, { state: 'failed', errorMessage: 'so it goes' })
    expect(await client.get(rolloutId)).toMatchObject({
      rollout: { status: { state: 'failed', errorMessage: 'so it goes', version: 3 } },
      attempts: ['0'],
    })
    expect(await collect(client.terminal())).toEqual([
      { rolloutId, state: 'failed', dataId: 'd1', isTrain: false },
    ])
    await client.delete(rolloutId)
    await client.delete(rolloutId)
    await expect(client.get(rolloutId)).rejects.toMatchObject({ code: 'not_found' })
    await expect(client.events(rolloutId)).rejects.toMatchObject({ code: 'not_found' })
    await expect(client.sendEvent(rolloutId, 'note')).rejects.toMatchObject({ code: 'not_found' })
  })

  it('gives a rollout that exists under its id as it is', async () => {
    const client = new GatewayClient({ url: await gateway() })
    await client.enqueue([{ rolloutId: 'mine', input: 1 }])
    await client.patchStatus('mine', { state: 'running' })
    const [again, other] = await client.enqueue([{ rolloutId: 'mine', input: 2 }, { input: null }])
    expect(again).toMatchObject({ rolloutId: 'mine', input: 1, status: { state: 'running' } })
    expect(other).toMatchObject({
      input: null,
      isTrain: true,
      config: { timeoutSeconds: 3600, local: null },
    })
    expect(await client.list(['queuing', 'running'], { limit: 1 })).toHaveLength(1)
  })

  it.each<{ path: GatewayState[]; next: GatewayState }>([
    { path: [], next: 'queuing' },
    { path: [], next: 'succeeded' },
    { path: ['running'], next: 'running' },
    { path: ['running'], next: 'queuing' },
    { path: ['running', 'succeeded'], next: 'failed' },
    { path: ['failed'], next: 'running' },
  ])('rejects a change that the states do not allow, $path then $next', async ({ path, next }) => {
    const client = new GatewayClient({ url: await gateway() })
    await client.enqueue([{ rolloutId: 'r', input: 1 }])
    for (const state of path) await client.patchStatus('r', { state })
    const { status } = (await client.get('r')).rollout
    await expect(client.patchStatus('r', { state: next })).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining(`cannot transition ${path.at(-1) ?? 'queuing'} -> ${next}`),
    })
    expect((await client.get('r')).rollout.status).toEqual(status)
  })

  it('reads what has ended page by page, goes on with what ends later, and ends on a signal', async () => {
    const client = new GatewayClient({ url: await gateway() })
    await ended(client, ['a', 'b', 'c', 'd', 'e'])
    await client.delete('b')
    const ids: string[] = []
    for await (const { rolloutId } of client.terminal({ limit: 2 })) ids.push(rolloutId)
    expect(ids).toEqual(['a', 'c', 'd', 'e'])
    expect(await client.terminalPage({ after: 1, limit: 2 })).toMatchObject({
      items: [{ rolloutId: 'c', dataId: 'data c' }],
      nextAfter: 3,
      totalTerminal: 5,
    })
    const stop = new AbortController()
    const later: string[] = []
    const reading = (async () => {
      const options = { after: 4, follow: true, pollInterval: 0.02, signal: stop.signal }
      for await (const { rolloutId } of client.terminal(options)) {
        later.push(rolloutId)
        if (rolloutId === 'g') stop.abort()
      }
    })()
    await sleep(50)
    await ended(client, ['f', 'g'])
    await reading
    expect(later).toEqual(['e', 'f', 'g'])
  })

  it('says that a gateway was started anew and does not know what was read', async () => {
    const first = await startGatewayServer()
    const { port } = new URL(first.url)
    const client = new GatewayClient({ url: first.url })
    await ended(client, ['a', 'b'])
    await first[Symbol.asyncDispose]()
    await gateway({ port: Number(port) })
    await expect(collect(client.terminal({ after: 2 }))).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining('started anew'),
    })
  })

  it('gives triplets: ids and log probabilities of the last call with a prompt, and rewards', async () => {
    const client = new GatewayClient({ url: await gateway() })
    await client.enqueue([{ rolloutId: 'r', input: 1 }])
    expect(await callModel(client, 'r')).toBe(503)
    const servers = await Promise.all([modelServer([3, 4]), modelServer([5])])
    const calls: number[] = []
    for (const [i, endpoint] of servers.entries()) {
      await client.removeModels()
      const models = [{ model: 'scripted', endpoint, version: i }]
      expect(await client.registerModels(models)).toEqual(models)
      calls.push(await callModel(client, 'r'))
    }
    await client.sendEvent('r', 'reward', { value: 0.5, message: 'fine', source: 'agent', reason: 'x' })
    await client.sendEvent('r', 'reward', { value: 'much' })
    await client.sendEvent('r', 'other', { a: 1 })
    expect(calls).toEqual([200, 200])
    const triplets = await client.events('r', { format: 'triplet' })
    expect(triplets.map(({ kind, eventType, data }) => ({ kind, eventType, data }))).toEqual([
      {
        kind: 'model_request',
        eventType: 'model_request',
        data: {
          promptTokenIds: [1, 2],
          responseTokenIds: [5],
          responseLogProbs: [-0.5],
          server: { model: 'scripted', version: 1 },
          httpStatus: 200,
          status: 'ok',
        },
      },
      { kind: 'reward', eventType: 'reward', data: { value: 0.5, source: 'agent', reason: 'x' } },
      { kind: 'reward', eventType: 'reward', data: { value: null, source: null, reason: null } },
      { kind: 'other', eventType: 'other', data: { a: 1 } },
    ])
    const whole = await client.events('r', { eventType: 'model_request' })
    expect(whole.map(({ data }) => data['request'])).toEqual(
      [0, 1].map(() =>
        expect.objectContaining({ model: 'scripted', temperature: 1, return_token_ids: true }),
      ),
    )
  })

  it('pauses model calls and lets them through again', async () => {
    const client = new GatewayClient({ url: await gateway() })
    let release = (): void => {}
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    const endpoint = await listen((respond) => {
      void released.then(() =>
        respond(200, { 'content-type': 'application/json' }, JSON.stringify({ choices: [] })),
      )
    })
    await client.enqueue([{ rolloutId: 'r', input: 1 }])
    await client.registerModels([{ model: 'scripted', endpoint }])
    expect(await client.proxyState()).toEqual({
      paused: false,
      retryAfterSeconds: 5,
      reason: null,
      inflight: 0,
    })
    const underWay = callModel(client, 'r')
    await expect.poll(async () => (await client.proxyState()).inflight).toBe(1)
    const paused = { paused: true, retryAfterSeconds: 7, reason: 'new weights', inflight: 1 }
    expect(await client.pauseProxy({ retryAfterSeconds: 7, reason: 'new weights' })).toEqual(paused)
    expect(await client.proxyState()).toEqual(paused)
    const refused = await callModelAt(client, 'r')
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '7'])
    release()
    expect(await underWay).toBe(200)
    expect(await client.resumeProxy()).toEqual({
      paused: false,
      retryAfterSeconds: 7,
      reason: null,
      inflight: 0,
    })
    expect(await callModel(client, 'r')).toBe(200)
    // A call that is refused leaves no trace.
    expect(await client.events('r')).toHaveLength(2)
    expect(await client.pauseProxy()).toMatchObject({ retryAfterSeconds: 5, reason: null })
    expect(await client.resumeProxy()).toEqual(await client.resumeProxy())
    await expect(client.pauseProxy({ retryAfterSeconds: 0.5 })).rejects.toMatchObject({
      code: 'value_invalid',
    })
  })

  it('renews and removes model servers', async () => {
    const client = new GatewayClient({ url: await gateway() })
    const server = { model: 'scripted', endpoint: await modelServer([5]) }
    await client.enqueue([{ rolloutId: 'r', input: 1 }])
    expect(await client.registerModels([server])).toEqual([{ ...server, version: 0 }])
    expect(await client.registerModels([{ ...server, version: 3 }])).toEqual([{ ...server, version: 3 }])
    expect(await callModel(client, 'r')).toBe(200)
    expect(await client.events('r', { format: 'triplet' })).toMatchObject([
      { data: { server: { model: 'scripted', version: 3 } } },
    ])
    await client.removeModels()
    expect(await callModel(client, 'r')).toBe(503)
  })

  it('gives no ids where the model server gave none', async () => {
    const client = new GatewayClient({ url: await gateway() })
    await client.enqueue([{ rolloutId: 'r', input: 1 }])
    await client.registerModels([{ model: 'scripted', endpoint: await modelServer(null) }])
    await callModel(client, 'r')
    expect((await client.events('r', { format: 'triplet' })).map(({ data }) => data)).toMatchObject([
      { promptTokenIds: [], responseTokenIds: [], responseLogProbs: null },
    ])
  })
})

describe('a gateway client in bad weather', () => {
  it('repeats what may be repeated, and adds rollouts once', async () => {
    const { client, relay } = await relayed()
    relay.faults.push('lost answer', 'busy')
    const [added] = await client.enqueue([{ input: 1 }])
    expect(relay.seen).toHaveLength(3)
    expect(await client.list(['queuing'])).toEqual([added])
    relay.faults.push('busy', 'lost answer')
    await client.delete(added?.rolloutId ?? '')
    expect(await client.list(['queuing'])).toEqual([])
  })

  it('does not repeat an event or a change that may have arrived', async () => {
    const { client, relay } = await relayed()
    await client.enqueue([{ rolloutId: 'r', input: 1 }])
    relay.faults.push('lost answer')
    await expect(client.sendEvent('r', 'reward', { value: 1 })).rejects.toMatchObject({
      code: 'store_unavailable',
    })
    expect(await client.events('r')).toHaveLength(1)
    relay.faults.push('lost answer')
    await expect(client.patchStatus('r', { state: 'running' })).rejects.toMatchObject({
      code: 'store_unavailable',
    })
    expect((await client.get('r')).rollout.status.version).toBe(2)
  })

  it('sends an event again that did not arrive', async () => {
    const first = await startGatewayServer()
    const port = Number(new URL(first.url).port)
    await first[Symbol.asyncDispose]()
    const client = new GatewayClient({ url: first.url, retries: 8 })
    const sending = client.sendEvent('r', 'note')
    await gateway({ port })
    await expect(sending).rejects.toMatchObject({ code: 'not_found' })
  })

  it('gives up a gateway that is slow, or away', async () => {
    const { client, relay } = await relayed({ timeout: 0.1, retries: 1 })
    relay.faults.push('late', 'late')
    await expect(client.list(['queuing'])).rejects.toMatchObject({
      code: 'store_unavailable',
      message: `The gateway at ${relay.url} does not answer within 0.1 s; check that it runs there.`,
    })
    expect(relay.seen).toHaveLength(2)
    await relay[Symbol.asyncDispose]()
    await expect(client.health()).rejects.toMatchObject({
      code: 'store_unavailable',
      message: `The gateway at ${relay.url} does not answer (ECONNREFUSED); check that it runs there.`,
    })
  })

  it('ends at once when its signal aborts', async () => {
    const { client, relay } = await relayed()
    relay.faults.push('late')
    const stop = new AbortController()
    const listing = client.list(['queuing'], { signal: stop.signal })
    await expect.poll(() => relay.seen).toHaveLength(1)
    stop.abort(new Error('enough'))
    await expect(listing).rejects.toThrow('enough')
  })

  it('refuses a wrong key with a sentence that does not hold it', async () => {
    const url = await gateway({ key: 'another' })
    const client = new GatewayClient({ url, key: KEY })
    const error: unknown = await client.list(['queuing']).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'config_invalid', message: expect.stringContaining('key (401)') })
    expect(inspect(error, { depth: 9 })).not.toContain(KEY)
    expect(inspect(client, { depth: 9, showHidden: true })).not.toContain(KEY)
    expect(JSON.stringify(client)).not.toContain(KEY)
  })

  it.each([
    ['a redirection', 307, { location: 'http://127.0.0.1:9/' }, '', 'value_invalid'],
    ['no JSON', 200, {}, '<html>', 'body_invalid'],
    ['something else', 200, {}, '{"rollouts":[]}', 'body_invalid'],
    ['a rollout of another kind', 200, {}, '[{"rollout_id":7}]', 'body_invalid'],
    ['a refusal with the key in it', 400, {}, `{"detail":"not ${KEY}"}`, 'value_invalid'],
  ])('rejects %s', async (_, status, headers, body, code) => {
    const client = new GatewayClient({
      url: await listen((respond) => respond(status, headers, body)),
      key: KEY,
    })
    const error: unknown = await client.list(['queuing']).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ name: 'AglError', code })
    expect(String(error)).not.toContain(KEY)
  })

  it.each([Number.NaN, Number.POSITIVE_INFINITY, 1n, undefined])(
    'does not send what JSON would change or cannot hold, %s',
    async (value) => {
      const { client, relay } = await relayed()
      const refused = value === undefined ? { deep: { toJSON: () => BigInt(1) } } : { deep: [value] }
      await expect(client.enqueue([{ input: refused }])).rejects.toMatchObject({
        code: 'value_unserializable',
      })
      await expect(client.sendEvent('r', 'x', refused)).rejects.toMatchObject({
        code: 'value_unserializable',
      })
      expect(relay.seen).toEqual([])
    },
  )

  it.each(['', '.', '..'])('does not take "%s" for an id', async (id) => {
    const { client, relay } = await relayed()
    for (const doing of [() => client.delete(id), () => client.get(id), () => client.sendEvent(id, 'x')])
      await expect(doing()).rejects.toMatchObject({ code: 'value_invalid' })
    await expect(client.enqueue([{ rolloutId: id, input: 1 }])).rejects.toMatchObject({
      code: 'value_invalid',
    })
    expect(relay.seen).toEqual([])
  })

  it.each([
    { url: 'nowhere' },
    { url: 'file:///etc' },
    { url: 'http://user:secret@127.0.0.1' },
    { url: 'http://127.0.0.1', timeout: 0 },
    { url: 'http://127.0.0.1', retries: -1 },
    { url: 'http://127.0.0.1', key: 'two\nlines' },
  ])('refuses options that make no sense, %o', (options) => {
    expect(() => new GatewayClient(options)).toThrow(
      expect.objectContaining({ code: 'value_invalid', message: expect.not.stringContaining('secret') }),
    )
  })
})
