import {
  context,
  createContextKey,
  SpanKind,
  SpanStatusCode,
  trace as otel,
  type Context,
} from '@opentelemetry/api'
import type { Activity, ActivityData, ActivityKind, ActivityStart } from './activity-types.ts'
import { now, randomHex, type OtelSpan } from './context.ts'
import { encodeEnd, encodeError, encodeStart, toolCallSpans } from './encode.ts'
import { AglError } from './errors.ts'
import type { LiveTrace } from './live-trace.ts'
import { otelName, spanName } from './names.ts'
import type { Runtime } from './runtime.ts'
import type { Attributes, SpanEvent, SpanStatus } from './types.ts'

/** Where a live trace and activity travel in OpenTelemetry's context. */
export const CURRENT: symbol = createContextKey('agl.current')
const INVALID = '0000000000000000'
const UNSET: SpanStatus = { statusCode: 'UNSET', description: null }
const OK: SpanStatus = { statusCode: 'OK', description: null }
const FAILED: SpanStatus = { statusCode: 'ERROR', description: null }

/** What a plugin gets where nothing is recorded. */
export class Unrecorded<K extends ActivityKind> implements Activity<K> {
  readonly start: ActivityStart[K]
  readonly parent = undefined
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
  abandon(): void {}
}

export class OpenActivity<K extends ActivityKind = ActivityKind> implements Activity<K> {
  readonly start: ActivityStart[K]
  readonly spanId: string
  ended = false
  failed = false
  readonly #runtime: Runtime
  readonly #trace: LiveTrace
  readonly #kind: K
  readonly #span: OtelSpan
  readonly #above: Context
  #context: Context | undefined
  readonly parent: OpenActivity | undefined
  readonly #traceId: string
  readonly #parentId: string | null
  readonly #attributes: Attributes
  readonly #startTime: number
  #data: ActivityData[K] | undefined
  #outer = false

  constructor(
    runtime: Runtime,
    trace: LiveTrace,
    parent: OpenActivity | undefined,
    kind: K,
    start: ActivityStart[K],
    ctx: Context,
  ) {
    this.#runtime = runtime
    this.#trace = trace
    this.parent = parent
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
    this.#above = ctx
    if (kind === 'llm')
      // A tool or an agent that calls a model is no part of the call that is around it.
      for (let up = parent; up !== undefined && up.#kind !== 'tool' && up.#kind !== 'agent'; up = up.parent)
        up.#outer ||= up.#kind === 'llm'
    trace.opened(this, ids.traceId)
    this.#startTime = now()
  }

  /** Made when something is opened inside: mostly nothing is. */
  get context(): Context {
    const here = { trace: this.#trace, activity: this }
    return (this.#context ??= otel.setSpan(this.#above, this.#span).setValue(CURRENT, here))
  }

  run<T>(fn: () => T): T {
    return context.with(this.context, fn)
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
    if (this.#kind === 'llm' || this.#kind === 'embedding') this.update({ finish: 'abandoned' })
    this.#finish(undefined, new AglError('not_found', 'The activity never ended and was given up.'), true)
  }

  isBelow(spanId: string): boolean {
    for (let up = this.parent; up !== undefined; up = up.parent) if (up.spanId === spanId) return true
    return false
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
      this.#endOtel(failed)
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
    const attributes = this.#attributes
    const root = kind === 'workflow' && this.#trace.isRoot(this)
    let status = root || kind === 'operation' ? UNSET : OK
    if ('finish' in data && data.finish !== undefined && data.finish !== 'raw') status = UNSET
    if (failed) status = FAILED
    const events: SpanEvent[] = []
    try {
      encodeEnd(attributes, kind, this.start, data, { content, tokens, outer, spanId })
      if (failed && kind === 'operation') {
        // Agent Lightning's tracer writes an operation's error as an event, and writes it twice.
        const thrown: Attributes = {}
        status = encodeError(thrown, error)
        const event = { name: 'exception', attributes: exceptionEvent(thrown, error), timestamp: endTime }
        events.push(event, { ...event, attributes: { ...event.attributes } })
      } else if (failed) status = encodeError(attributes, error)
    } catch (problem) {
      runtime.log.once('Some of the data of an activity could not be recorded.', problem)
    }
    const name = root ? `${this.#trace.record.name}.session` : spanName(kind, this.start, outer)
    if (root) attributes['agentops.span.kind'] = 'session'
    this.#trace.add(
      { name, attributes, status, startTime: this.#startTime, endTime, events },
      { spanId, parentId: this.#parentId, traceId: this.#traceId },
    )
    if (kind !== 'llm' || outer || !content || !('choices' in data)) return
    // Calls whose arguments were cut off are no calls.
    if (status.statusCode !== 'OK') return
    for (const core of toolCallSpans(data.choices))
      this.#trace.add({ ...core, startTime: endTime, endTime }, this.ids())
  }

  #endOtel(failed: boolean): void {
    const span = this.#span
    const attributes = this.#attributes
    if (span.isRecording()) {
      for (const [name, key] of OTEL_ATTRIBUTES) {
        const value = attributes[key]
        if (typeof value === 'string' || typeof value === 'number') span.setAttribute(name, value)
      }
      if (failed)
        span.setStatus({ code: SpanStatusCode.ERROR, message: String(attributes['error.type'] ?? 'error') })
    }
    span.end()
  }
}

function exceptionEvent(thrown: Attributes, error: unknown): Attributes {
  return {
    'exception.type': thrown['exception.type'] ?? '',
    'exception.message': thrown['exception.message'] ?? '',
    'exception.stacktrace': (error instanceof Error ? error.stack : undefined) ?? '',
    'exception.escaped': 'False',
  }
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
