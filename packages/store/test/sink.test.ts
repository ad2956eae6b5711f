import { join } from 'node:path'
import { type Sink, type Span, type TraceRecord, emitReward, start, trace } from '@agl/core'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openStore, type Store, storeSink } from '../src/index.ts'
import { folder } from './folder.ts'
import { llmSpan } from './spans.ts'

const stores: [name: string, open: () => Promise<Store>][] = [
  ['memory:', () => openStore('memory:')],
  ['sqlite:', () => openStore(`sqlite:${join(folder(), 'agl.db')}`)],
]

describe.each(stores)('a sink to a %s store', (_name, open) => {
  let store: Store
  beforeEach(async () => {
    store = await open()
  })
  afterEach(() => store.close())

  const record = (over: Partial<TraceRecord> = {}): TraceRecord => ({
    rolloutId: 'ro-1',
    attemptId: 'at-1',
    traceId: 'trace-1',
    name: 'solve',
    own: true,
    startTime: 1_700_000_000.5,
    endTime: null,
    status: 'running',
    ...over,
  })
  const ended = (over: Partial<TraceRecord> = {}): TraceRecord =>
    record({ endTime: 1_700_000_002.5, status: 'succeeded', ...over })

  it('records what the tracer sends: a rollout for each trace, with its spans and its end', async () => {
    const lightning = await start({ sinks: [storeSink(store)] })
    try {
      await trace('good', () => emitReward(0.5))
      await trace('bad', () => Promise.reject(new Error('no'))).catch(() => {})
      expect(await lightning.flush()).toEqual({ written: 3, dropped: 0 })
    } finally {
      await lightning.shutdown()
    }
    const { items } = await store.queryRollouts()
    expect(items.map(({ status, metadata }) => [metadata?.['name'], status])).toEqual([
      ['good', 'succeeded'],
      ['bad', 'failed'],
    ])
    const good = await store.querySpans({ rolloutId: items[0]?.rolloutId ?? '', attemptId: 'latest' })
    expect(good.items.map(({ name }) => name)).toEqual(['agentlightning.annotation', 'good.session'])
    expect(good.items.map(({ sequenceId }) => sequenceId)).toEqual([1, 2])
    const root = good.items[1]
    expect(items[0]?.metadata?.['trace_id']).toBe(root?.traceId)
    expect(items[0]?.endTime).toBeGreaterThanOrEqual(root?.endTime ?? Number.NaN)
  })

  it('shows a rollout as running while its trace is open', async () => {
    const sink = storeSink(store)
    await sink.write([], [record()])
    expect(await store.getRollout('ro-1')).toMatchObject({
      startTime: 1_700_000_000.5,
      status: 'running',
      input: null,
      attempt: { attemptId: 'at-1', status: 'running' },
      metadata: { name: 'solve', trace_id: 'trace-1' },
    })
    await sink.write([llmSpan()], [ended({ status: 'failed' })])
    const rollout = await store.getRollout('ro-1')
    expect(rollout).toMatchObject({
      status: 'failed',
      endTime: 1_700_000_002.5,
      attempt: { status: 'failed' },
    })
  })

  it('takes a trace that began and ended since the last batch', async () => {
    expect(await storeSink(store).write([llmSpan()], [record(), ended()])).toEqual({ dropped: 0 })
    expect(await store.getRollout('ro-1')).toMatchObject({ status: 'succeeded', endTime: 1_700_000_002.5 })
  })

  it('neither starts nor ends a rollout that somebody else did', async () => {
    await store.startRollout({ rolloutId: 'ro-1', attemptId: 'at-1', input: 'a question' })
    const sink = storeSink(store)
    await sink.write([], [record({ own: false })])
    expect((await store.getRollout('ro-1'))?.status).toBe('preparing')
    await sink.write([llmSpan()], [ended({ own: false })])
    expect(await store.getRollout('ro-1')).toMatchObject({
      input: 'a question',
      status: 'running',
      endTime: null,
      metadata: {},
    })
    expect((await store.querySpans({ rolloutId: 'ro-1' })).total).toBe(1)
  })

  it('starts and ends a rollout with given ids that the store does not have', async () => {
    const sink = storeSink(store)
    await sink.write([llmSpan()], [record({ own: false })])
    expect((await store.getRollout('ro-1'))?.status).toBe('running')
    await sink.write([], [ended({ own: false })])
    expect((await store.getRollout('ro-1'))?.status).toBe('succeeded')
  })

  it('keeps apart traces that share one OpenTelemetry trace', async () => {
    const sink = storeSink(store)
    await sink.write([], [record(), record({ rolloutId: 'ro-2' })])
    await sink.write([], [ended()])
    await sink.write([llmSpan({ rolloutId: 'ro-2' })], [ended({ rolloutId: 'ro-2', status: 'failed' })])
    const { items } = await store.queryRollouts()
    expect(items.map(({ rolloutId, status }) => [rolloutId, status])).toEqual([
      ['ro-1', 'succeeded'],
      ['ro-2', 'failed'],
    ])
  })

  it('stores a batch once that is sent twice', async () => {
    const sink = storeSink(store)
    const batch: [Span[], TraceRecord[]] = [
      [llmSpan(), llmSpan()],
      [record(), ended()],
    ]
    await sink.write(...batch)
    await sink.write(...batch)
    expect(await store.statistics()).toMatchObject({ totalRollouts: 1, totalAttempts: 1, totalSpans: 2 })
  })

  it('counts a span that cannot be stored as dropped, and stores the others', async () => {
    const bad = llmSpan({ attributes: { odd: Number.NaN } })
    expect(await storeSink(store).write([llmSpan(), bad, llmSpan()], [record()])).toEqual({ dropped: 1 })
    expect((await store.querySpans({ rolloutId: 'ro-1' })).total).toBe(2)
  })

  it('counts a trace with ids that no store takes as dropped, and stores the others', async () => {
    const sink = storeSink(store)
    const ids = { rolloutId: '', attemptId: 'x'.repeat(2000) }
    const traces = [ended(ids), ended()]
    expect(await sink.write([llmSpan(ids), llmSpan()], traces)).toEqual({ dropped: 1 })
    sink.writeSync?.([llmSpan(ids), llmSpan()], traces)
    expect(await store.queryRollouts()).toMatchObject({ total: 1, items: [{ status: 'succeeded' }] })
    expect((await store.querySpans({ rolloutId: 'ro-1' })).total).toBe(2)
  })

  it('counts a span that cannot travel as dropped, and stores those around it', async () => {
    const odd = { traceId: 't', spanId: 's', isRemote: false, traceState: { odd: (): void => undefined } }
    const bad = Object.assign(llmSpan(), { context: odd })
    const spans = [llmSpan(), llmSpan(), bad, llmSpan()]
    const { dropped = 0 } = (await storeSink(store).write(spans, [record()])) ?? {}
    expect((await store.querySpans({ rolloutId: 'ro-1' })).total).toBe(spans.length - dropped)
  })

  it('stores a span whose trace it never heard of', async () => {
    await storeSink(store).write([llmSpan({ rolloutId: 'ro-lost' })], [])
    expect((await store.querySpans({ rolloutId: 'ro-lost' })).total).toBe(1)
  })

  it('writes at once when the process ends, whatever was written before', async () => {
    const sink = storeSink(store)
    const [first, second] = [llmSpan(), llmSpan()]
    const waiting = sink.write([first], [record()])
    sink.writeSync?.([first, second], [record(), ended(), record({ rolloutId: 'ro-2' })])
    await waiting
    const { items } = await store.querySpans({ rolloutId: 'ro-1' })
    expect(items.map(({ spanId }) => spanId)).toEqual([first.spanId, second.spanId])
    expect((await store.getRollout('ro-1'))?.status).toBe('succeeded')
    expect((await store.getRollout('ro-2'))?.status).toBe('running')
  })

  it('rejects, so that the batch is tried again, while the store cannot take it', async () => {
    const sink: Sink = storeSink(store)
    await store.close()
    await expect(sink.write([llmSpan()], [record()])).rejects.toMatchObject({ code: 'store_unavailable' })
  })
})
