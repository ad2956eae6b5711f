import {
  context,
  createContextKey,
  SpanKind,
  SpanStatusCode,
  trace as otel,
  type Context,
  type Tracer,
  type TracerProvider,
} from '@opentelemetry/api'
import type { Activity, ActivityData, ActivityKind, ActivityStart } from './activity-types.ts'
import { adjustClock, isSuppressed, now, randomHex, type OtelSpan } from './context.ts'
import {
  applyCapture,
  captureSettings,
  encodeEnd,
  encodeError,
  encodeStart,
  otelName,
  putAll,
  spanName,
  toolCallSpans,
  type Capture,
} from './encode.ts'
import { AglError, logger } from './errors.ts'
import { summary, type SinkQueue } from './queue.ts'
import type { Attributes, FlushResult, Logger, Span, SpanCore, SpanStatus, TraceOptions, TraceRecord } from './types.ts'

export const SCOPE = '@agl/core'
/** Most spans that a finished trace keeps in memory for `record` and `lastTrace`. */
const KEPT = 10_000
const CURRENT = createContextKey('agl.current')
const INVALID = '0000000000000000'
const UNSET: SpanStatus = { statusCode: 'UNSET', description: null }
const OK: SpanStatus = { statusCode: 'OK', description: null }

interface Current {
  trace: Trace
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
  readonly open: Set<Trace> = new Set()
  last: Span[] = []
  readonly #hooks = new Map<string, Set<Hook>>()
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
        this.log.once(`A plugin's "${phase}" hook for ${kind} activities failed; the call goes on without it.`, error)
      }
    }
  }

  /** Opens an activity under the active one; outside any trace, in a trace of its own. */
  activity<K extends ActivityKind>(kind: K, start: ActivityStart[K]): Activity<K> {
    const ctx = context.active()
    if (isSuppressed(ctx)) return new Unrecorded(start)
    try {
      const current = this.current(ctx)
      if (current === undefined && this.outside === 'ignore') return new Unrecorded(start)
      this.tell('start', kind, { data: start })
      const trace = current?.trace ?? new Trace(this, kind, {})
      return new OpenActivity(this, trace, current?.activity, kind, start, ctx)
    } catch (error) {
      this.log.once('An activity could not be recorded.', error)
      return new Unrecorded(start)
    }
  }

  openTrace(name: string, options: TraceOptions = {}): { trace: Trace; root: Activity<'workflow'> } {
    adjustClock()
    const trace = new Trace(this, name, options)
    const start = { name, ...(options.attributes === undefined ? {} : { attributes: options.attributes }) }
    return { trace, root: new OpenActivity(this, trace, undefined, 'workflow', start, context.active()) }
  }

  async flush(timeout: number): Promise<FlushResult> {
    await Promise.all(this.queues.map((queue) => queue.flush(timeout)))
    return summary(this.queues)
  }

  /** Ends whatever is still open, at shutdown. */
  abandonAll(): void {
    for (const trace of [...this.open]) trace.abandon()
  }
}

function isCurrent(value: unknown): value is Current {
  return typeof value === 'object' && value !== null && 'trace' in value
}

/** One rollout attempt in the making. */
export class Trace {
  readonly record: TraceRecord
  /** Foreign OpenTelemetry spans that will reach this trace, and so may be parents in it. */
  readonly foreign: Set<string> = new Set()
  readonly spans: Span[] = []
  readonly runtime: Runtime
  readonly #open = new Set<OpenActivity>()
  #root: OpenActivity | undefined
  #rootResult: { error?: unknown; failed: boolean } | undefined
  #drained: (() => void)[] = []
  #sequence = 0

