import type { Sink, TraceRecord } from '@agl/core'
import { LocalStore } from './local.ts'
import { startedRollout } from './requests.ts'
import { portions } from './row.ts'
import type { Store } from './store.ts'
import type { AttemptUpdate, Rollout, StartRollout } from './types.ts'

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
    const byKey = new Map(traces.map((trace) => [keyOf(trace), trace]))
    return [...byKey].filter(([key]) => !open.has(key)).map(([, trace]) => trace)
  }
  const finished = (traces: readonly TraceRecord[]): TraceRecord[] =>
    traces.filter((trace) => trace.endTime !== null && open.get(keyOf(trace)) === true)
  const opened = (trace: TraceRecord, { metadata }: Rollout): void => {
    open.set(keyOf(trace), trace.own || metadata?.['trace_id'] === trace.traceId)
  }

  const sink: Sink = {
    name: store.url,
    concurrency: 2,
    async write(spans, traces) {
      await Promise.all(
        unseen(traces).map(async (trace) => opened(trace, await store.startRollout(beginning(trace)))),
      )
      const { refused } = await store.addSpans(spans, { createMissing: true })
      await Promise.all(
        finished(traces).map((trace) => store.updateAttempt(trace.rolloutId, trace.attemptId, ending(trace))),
      )
      for (const trace of traces) if (trace.endTime !== null) open.delete(keyOf(trace))
      return { dropped: refused.length }
    },
  }
  const transport = store instanceof LocalStore ? store.transport : undefined
  if (transport?.sync !== undefined) {
    sink.writeSync = (spans, traces) =>
      transport.sync?.((engine) => {
        for (const trace of unseen(traces)) {
          opened(trace, engine.startRollout(startedRollout(beginning(trace))))
        }
        for (const { accepted } of portions(spans, {})) engine.addSpans(accepted, { createMissing: true })
        for (const trace of finished(traces))
          engine.updateAttempt(trace.rolloutId, trace.attemptId, ending(trace))
      })
  }
  return sink
}

/** Of all three, since traces inside one OpenTelemetry trace share its id. */
function keyOf({ rolloutId, attemptId, traceId }: TraceRecord): string {
  return `${rolloutId}/${attemptId}/${traceId}`
}

function beginning({ rolloutId, attemptId, traceId, name, startTime }: TraceRecord): StartRollout {
  return { rolloutId, attemptId, startTime, status: 'running', metadata: { name, trace_id: traceId } }
}

function ending({ status, endTime }: TraceRecord): AttemptUpdate {
  return { status, ...(endTime !== null && { endTime }) }
}
