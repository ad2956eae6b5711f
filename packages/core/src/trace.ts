import type { Activity } from './activity-types.ts'
import { AglError, logger } from './errors.ts'
import type { LiveTrace } from './live-trace.ts'
import { runtime } from './runtime.ts'
import type { Span, TraceOptions, TraceRecord } from './types.ts'

type Traced<T> = () => T | Promise<T>

function open<T>(name: string, given: TraceOptions | Traced<T>, last?: Traced<T>): [Opened, Traced<T>] {
  const [options, fn] = typeof given === 'function' ? [{}, given] : [given, last]
  if (typeof fn !== 'function')
    throw new AglError('value_invalid', 'trace() and record() take a function as their last argument.')
  return [join(name, options) ?? openTrace(name, options), fn]
}

/**
 * Runs `fn` as one trace: a rollout attempt that everything inside belongs to, however many run at once. Settles as
 * `fn` does. Inside another trace it joins that one as an operation, unless it is given the ids of another attempt.
 */
export function trace<T>(name: string, fn: Traced<T>): Promise<T>
export function trace<T>(name: string, options: TraceOptions, fn: Traced<T>): Promise<T>
export async function trace<T>(name: string, given: TraceOptions | Traced<T>, last?: Traced<T>): Promise<T> {
  return follow(...open(name, given, last))
}

export type Outcome<T> =
  | { result: T; error?: undefined; spans: Span[] }
  | { result?: undefined; error: unknown; spans: Span[] }

/**
 * Runs `fn` as `trace` does and returns its result or error together with the trace's spans, in end order. Waits for
 * activities that are still open, up to the configured `drain`; what is open then is recorded as abandoned.
 */
export function record<T>(name: string, fn: Traced<T>): Promise<Outcome<T>>
export function record<T>(name: string, options: TraceOptions, fn: Traced<T>): Promise<Outcome<T>>
export async function record<T>(
  name: string,
  given: TraceOptions | Traced<T>,
  last?: Traced<T>,
): Promise<Outcome<T>> {
  const [opened, fn] = open(name, given, last)
  const { trace: live, spanId } = opened
  live.keep = Number.POSITIVE_INFINITY
  const before = live.spans.length
  const drained = (): Promise<void> => live.drain(runtime().drain, spanId)
  if (spanId === undefined) {
    const outcome = await outcomeOf(follow(opened, fn))
    await drained()
    return { ...outcome, spans: live.spans.slice(before) }
  }
  // A trace's root waits for what is open inside; an operation does not, so that its end must come after.
  const outcome = await outcomeOf(follow({ run: (inner) => opened.run(inner), end() {}, fail() {} }, fn))
  await drained()
  if ('error' in outcome) opened.fail(outcome.error)
  else opened.end()
  return { ...outcome, spans: subtree(live.spans.slice(before), spanId) }
}

function outcomeOf<T>(running: Promise<T>): Promise<{ result: T } | { error: unknown }> {
  return running.then(
    (result) => ({ result }),
    (error: unknown) => ({ error }),
  )
}

/** The span `top` and all below it, in the order given. */
function subtree(spans: Span[], top: string): Span[] {
  const parents = new Map(spans.map(({ spanId, parentId }) => [spanId, parentId]))
  return spans.filter(({ spanId }) => {
    for (let id: string | null | undefined = spanId; id != null; id = parents.get(id))
      if (id === top) return true
    return false
  })
}

interface Running {
  run<T>(fn: () => T): T
  end(): void
  fail(error: unknown): void
}

interface Opened extends Running {
  trace: LiveTrace
  /** Of the operation, where it joined another trace. */
  spanId?: string
}

async function follow<T>(opened: Running, fn: Traced<T>): Promise<T> {
  try {
    const result = await opened.run(fn)
    opened.end()
    return result
  } catch (error) {
    opened.fail(error)
    throw error
  }
}

function join(name: string, options: TraceOptions): Opened | undefined {
  const current = runtime().current()
  // Who names another attempt means that one, as a runner does inside a program that is traced itself.
  if (current === undefined) return undefined
  const { rolloutId, attemptId } = { ...current.trace.record, ...options }
  if (rolloutId !== current.trace.record.rolloutId || attemptId !== current.trace.record.attemptId)
    return undefined
  logger('agl:core').once(
    'A trace begins inside another; it and others like it are recorded there as operations.',
  )
  const { attributes } = options
  const activity: Activity<'operation'> = runtime().activity('operation', {
    name,
    attributes: { 'agentlightning.operation.name': name, ...attributes },
  })
  return {
    trace: current.trace,
    ...('spanId' in activity && typeof activity.spanId === 'string' ? { spanId: activity.spanId } : {}),
    run: (fn) => activity.run(fn),
    end: () => activity.end(),
    fail: (error) => activity.fail(error),
  }
}

/**
 * Opens a trace whose end is decided elsewhere, for programs that host others. `run` may be called any number of
 * times; `end` or `fail` settles it, and its root ends with the last activity inside.
 *
 * @throws AglError where only one of rolloutId and attemptId is given
 */
export function openTrace(name: string, options: TraceOptions = {}): Opened & { record: TraceRecord } {
  const { trace: opened, root } = runtime().openTrace(name, options)
  return {
    trace: opened,
    record: opened.record,
    run: (fn) => root.run(fn),
    end: () => opened.settle({ failed: false }),
    fail: (error) => opened.settle({ failed: true, error }),
  }
}

/** The trace that is active here, or undefined outside. */
export function activeTrace(): TraceRecord | undefined {
  const current = runtime().current()
  return current === undefined ? undefined : { ...current.trace.record }
}
