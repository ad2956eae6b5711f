import { spanToJSON } from '@agl/core'
import { openStore, serveStore, type Store } from '@agl/store'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { type PythonProgram, startPython } from '../src/python.ts'
import { wireSpan } from '../src/spans.ts'

let python: PythonProgram
beforeAll(async () => {
  python = await startPython('agentlightning', 'stores.py')
}, 180_000)
afterAll(() => python[Symbol.asyncDispose]())

interface Answer {
  result?: unknown
  error?: string
  message?: string
}

/** Our server, and Agent Lightning's own client before it. */
async function served(options: { token?: string } = {}): Promise<{
  store: Store
  url: string
  call: (method: string, args?: object, url?: string) => Promise<unknown>
  fails: (method: string, args?: object, url?: string) => Promise<Answer>
}> {
  const store = await openStore('memory:')
  const server = await serveStore(store, { port: 0, grace: 500, ...options })
  onTestFinished(async () => {
    await server.close()
    await store.close()
  })
  const ask = async (method: string, args: object, url: string): Promise<Answer> =>
    Object(await python.ask({ client: url, call: method, args }))
  return {
    store,
    url: server.url,
    call: async (method, args = {}, url = server.url) => {
      const { result, error, message } = await ask(method, args, url)
      if (error !== undefined) throw new Error(`${method}: ${error}: ${message}`)
      return result
    },
    fails: (method, args = {}, url = server.url) => ask(method, args, url),
  }
}