  constructor(runtime: Runtime, name: string, options: TraceOptions) {
    if ((options.rolloutId === undefined) !== (options.attemptId === undefined)) {
      throw new AglError('value_invalid', 'A trace takes rolloutId and attemptId together; give both or neither.')
    }
    this.runtime = runtime
    this.record = {
      rolloutId: options.rolloutId ?? `ro-${randomHex(6)}`,
      attemptId: options.attemptId ?? `at-${randomHex(4)}`,
      traceId: randomHex(16),
      name,
      own: options.rolloutId === undefined,
      startTime: now(),
      endTime: null,
      status: 'running',
    }
  }

  opened(activity: OpenActivity, traceId: string): void {
    if (this.#root === undefined) {
      this.#root = activity
      this.record.traceId = traceId
      this.runtime.open.add(this)
      for (const queue of this.runtime.queues) queue.pushTrace(this.record)
    } else this.#open.add(activity)
  }

  isRoot(activity: OpenActivity): boolean {
    return this.#root === activity
  }

  closed(activity: OpenActivity): void {
    if (this.#root === activity) return this.#finish(activity.failed)
    this.#open.delete(activity)
    if (this.#open.size > 0) return
    if (this.#root?.ended === true) this.runtime.open.delete(this)
    for (const resolve of this.#drained.splice(0)) resolve()
    if (this.#rootResult !== undefined) this.#endRoot()
  }

  /** The traced function has settled: the root ends now, or with the last activity that is still open. */
  settle(result: { error?: unknown; failed: boolean }): void {
    this.#rootResult ??= result
    if (this.#open.size === 0) this.#endRoot()
  }

  #endRoot(): void {
    const { failed, error } = this.#rootResult ?? { failed: false }
    if (failed) this.#root?.fail(error)
    else this.#root?.end()
  }

  /** Waits for open activities, at most `timeout` milliseconds, then gives them up. */
  async drain(timeout: number): Promise<void> {
    if (this.#open.size > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, timeout)
        this.#drained.push(() => {
          clearTimeout(timer)
          resolve()
        })
      })
    }
    this.abandon()
  }

  abandon(): void {
    for (const activity of [...this.#open].reverse()) activity.abandon()
    if (this.#root?.ended === false && this.#rootResult === undefined) this.#root.abandon()
  }

  /** Gives a finished span its ids and sends it on its way. */
  add(core: SpanCore, ids: { spanId: string; parentId: string | null; traceId: string }): void {
    const runtime = this.runtime
    try {
      applyCapture(core, runtime.capture)
    } catch (error) {
      runtime.log.once('A span could not be prepared and was dropped.', error)
      return
    }
    const time = core.startTime ?? now()
    const span: Span = {
      rolloutId: this.record.rolloutId,
      attemptId: this.record.attemptId,
      sequenceId: ++this.#sequence,
      traceId: ids.traceId,
      spanId: ids.spanId,
      parentId: ids.parentId,
      name: core.name,
      status: core.status,
      attributes: core.attributes,
      events: core.events ?? [],
      links: [],
      startTime: time,
      endTime: core.endTime ?? time,
      context: null,
      parent: null,
      resource: runtime.resource,
    }
    if (this.spans.length < KEPT) this.spans.push(span)
    for (const queue of runtime.queues) queue.push(span)
  }

  #finish(failed: boolean): void {
    if (this.#open.size === 0) this.runtime.open.delete(this)
    this.runtime.last = this.spans
    this.record.endTime = now()
    this.record.status = failed ? 'failed' : 'succeeded'
    for (const queue of this.runtime.queues) queue.pushTrace(this.record)
  }
}

/** What a plugin gets where nothing is recorded. */
class Unrecorded<K extends ActivityKind> implements Activity<K> {
  readonly start: ActivityStart[K]
  readonly ended = true
  constructor(start: ActivityStart[K]) {
    this.start = start
  }
  run<T>(fn: () => T): T {
    return fn()
  }
  update(): void {}
  end(): void {}
  fail(): void {}
}

class OpenActivity<K extends ActivityKind = ActivityKind> implements Activity<K> {
  readonly start: ActivityStart[K]
  readonly spanId: string
  ended = false
  failed = false
  readonly #runtime: Runtime
  readonly #trace: Trace
  readonly #parent: OpenActivity | undefined
  readonly #kind: K
  readonly #span: OtelSpan
  readonly #context: Context
  readonly #traceId: string
  readonly #parentId: string | null
  readonly #attributes: Attributes
  readonly #startTime: number
  #data: ActivityData[K] | undefined
  #outer = false

  constructor(
    runtime: Runtime,
    trace: Trace,
    parent: OpenActivity | undefined,
    kind: K,
    start: ActivityStart[K],
    ctx: Context,
  ) {
    this.#runtime = runtime
    this.#trace = trace
    this.#parent = parent
    this.#kind = kind
    this.start = start
    this.#attributes = encodeStart(kind, start, runtime.capture.content)
    const outside = otel.getSpanContext(ctx)
    this.#parentId =
      outside !== undefined && trace.foreign.has(outside.spanId) ? outside.spanId : (parent?.spanId ?? null)
    const [name, operation] = otelName(kind, start)
    this.#span = runtime.tracer().startSpan(
      name,
      {
        kind: kind === 'llm' || kind === 'embedding' ? SpanKind.CLIENT : SpanKind.INTERNAL,
        attributes: { 'gen_ai.operation.name': operation },
      },
      ctx,
    )
    let ids = this.#span.spanContext()
    if (ids.spanId === INVALID || ids.spanId === outside?.spanId) {
      ids = { traceId: outside?.traceId ?? trace.record.traceId, spanId: randomHex(8), traceFlags: 1 }
      this.#span = otel.wrapSpanContext(ids)
    }
    this.spanId = ids.spanId
    this.#traceId = ids.traceId
    this.#context = otel.setSpan(ctx, this.#span).setValue(CURRENT, { trace, activity: this })
    if (kind === 'llm') for (let up = parent; up !== undefined; up = up.#parent) up.#outer ||= up.#kind === 'llm'
    trace.opened(this, ids.traceId)
    this.#startTime = now()
  }

  run<T>(fn: () => T): T {
    return context.with(this.#context, fn)
  }

  update(data: ActivityData[K]): void {
    if (this.ended) return
    const attributes = { ...this.#data?.attributes, ...data.attributes }
    this.#data = { ...this.#data, ...data, attributes }
  }

  end(data?: ActivityData[K]): void {
    this.#finish(data, undefined, false)
  }

  fail(error: unknown): void {
    this.#finish(undefined, error, true)
  }

  abandon(): void {
    if (this.#kind === 'llm') this.update({ finish: 'abandoned' })
    this.#finish(undefined, new AglError('not_found', 'The activity never ended and was given up.'), true)
  }

  /** The record's parent for what happens directly inside this activity. */
  ids(): { spanId: string; parentId: string; traceId: string } {
    return { spanId: randomHex(8), parentId: this.spanId, traceId: this.#traceId }
  }

  #finish(last: ActivityData[K] | undefined, error: unknown, failed: boolean): void {
    if (this.ended) return
    if (last !== undefined) {
      if (this.#data === undefined) this.#data = last
      else this.update(last)
    }
    this.ended = true
    this.failed = failed
    try {
      this.#record(error, failed)
    } catch (problem) {
      this.#runtime.log.once('An activity could not be recorded.', problem)
    }
    this.#trace.closed(this)
  }

  #record(error: unknown, failed: boolean): void {
    const kind = this.#kind
    const runtime = this.#runtime
    const data: ActivityData[K] = this.#data ?? {}
    runtime.tell('end', kind, failed ? { start: this.start, data, error } : { start: this.start, data })
    const endTime = now()
    const { content, tokens } = runtime.capture
    const outer = this.#outer
    const spanId = this.spanId
    const attributes = encodeEnd(this.#attributes, kind, this.start, data, { content, tokens, outer, spanId })
    let status = this.#trace.isRoot(this) || kind === 'operation' ? UNSET : OK
    if (failed) status = encodeError(attributes, error)
    else if ('finish' in data && data.finish !== undefined && data.finish !== 'raw') status = UNSET
    const root = kind === 'workflow' && this.#trace.isRoot(this)
    const name = root ? `${this.#trace.record.name}.session` : spanName(kind, this.start, outer)
    if (root) attributes['agentops.span.kind'] = 'session'
    const events =
      failed && kind === 'operation' ? [{ name: 'exception', attributes: exceptionOf(attributes), timestamp: endTime }] : []
    this.#endOtel(attributes, status, failed)
    this.#trace.add(
      { name, attributes, status, startTime: this.#startTime, endTime, events },
      { spanId, parentId: this.#parentId, traceId: this.#traceId },
    )
    if (kind !== 'llm' || outer || !content || !('choices' in data)) return
    for (const core of toolCallSpans(data.choices)) this.#trace.add({ ...core, startTime: endTime, endTime }, this.ids())
  }

  #endOtel(attributes: Attributes, status: SpanStatus, failed: boolean): void {
    const span = this.#span
    if (span.isRecording()) {
      for (const [name, key] of OTEL_ATTRIBUTES) {
        const value = attributes[key]
        if (typeof value === 'string' || typeof value === 'number') span.setAttribute(name, value)
      }
      if (failed) span.setStatus({ code: SpanStatusCode.ERROR, message: String(attributes['error.type'] ?? status.statusCode) })
    }
    span.end()
  }
}

function exceptionOf(attributes: Attributes): Attributes {
  const result: Attributes = {}
  for (const key of ['exception.type', 'exception.message'] as const) {
    const value = attributes[key]
    if (value !== undefined) result[key] = value
  }
  return result
}

/** The cheap few that the user's own exporters get, by OpenTelemetry's GenAI names. */
const OTEL_ATTRIBUTES = [
  ['gen_ai.provider.name', 'gen_ai.system'],
  ['gen_ai.request.model', 'gen_ai.request.model'],
  ['gen_ai.response.model', 'gen_ai.response.model'],
  ['gen_ai.response.id', 'gen_ai.response.id'],
  ['gen_ai.usage.input_tokens', 'gen_ai.usage.prompt_tokens'],
  ['gen_ai.usage.output_tokens', 'gen_ai.usage.completion_tokens'],
  ['gen_ai.tool.name', 'tool.name'],
  ['error.type', 'error.type'],
] as const

interface Slot {
  runtime?: Runtime
}

/** The process-wide slot: two copies of the core are one tracer. */
export function runtime(): Runtime {
  const holder: { [key: symbol]: Slot | undefined } = globalThis
  const slot = (holder[Symbol.for('agl.0')] ??= {})
  return (slot.runtime ??= new Runtime())
}

/** Throws where there is no active trace; `caller` is the function that the user called. */
export function requireTrace(caller: string): Current {
  const current = runtime().current()
  if (current === undefined) {
    throw new AglError('outside_trace', `${caller}() was called outside a trace; call it inside trace(…), record(…) or a program run by "agl run".`)
  }
  return current
}

/** Records a finished span under the active activity. */
export function recordSpan(core: SpanCore, caller: string): void {
  const { trace, activity } = requireTrace(caller)
  const attributes: Attributes = {}
  putAll(attributes, core.attributes)
  const outside = otel.getSpanContext(context.active())?.spanId
  const ids = activity?.ids() ?? { spanId: randomHex(8), parentId: null, traceId: trace.record.traceId }
  if (outside !== undefined && trace.foreign.has(outside)) trace.add({ ...core, attributes }, { ...ids, parentId: outside })
  else trace.add({ ...core, attributes }, ids)
}

export function openActivity<K extends ActivityKind>(kind: K, start: ActivityStart[K]): Activity<K> {
  return runtime().activity(kind, start)
}
