import { emitReward, start, trace } from '@agl/core'
import { openStore, type Store, storeSink } from '@agl/store'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { type PythonProgram, startPython } from '../src/python.ts'
import { wireSpan } from '../src/spans.ts'

let python: PythonProgram
beforeAll(async () => {
  python = await startPython('agentlightning', 'stores.py')
}, 180_000)
afterAll(() => python[Symbol.asyncDispose]())

/** Our client before a new store of Agent Lightning's own. */
async function served(): Promise<{ store: Store; url: string }> {
  const { url } = Object(await python.ask({ serve: { scan_debounce_seconds: 0 } }))
  const store = await openStore(url)
  onTestFinished(async () => {
    await store.close()
    await python.ask({ stop: url })
  })
  return { store, url }
}

const started = async (store: Store): Promise<{ rolloutId: string; attemptId: string }> => {
  const { rolloutId, attempt } = await store.startRollout({ input: 1 })
  return { rolloutId, attemptId: attempt.attemptId }
}

describe('our client and Agent Lightning’s own server', () => {
  it('take a rollout from the queue to its end', async () => {
    const { store } = await served()
    const main = { resourceType: 'llm', endpoint: 'http://h/v1', model: 'm' } as const
    const { resourcesId } = await store.addResources({ main })
    expect(await store.latestResources()).toMatchObject({ resourcesId, version: 1, resources: { main } })
    expect((await store.updateResources(resourcesId, { main })).version).toBe(2)
    const input = { question: '½ – "all" \u{1F99A}', nested: [1, null, { a: [] }] }
    const [queued] = await store.enqueueRollouts([{ input, mode: 'val', metadata: { k: 1 } }])
    expect(queued).toMatchObject({ input, mode: 'val', resourcesId, status: 'queuing' })

    const [taken] = await store.dequeueRollouts({ workerId: 'Worker-1' })
    expect(taken).toMatchObject({ rolloutId: queued?.rolloutId, attempt: { workerId: 'Worker-1' } })
    const { rolloutId = '', attempt } = taken ?? {}
    const span = wireSpan({ rolloutId, attemptId: attempt?.attemptId ?? '' })
    expect(await store.addSpans([span])).toEqual({ added: 1, duplicates: 0, refused: [] })
    expect((await store.getRollout(rolloutId))?.status).toBe('running')
    await store.updateAttempt(rolloutId, 'latest', { lastHeartbeatTime: 'now', metadata: { gpu: 1 } })
    await store.updateAttempt(rolloutId, 'latest', { status: 'succeeded' })
    expect(await store.waitForRollouts([rolloutId, 'ro-unknown'], { timeout: 5 })).toMatchObject([
      { rolloutId, status: 'succeeded' },
    ])
    expect(await store.getWorker('Worker-1')).toMatchObject({ status: 'idle' })
    expect(await store.getLatestAttempt(rolloutId)).toMatchObject({
      status: 'succeeded',
      metadata: { gpu: 1 },
    })
    expect(await store.statistics()).toMatchObject({ totalRollouts: 1, totalSpans: 1, totalWorkers: 1 })
  })

  it('bring every field of a span over that OTLP and Python have', async () => {
    const { store } = await served()
    const ids = await started(store)
    const spans = [3, 7].map((sequenceId) => wireSpan({ ...ids, sequenceId }))
    await store.addSpans(spans, { keepSequenceIds: true })
    await store.addSpans([wireSpan({ ...ids, name: 'numbered there' })])
    const { items } = await store.querySpans({ rolloutId: ids.rolloutId })
    expect(items.map(({ sequenceId }) => sequenceId)).toEqual([3, 7, 8])
    // Beyond what was sent, Python keeps the ids with the attributes by which it found them.
    const sent = spans[0] ?? wireSpan()
    expect(items[0]).toEqual({
      ...sent,
      attributes: { ...sent.attributes, 'agentlightning.span_sequence_id': 3 },
      resource: {
        ...sent.resource,
        attributes: {
          ...sent.resource.attributes,
          'agentlightning.rollout_id': ids.rolloutId,
          'agentlightning.attempt_id': ids.attemptId,
        },
      },
    })
  })

  it('store a batch once that is sent twice, and say which rollouts are not there', async () => {
    const { store } = await served()
    const ids = await started(store)
    const spans = Array.from({ length: 600 }, () => wireSpan(ids))
    await store.addSpans(spans)
    await store.addSpans(spans)
    const { items, total } = await store.querySpans({ rolloutId: ids.rolloutId })
    expect(total).toBe(600)
    expect(items.map(({ spanId }) => spanId)).toEqual(spans.map(({ spanId }) => spanId))
    const lost = store.addSpans([wireSpan({ rolloutId: 'ro-lost' })])
    await expect(lost).rejects.toMatchObject({
      code: 'not_found',
      message: expect.stringContaining('ro-lost'),
    })
    for (const call of [
      store.updateRollout('ro-lost', { status: 'failed' }),
      store.startAttempt('ro-lost'),
      store.updateAttempt('ro-lost', 'latest', { status: 'failed' }),
    ]) {
      await expect(call).rejects.toMatchObject({ code: 'not_found' })
    }
    expect(await store.getRollout('ro-lost')).toBeUndefined()
    expect((await store.queryAttempts('ro-lost')).total).toBe(0)
  })

  it('wait for work and for the end of it, as long as is asked', async () => {
    const { store } = await served()
    const waiting = store.dequeueRollouts({ timeout: 20 })
    const [queued] = await store.enqueueRollouts([{ input: 'late' }])
    expect(await waiting).toMatchObject([{ input: 'late' }])
    expect(await store.dequeueRollouts({ timeout: 0.2 })).toEqual([])
    const { rolloutId = '' } = queued ?? {}
    expect(await store.waitForRollouts([rolloutId], { timeout: 0.2 })).toEqual([])
    const finished = store.waitForRollouts([rolloutId])
    await store.updateAttempt(rolloutId, 'latest', { status: 'failed' })
    expect(await finished).toMatchObject([{ rolloutId, status: 'failed' }])
  })

  it('hand each rollout to one of 64 runners', async () => {
    const { store } = await served()
    await store.enqueueRollouts(Array.from({ length: 100 }, (_, input) => ({ input })))
    const runners = Array.from({ length: 64 }, (_, i) =>
      store.dequeueRollouts({ limit: 2, workerId: `Worker-${i}` }),
    )
    const taken = (await Promise.all(runners)).flat().map(({ input }) => Number(input))
    expect(taken.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i))
  })

  it('page, filter and sort', async () => {
    const { store } = await served()
    const rollouts = await store.enqueueRollouts([1, 2, 3].map((input) => ({ input })))
    const [first, second] = rollouts.map(({ rolloutId }) => rolloutId)
    await store.updateRollout(second ?? '', {
      status: 'cancelled',
      metadata: null,
      config: { maxAttempts: 3 },
    })
    expect(await store.queryRollouts({ statusIn: ['cancelled'] })).toMatchObject({
      items: [{ rolloutId: second, metadata: null, config: { maxAttempts: 3 } }],
      total: 1,
    })
    const page = { limit: 1, offset: 1, sortBy: 'startTime', sortOrder: 'desc' } as const
    expect(await store.queryRollouts(page)).toMatchObject({
      items: [{ input: 2 }],
      total: 3,
      limit: 1,
      offset: 1,
    })
    await store.startAttempt(first ?? '', { workerId: 'w' })
    await store.startAttempt(first ?? '')
    expect(await store.queryAttempts(first ?? '', { sortOrder: 'desc', limit: 1 })).toMatchObject({
      items: [{ sequenceId: 2 }],
      total: 2,
    })
    await store.updateWorker('w', { heartbeatStats: { cpu: 1 } })
    expect(await store.queryWorkers({ workerIdContains: 'w', statusIn: ['busy'] })).toMatchObject({
      total: 1,
    })
    const prompt = { resourceType: 'prompt_template', template: '{x}', engine: 'f-string' } as const
    await store.updateResources('rs-mine', { prompt })
    expect(await store.getResources('rs-mine')).toMatchObject({ resources: { prompt } })
    expect(await store.queryResources({ resourcesIdContains: 'mine' })).toMatchObject({ total: 1 })
    expect(await store.nextSequenceIds([ids(first), ids(first)])).toEqual([1, 2])
  })

  it('keep what is traced, under ids of the server’s', async () => {
    const { store } = await served()
    const lightning = await start({ sinks: [storeSink(store)] })
    onTestFinished(async () => void (await lightning.shutdown()))
    await Promise.all(['a', 'b', 'c'].map((name) => trace(name, () => emitReward(name.charCodeAt(0) / 100))))
    expect(await lightning.flush()).toEqual({ written: 6, dropped: 0 })
    const { items } = await store.queryRollouts({ sortBy: 'startTime' })
    expect(items.map(({ status }) => status)).toEqual(['succeeded', 'succeeded', 'succeeded'])
    expect(new Set(items.map(({ metadata }) => metadata?.['name']))).toEqual(new Set(['a', 'b', 'c']))
    for (const { rolloutId, metadata } of items) {
      const spans = (await store.querySpans({ rolloutId, attemptId: 'latest' })).items
      expect(spans).toHaveLength(2)
      expect(spans.map(({ traceId }) => traceId)).toEqual([metadata?.['trace_id'], metadata?.['trace_id']])
    }
  })

  it('give spans back to a trace that a runner started', async () => {
    const { store } = await served()
    const ids = await started(store)
    const lightning = await start({ sinks: [storeSink(store)] })
    onTestFinished(async () => void (await lightning.shutdown()))
    await trace('given', ids, () => emitReward(1))
    await lightning.flush()
    expect((await store.querySpans({ ...ids })).total).toBe(2)
    expect((await store.statistics()).totalRollouts).toBe(1)
  })
})

function ids(rolloutId = ''): { rolloutId: string; attemptId: string } {
  return { rolloutId, attemptId: 'at' }
}
