import type { Sink, TraceRecord } from '@agl/core'
import { LocalStore, newRollout, sift } from './local.ts'
import type { AttemptUpdate, StartRollout, Store } from './types.ts'

/**
 * Makes `store` a sink for `start`.
 *
 * A trace of its own becomes a rollout with one attempt, running until the trace ends. A trace with given ids belongs
 * to a rollout that somebody else started and ends; where the store does not have that one, it is treated as the
 * trace's own, so that no span is without its rollout. The store stays open when the sink closes.
 */
export function storeSink(store: Store): Sink {
  /** Traces that have begun here, and whether their rollout is this sink's to finish. */
  const open = new Map<string, boolean>()
  const unseen = (traces: readonly TraceRecord[]): TraceRecord[] => {
    const byId = new Map(traces.map((trace) => [trace.traceId, trace]))
    return [...byId.values()].filter(({ traceId }) => !open.has(traceId))
  }
  const finished = (traces: readonly TraceRecord[]): TraceRecord[] =>
    traces.filter(({ traceId, endTime }) => endTime !== null && open.get(traceId) === true)

  const sink: Sink = {
    name: store.url,
    async write(spans, traces) {
      await Promise.all(
        unseen(traces).map(async (trace) => {
          const { metadata } = await store.startRollout(beginning(trace))
          open.set(trace.traceId, trace.own || metadata['trace_id'] === trace.traceId)
        }),
      )
      const { refused } = await store.addSpans(spans, { createMissing: true })
      await Promise.all(
        finished(traces).map((trace) => store.updateAttempt(trace.rolloutId, trace.attemptId, ending(trace))),
      )
      for (const { traceId, endTime } of traces) if (endTime !== null) open.delete(traceId)
      return { dropped: refused.length }
    },
  }
  if (store instanceof LocalStore) {
    sink.writeSync = (spans, traces) =>
      store.transport.sync((engine) => {
        for (const trace of unseen(traces)) {
          const { metadata } = engine.startRollout(newRollout(beginning(trace)))
          open.set(trace.traceId, trace.own || metadata['trace_id'] === trace.traceId)
        }
        engine.addSpans(sift(spans, {}).accepted, { createMissing: true })
        for (const trace of finished(traces))
          engine.updateAttempt(trace.rolloutId, trace.attemptId, ending(trace))
      })
  }
  return sink
}

function beginning({ rolloutId, attemptId, traceId, name, startTime }: TraceRecord): StartRollout {
  return { rolloutId, attemptId, startTime, status: 'running', metadata: { name, trace_id: traceId } }
}

function ending({ status, endTime }: TraceRecord): AttemptUpdate {
  return { status, ...(endTime !== null && { endTime }) }
}
