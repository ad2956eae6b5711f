import { context, trace as otel, type Context, type Tracer, type TracerProvider } from '@opentelemetry/api'
import { CURRENT, OpenActivity, Unrecorded } from './activity.ts'
import type { Activity, ActivityKind, ActivityStart } from './activity-types.ts'
import { captureSettings, type Capture } from './capture.ts'
import { adjustClock, ensureContextManager, isSuppressed, processSlot, randomHex } from './context.ts'
import { putAll } from './encode.ts'
import { AglError, logger } from './errors.ts'
import { LiveTrace } from './live-trace.ts'
import { otelName } from './names.ts'
import { summary, type SinkQueue } from './queue.ts'
import type { Attributes, FlushResult, Logger, Span, SpanCore, TraceOptions } from './types.ts'

/** The name of our OpenTelemetry tracer. */
export const SCOPE = '@agl/core'

interface Current {
  trace: LiveTrace
  activity: OpenActivity | undefined
}

type Hook = (event: never) => void

/** All that this process records with: one per process, shared by every copy of the core. */
export class Runtime {
  queues: SinkQueue[] = []
  capture: Capture = captureSettings()
  outside: 'record' | 'ignore' = 'record'
  drain = 1000
  resource: Span['resource'] = { attributes: {}, schemaUrl: '' }
  readonly log: Logger = logger('agl:core')
  readonly open: Set<LiveTrace> = new Set()
  last: Span[] = []
  readonly #hooks = new Map<string, Set<Hook>>()
  /** Traces whose function is still running. */
  readonly #unsettled = new Set<LiveTrace>()
  /** Takes our context manager away; set while it stays behind for traces that have outlived their tracer. */
  removeContext: (() => void) | undefined
  /** The same, where a trace had to bring one because nothing was started: the next tracer takes it with it. */
  leftContext: (() => void) | undefined
  #tracer: { provider: TracerProvider; tracer: Tracer } | undefined

  /** The active trace and activity, or undefined outside. */
  current(ctx: Context = context.active()): Current | undefined {
    const value = ctx.getValue(CURRENT)
    return isCurrent(value) ? value : undefined
  }

  recording(): boolean {
    const ctx = context.active()
    return !isSuppressed(ctx) && (this.outside === 'record' || this.current(ctx) !== undefined)
  }

  /** Our OpenTelemetry tracer; made anew only when the global provider is another one. */
  tracer(): Tracer {
    const provider = otel.getTracerProvider()
    if (this.#tracer?.provider !== provider) this.#tracer = { provider, tracer: provider.getTracer(SCOPE) }
    return this.#tracer.tracer
  }

  hook(phase: 'start' | 'end', kind: ActivityKind, hook: Hook): () => void {
    const key = `${phase}:${kind}`
    const hooks = this.#hooks.get(key) ?? new Set()
    this.#hooks.set(key, hooks.add(hook))
    return () => void hooks.delete(hook)
  }

  tell(phase: 'start' | 'end', kind: ActivityKind, event: object): void {
    for (const hook of this.#hooks.get(`${phase}:${kind}`) ?? []) {
      try {
        Reflect.apply(hook, undefined, [event])
      } catch (error) {
        this.log.once(
          `A plugin's "${phase}" hook for ${kind} activities failed; the call goes on without it.`,
          error,
        )
      }
    }
  }

  /** Opens an activity under `parent` or the active one; outside any trace, in a trace of its own. */
  activity<K extends ActivityKind>(kind: K, start: ActivityStart[K], parent?: Activity): Activity<K> {
    const active = context.active()
    if (isSuppressed(active)) return new Unrecorded(start)
    const ctx = parent instanceof OpenActivity ? parent.context : active
    try {
      const current = this.current(ctx)
      if (current === undefined && this.outside === 'ignore') return new Unrecorded(start)
      this.tell('start', kind, { data: start })
      const trace = current?.trace ?? new LiveTrace(this, otelName(kind, start)[0], {})
      return new OpenActivity(this, trace, current?.activity, kind, start, ctx)
    } catch (error) {
      this.log.once('An activity could not be recorded.', error)
      return new Unrecorded(start)
    }
  }

  openTrace(name: string, options: TraceOptions = {}): { trace: LiveTrace; root: Activity<'workflow'> } {
    adjustClock()
    // `start` has seen to it; a program that only traces needs it as well, and its timers do after the trace.
    if (processSlot().lightning === undefined) this.leftContext = ensureContextManager() ?? this.leftContext
    const trace = new LiveTrace(this, name, options)
    this.#unsettled.add(trace)
    const start = { name, ...(options.attributes === undefined ? {} : { attributes: options.attributes }) }
    return { trace, root: new OpenActivity(this, trace, undefined, 'workflow', start, context.active()) }
  }

  settled(trace: LiveTrace): void {
    this.#unsettled.delete(trace)
    this.sweep()
  }

  /** Takes the context manager away once no traced function needs it: their emitters would find no trace. */
  sweep(): void {
    if (this.#unsettled.size > 0) return
    this.removeContext?.()
    this.removeContext = undefined
  }

  async flush(timeout: number): Promise<FlushResult> {
    await Promise.all(this.queues.map((queue) => queue.flush(timeout)))
    return summary(this.queues)
  }

  /** Ends whatever is still open, at shutdown. */
  abandonAll(): void {
    for (const trace of this.open) trace.abandon()
  }
}

function isCurrent(value: unknown): value is Current {
  return typeof value === 'object' && value !== null && 'trace' in value
}

/** The process's runtime, whichever copy of the core made it. */
export function runtime(): Runtime {
  const slot = processSlot()
  return (slot.runtime ??= new Runtime())
}

/** Throws where there is no active trace; `caller` is the function that the user called. */
export function requireTrace(caller: string): Current {
  const current = runtime().current()
  if (current === undefined) {
    throw new AglError(
      'outside_trace',
      `${caller}() was called outside a trace; call it inside trace(…), record(…) or a program run by "agl run".`,
    )
  }
  return current
}

/** Records a finished span under the active activity. */
export function recordSpan(core: SpanCore, caller: string): void {
  const { trace, activity } = requireTrace(caller)
  if (isSuppressed(context.active())) return
  const attributes: Attributes = {}
  putAll(attributes, core.attributes)
  const ids = activity?.ids() ?? { spanId: randomHex(8), parentId: null, traceId: trace.record.traceId }
  const outside = otel.getSpanContext(context.active())?.spanId ?? ''
  const parentId = trace.foreign.has(outside) ? outside : ids.parentId
  trace.add({ ...core, attributes }, { ...ids, parentId })
}

export function openActivity<K extends ActivityKind>(kind: K, start: ActivityStart[K]): Activity<K> {
  return runtime().activity(kind, start)
}