describe('our server and Agent Lightning’s own client', () => {
  it('take a rollout from the queue to its end', async () => {
    const { store, call } = await served()
    const llm = { resource_type: 'llm', endpoint: 'http://h/v1', model: 'm', sampling_parameters: { n: 2 } }
    const resources = Object(await call('add_resources', { resources: { main: llm } }))
    expect(resources).toMatchObject({ version: 1, resources: { main: llm } })
    const input = { question: '½ – "all" \u{1F99A}', nested: [1, null, { a: [] }] }
    const queued = Object(await call('enqueue_rollout', { input, mode: 'train', metadata: { k: 1 } }))
    expect(queued).toMatchObject({ input, mode: 'train', resources_id: resources.resources_id })

    const taken = Object(await call('dequeue_rollout', { worker_id: 'Worker-1' }))
    const { rollout_id: rolloutId } = taken
    const { attempt_id: attemptId } = taken.attempt
    expect(taken).toMatchObject({ rollout_id: queued.rollout_id, status: 'preparing' })
    expect(await call('dequeue_rollout', { worker_id: 'Worker-2' })).toBeNull()

    const span = wireSpan({ rolloutId, attemptId, sequenceId: 1 })
    expect(await call('add_span', { span: spanToJSON(span) })).toEqual(spanToJSON(span))
    expect(await call('add_span', { span: spanToJSON(span) })).toBeNull()
    expect(await call('get_next_span_sequence_id', { rollout_id: rolloutId, attempt_id: attemptId })).toBe(2)
    expect(await call('query_spans', { rollout_id: rolloutId, attempt_id: 'latest' })).toEqual({
      items: [spanToJSON(span)],
      limit: -1,
      offset: 0,
      total: 1,
    })

    const attempt = { rollout_id: rolloutId, attempt_id: attemptId }
    expect(await call('update_attempt', { ...attempt, status: 'succeeded' })).toMatchObject({
      status: 'succeeded',
    })
    expect(await call('wait_for_rollouts', { rollout_ids: [rolloutId], timeout: 0.05 })).toMatchObject([
      { rollout_id: rolloutId, status: 'succeeded' },
    ])
    expect(await call('get_worker_by_id', { worker_id: 'Worker-1' })).toMatchObject({ status: 'idle' })
    expect(await store.getRollout(rolloutId)).toMatchObject({ status: 'succeeded' })
  })

  it('agree on pages, filters, absent and null', async () => {
    const { call } = await served()
    const rollouts = [1, 2, 3].map((input) => ({ input }))
    const queued: { rollout_id: string }[] = Object(await call('enqueue_many_rollouts', { rollouts }))
    const [first, second] = queued.map(({ rollout_id: id }) => id)
    await call('update_rollout', { rollout_id: second, status: 'cancelled', metadata: null })
    expect(await call('query_rollouts', { status_in: ['cancelled'] })).toMatchObject({
      items: [{ rollout_id: second, metadata: null, end_time: expect.any(Number) }],
      total: 1,
    })
    expect(await call('query_rollouts', { limit: 1, offset: 2, sort_by: 'start_time' })).toMatchObject({
      total: 3,
    })
    await call('start_attempt', { rollout_id: first, worker_id: 'w' })
    await call('start_attempt', { rollout_id: first })
    expect(await call('query_attempts', { rollout_id: first, sort_order: 'desc', limit: 1 })).toMatchObject({
      items: [{ sequence_id: 2, worker_id: null }],
      total: 2,
    })
    expect(await call('update_worker', { worker_id: 'w', heartbeat_stats: { cpu: 1 } })).toMatchObject({
      heartbeat_stats: { cpu: 1 },
      status: 'busy',
    })
    expect(await call('update_worker', { worker_id: 'w' })).toMatchObject({ heartbeat_stats: { cpu: 1 } })
    expect(await call('get_resources_by_id', { resources_id: 'none' })).toBeNull()
    expect(await call('get_latest_resources')).toBeNull()
    expect(await call('statistics')).toMatchObject({ total_rollouts: 3, total_attempts: 2 })
  })

  it('agree on what is wrong', async () => {
    const { fails, call } = await served()
    const { rollout_id: rolloutId } = Object(await call('start_rollout', { input: 1 }))
    expect(await fails('update_rollout', { rollout_id: rolloutId, status: null })).toMatchObject({
      error: 'ClientResponseError',
      message: expect.stringContaining('400'),
    })
    expect(await fails('query_rollouts', { limit: 0 })).toMatchObject({ error: 'ClientResponseError' })
    // After its retries, as with its own server.
    expect(await fails('update_rollout', { rollout_id: 'ro-none', status: 'failed' })).toMatchObject({
      error: 'ClientResponseError',
      message: expect.stringContaining('500'),
    })
  })

  it('hand each rollout to one of many that ask at once', async () => {
    const { store, url } = await served()
    await store.enqueueRollouts(Array.from({ length: 100 }, (_, input) => ({ input })))
    const args = Array.from({ length: 64 }, (_, i) => ({ limit: 2, worker_id: `w${i}` }))
    const answers = await python.ask({ client: url, call: 'dequeue_many_rollouts', args })
    const taken: { input: number }[] = Object(answers).flatMap(({ result }: Answer) => result)
    expect(taken.map(({ input }) => input).toSorted((a, b) => a - b)).toEqual(
      Array.from({ length: 100 }, (_, i) => i),
    )
  })

  it('let a token be given as the password of the URL', async () => {
    const { url, call, fails } = await served({ token: 'secret' })
    expect(await fails('query_rollouts')).toMatchObject({ message: expect.stringContaining('401') })
    const known = url.replace('//', '//agl:secret@')
    expect(await call('query_rollouts', {}, known)).toMatchObject({ total: 0 })
  })

  it('take in what its exporter sends', async () => {
    const { store, url } = await served()
    const { rolloutId, attempt } = await store.startRollout()
    const ids = { rollout_id: rolloutId, attempt_id: attempt.attemptId }
    expect(await python.ask({ export: `${url}/v1/traces`, ...ids, count: 30 })).toEqual({ result: 'SUCCESS' })
    const { items } = await store.querySpans({ rolloutId })
    expect(items).toHaveLength(30)
    expect(items[3]).toMatchObject({
      name: 'span 3',
      sequenceId: 4,
      attributes: { number: 3, float: 1.5, texts: ['a', 'b'], ids: Array.from({ length: 5 }, (_, i) => i) },
      events: [{ name: 'event' }],
      status: { statusCode: 'OK' },
    })
    const lost = { rollout_id: 'ro-lost', attempt_id: 'at-lost' }
    expect(await python.ask({ export: `${url}/v1/traces`, ...lost, count: 1 })).toEqual({ result: 'FAILURE' })
  })
})
