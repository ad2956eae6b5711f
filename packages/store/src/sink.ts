import { AglError, type Sink, type Span, type TraceRecord } from '@agl/core'
import { LocalStore } from './local.ts'
import { openingOf } from './opened.ts'
import { startedRollout } from './requests.ts'
import { portions } from './row.ts'
import type { Store } from './store.ts'
import type { AttemptUpdate, Rollout, StartRollout } from './types.ts'
import { writeAtExit } from './write-at-exit.ts'

interface AttemptIds {
  rolloutId: string
  attemptId: string
}

/**
 * Makes `store` a sink for `start`.
 *
 * A trace of its own becomes a rollout with one attempt, running until the trace ends. A trace with given ids belongs
 * to a rollout that somebody else started and ends; where the store does not have that one, it is treated as the
 * trace's own, so that no span is without its rollout. The store stays open when the sink closes.
 *
 * A store that issues all ids itself, as Agent Lightning's own server does, gets a trace under ids of its own; the
 * rollout's `metadata.trace_id` tells which one it is.
 */
export function storeSink(store: Store): Sink {
  /** Traces that have begun here, and whether their rollout is this sink's to finish. */
  const open = new Map<string, boolean>()
  const beginnings = new Map<string, Promise<void>>()
  const moved = new MovedAttempts()
  const unseen = (traces: readonly TraceRecord[]): TraceRecord[] => {
    const byKey = new Map(traces.map((trace) => [keyOf(trace), trace]))
    return [...byKey].filter(([key]) => !open.has(key)).map(([, trace]) => trace)
  }
  const finished = (traces: readonly TraceRecord[]): TraceRecord[] =>
    traces.filter((trace) => trace.endTime !== null && open.get(keyOf(trace)) === true)
  const opened = (trace: TraceRecord, { metadata }: Rollout): void => {
    open.set(keyOf(trace), trace.own || metadata?.['trace_id'] === trace.traceId)
  }
  const begin = async (trace: TraceRecord): Promise<void> => {
    try {
      const { attempt, ...rollout } = await store.startRollout(beginning(trace))
      moved.note(trace, attempt)
      opened(trace, rollout)
    } catch (error) {
      unlessFinal(error)
      // No store takes its ids; its spans are refused for the same reason.
      open.set(keyOf(trace), false)
    }
  }
  /** Two batches may be on their way, and a trace must not begin twice. */
  const beginOnce = (trace: TraceRecord): Promise<void> => {
    const key = keyOf(trace)
    const known = beginnings.get(key)
    if (known !== undefined) return known
    const begun = begin(trace).finally(() => beginnings.delete(key))
    beginnings.set(key, begun)
    return begun
  }

  const sink: Sink = {
    name: store.url,
    concurrency: 2,
    async write(spans, traces) {
      await Promise.all(unseen(traces).map(beginOnce))
      // Of traces that began with a batch before this one.
      await Promise.allSettled(beginnings.values())
      const dropped = await addSpans(store, moved.apply(spans))
      await Promise.all(
        finished(traces).map(async (trace) => {
          const { rolloutId, attemptId } = moved.idsOf(trace)
          await store.updateAttempt(rolloutId, attemptId, ending(trace)).catch(unlessFinal)
        }),
      )
      for (const trace of traces) if (trace.endTime !== null) open.delete(keyOf(trace))
      return { dropped }
    },
  }
  const transport = store instanceof LocalStore ? store.transport : undefined
  if (transport?.sync !== undefined) {
    sink.writeSync = (spans, traces) =>
      transport.sync?.((engine) => {
        for (const trace of unseen(traces)) {
          try {
            opened(trace, engine.startRollout(startedRollout(beginning(trace))))
          } catch (error) {
            unlessFinal(error)
          }
        }
        for (const { accepted } of portions(spans, {})) engine.addSpans(accepted, { createMissing: true })
        for (const trace of finished(traces))
          engine.updateAttempt(trace.rolloutId, trace.attemptId, ending(trace))
      })
  } else {
    const opening = openingOf(store)
    if (opening !== undefined) {
      sink.writeSync = (spans, traces) => {
        const there = traces.map((trace) => ({ ...trace, ...moved.idsOf(trace) }))
        writeAtExit(opening, moved.apply(spans), there)
      }
    }
  }
  return sink
}

/** Stores what can be stored, and says how many spans never will be: they must not hold up all others for ever. */
async function addSpans(store: Store, spans: readonly Span[]): Promise<number> {
  let code: string
  try {
    return (await store.addSpans(spans, { createMissing: true })).refused.length
  } catch (error) {
    code = unlessFinal(error)
  }
  const groups = new Map<string, Span[]>()
  for (const span of spans) groups.set(attemptKey(span), [...(groups.get(attemptKey(span)) ?? []), span])
  if (spans.length === 1 || (groups.size === 1 && code === 'not_found')) return spans.length
  const middle = Math.ceil(spans.length / 2)
  const parts = groups.size > 1 ? groups.values() : [spans.slice(0, middle), spans.slice(middle)]
  let dropped = 0
  for (const part of parts) dropped += await addSpans(store, part)
  return dropped
}

/**
 * The code of an error after which trying again is of no use: what was given can be in no store, or the store has lost
 * the rollout, as one that was only in memory does when it is started anew.
 */
function unlessFinal(error: unknown): string {
  const isFinal = AglError.is(error) && FINAL.includes(error.code)
  if (!isFinal) throw error
  return error.code
}

const FINAL: readonly string[] = ['not_found', 'value_invalid', 'value_unserializable']

/** Attempts that have other ids in the store than in their spans. */
class MovedAttempts {
  readonly #moved = new Map<string, AttemptIds>()

  note(given: AttemptIds, { rolloutId, attemptId }: AttemptIds): void {
    if (given.rolloutId === rolloutId && given.attemptId === attemptId) return
    this.#moved.set(attemptKey(given), { rolloutId, attemptId })
    // Spans may come after the end of their trace, but not for ever.
    const [oldest] = this.#moved.keys()
    if (this.#moved.size > 10_000 && oldest !== undefined) this.#moved.delete(oldest)
  }

  idsOf(given: AttemptIds): AttemptIds {
    const { rolloutId, attemptId } = this.#moved.get(attemptKey(given)) ?? given
    return { rolloutId, attemptId }
  }

  apply(spans: readonly Span[]): readonly Span[] {
    if (this.#moved.size === 0) return spans
    return spans.map((span) => ({ ...span, ...this.#moved.get(attemptKey(span)) }))
  }
}

function attemptKey({ rolloutId, attemptId }: AttemptIds): string {
  return `${rolloutId}/${attemptId}`
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
