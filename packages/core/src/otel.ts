import { trace as otel, type Attributes as OtelAttributes, type HrTime, type Link } from '@opentelemetry/api'
import { type Context } from './context.ts'
import { AglError } from './errors.ts'
import type { LiveTrace } from './live-trace.ts'
import { runtime, SCOPE } from './runtime.ts'
import { sanitizeAttributes } from './semconv.ts'
import type { Attributes, SpanExporterLike, StatusCode } from './types.ts'

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
  const open = new WeakMap<object, { trace: LiveTrace; parentId: string | null }>()
  return {
    onStart(span, parentContext) {
      const current = runtime().current(parentContext)
      if (current === undefined || !isForeignSpan(span)) return
      const parent = span.parentSpanContext?.spanId ?? span.parentSpanId
      const known = parent !== undefined && current.trace.foreign.has(parent)
      current.trace.foreign.add(span.spanContext().spanId)
      open.set(span, { trace: current.trace, parentId: known ? parent : (current.activity?.spanId ?? null) })
    },
    onEnd(span) {
      const entry = open.get(span)
      if (entry === undefined || !isForeignSpan(span)) return
      open.delete(span)
      const { traceId, spanId } = span.spanContext()
      entry.trace.add(
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
        },
        { traceId, spanId, parentId: entry.parentId },
      )
    },
    forceFlush: () => Promise.resolve(),
    shutdown: () => Promise.resolve(),
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

function legal(attributes: OtelAttributes): Attributes {
  const defined: Record<string, unknown> = {}
  for (const key in attributes) if (attributes[key] !== undefined) defined[key] = attributes[key]
  return sanitizeAttributes(defined)
}

function seconds([whole, nanos]: HrTime): number {
  return whole + nanos / 1e9
}

/** Registers a provider that feeds `exporters`. Returns how to shut it down and take it away again. */
export async function startExporters(exporters: readonly SpanExporterLike[]): Promise<() => Promise<void>> {
  const sdk = await import('@opentelemetry/sdk-trace-base').catch((cause: unknown) => {
    throw new AglError(
      'sdk_missing',
      'The option "exporters" needs OpenTelemetry\'s SDK; run: npm install @opentelemetry/sdk-trace-base',
      { cause },
    )
  })
  const processors = exporters.map((exporter) => new sdk.BatchSpanProcessor(exporter))
  const provider = new sdk.BasicTracerProvider({ spanProcessors: [lightningSpanProcessor(), ...processors] })
  if (!otel.setGlobalTracerProvider(provider)) {
    await provider.shutdown()
    throw new AglError(
      'provider_conflict',
      'An OpenTelemetry provider is registered already; drop "exporters" and add lightningSpanProcessor() to that provider.',
    )
  }
  return async () => {
    otel.disable()
    await provider.shutdown()
  }
}
