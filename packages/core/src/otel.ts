import type { Attributes as OtelAttributes, HrTime, Link } from '@opentelemetry/api'
import { type Context } from './context.ts'
import { finite } from './encode.ts'
import { logger } from './errors.ts'
import type { LiveTrace } from './live-trace.ts'
import { runtime, SCOPE } from './runtime.ts'
import { sanitizeValue } from './semconv.ts'
import type { Attributes, SpanLink, StatusCode } from './types.ts'

/** Foreign spans remembered per trace as possible parents; a trace that sees more forgets the old ones. */
const MOST_FOREIGN = 10_000
const STATUS: readonly StatusCode[] = ['UNSET', 'OK', 'ERROR']

/** What is read of an OpenTelemetry SDK span, in the shapes of SDK 1.x (`instrumentationLibrary`, `parentSpanId`) to 3.x. */
interface ForeignSpan {
  name: string
  spanContext(): { traceId: string; spanId: string }
  parentSpanContext?: { spanId: string } | undefined
  parentSpanId?: string | undefined
  startTime: HrTime
  endTime: HrTime
  attributes: OtelAttributes
  events: readonly { name: string; time: HrTime; attributes?: OtelAttributes | undefined }[]
  links: readonly Link[]
  status: { code: number; message?: string | undefined }
  instrumentationScope?: { name: string } | undefined
  instrumentationLibrary?: { name: string } | undefined
}

/** The part of OpenTelemetry's `SpanProcessor` that any SDK calls. */
export interface LightningSpanProcessor {
  onStart(span: object, parentContext: Context): void
  onEnd(span: object): void
  forceFlush(): Promise<void>
  shutdown(): Promise<void>
}

/**
 * Takes the user's own OpenTelemetry spans into the trace that they happen in. Add it to the span processors of your
 * provider. Spans outside any trace, and our own, are left alone.
 */
export function lightningSpanProcessor(): LightningSpanProcessor {
  const open = new WeakMap<object, Taken>()
  return {
    onStart(span, parentContext) {
      const current = runtime().current(parentContext)
      if (current === undefined || !isForeignSpan(span)) return
      const parent = span.parentSpanContext?.spanId ?? span.parentSpanId
      const known = parent !== undefined && current.trace.foreign.has(parent)
      if (current.trace.foreign.size > MOST_FOREIGN) current.trace.foreign.clear()
      current.trace.foreign.add(span.spanContext().spanId)
      open.set(span, { trace: current.trace, parentId: known ? parent : (current.activity?.spanId ?? null) })
    },
    onEnd(span) {
      const entry = open.get(span)
      if (entry === undefined || !isForeignSpan(span)) return
      open.delete(span)
      try {
        take(entry, span)
      } catch (error) {
        logger('agl:core').once('An OpenTelemetry span could not be recorded.', error)
      }
    },
    forceFlush: () => Promise.resolve(),
    shutdown: () => Promise.resolve(),
  }
}

interface Taken {
  trace: LiveTrace
  parentId: string | null
}

function take({ trace, parentId }: Taken, span: ForeignSpan): void {
  const { traceId, spanId } = span.spanContext()
  trace.add(
    {
      name: span.name,
      attributes: legal(span.attributes),
      status: {
        statusCode: STATUS[span.status.code] ?? 'UNSET',
        description: span.status.message ?? null,
      },
      startTime: seconds(span.startTime),
      endTime: seconds(span.endTime),
      events: span.events.map((event) => ({
        name: event.name,
        attributes: legal(event.attributes ?? {}),
        timestamp: seconds(event.time),
      })),
      links: span.links.map(linkOf),
    },
    { traceId, spanId, parentId },
  )
}

function linkOf({ context, attributes }: Link): SpanLink {
  const { traceId, spanId, isRemote = false, traceState } = context
  const state = (traceState?.serialize() ?? '').matchAll(/([^,=]+)=([^,]*)/g)
  const entries = Array.from(state, ([, key = '', value = '']) => [key, value])
  return {
    context: { traceId, spanId, isRemote, traceState: Object.fromEntries(entries) },
    attributes: attributes === undefined ? null : legal(attributes),
  }
}

function isForeignSpan(span: object): span is ForeignSpan {
  if (!('spanContext' in span) || !('attributes' in span)) return false
  for (const key of ['instrumentationScope', 'instrumentationLibrary']) {
    const scope: unknown = Reflect.get(span, key)
    if (typeof scope === 'object' && scope !== null && 'name' in scope && scope.name === SCOPE) return false
  }
  return true
}

/** Headers and queries are where instrumentations of HTTP put secrets. */
const SECRET = /^http\.(request|response)\.header\.|^url\.query$/
const ADDRESS = /^(url\.full|http\.url|http\.target)$/

function legal(attributes: OtelAttributes): Attributes {
  const into: Attributes = {}
  for (const key of Object.keys(attributes)) {
    const value: unknown = attributes[key]
    if (value === undefined || value === null || SECRET.test(key)) continue
    const plain = sanitizeValue(value)
    into[key] = finite(typeof plain === 'string' && ADDRESS.test(key) ? withoutSecrets(plain) : plain)
  }
  return into
}

/** Without user, password, query and fragment. */
function withoutSecrets(url: string): string {
  return url.replace(/\/\/[^/@]*@/, '//').replace(/[?#].*$/s, '')
}

function seconds([whole, nanos]: HrTime): number {
  return whole + nanos / 1e9
}
