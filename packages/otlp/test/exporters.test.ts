import { SpanKind, SpanStatusCode, type Tracer } from '@opentelemetry/api'
import { OTLPTraceExporter as JSONExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { OTLPTraceExporter as ProtobufExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import { SimpleSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace'
import {
  BasicTracerProvider,
  SimpleSpanProcessor as SimpleSpanProcessor2,
} from '@opentelemetry/sdk-trace-base'
import { OTLPTraceExporter as ProtobufExporter2 } from 'otlp-proto-2'
import { describe, expect, it } from 'vitest'
import { backend } from './support.ts'

interface Provider {
  getTracer(name: string): Tracer
  forceFlush(): Promise<void>
  shutdown(): Promise<void>
}

const exporters: Record<string, (url: string) => Provider> = {
  'protobuf exporter of SDK 2': (url) =>
    new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor2(new ProtobufExporter2({ url }))] }),
  'protobuf exporter of SDK 3': (url) =>
    new TracerProvider({
      spanProcessors: [new SimpleSpanProcessor({ exporter: new ProtobufExporter({ url }) })],
    }),
  'JSON exporter of SDK 3': (url) =>
    new TracerProvider({
      spanProcessors: [new SimpleSpanProcessor({ exporter: new JSONExporter({ url }) })],
    }),
}

describe.each(Object.keys(exporters))("what OpenTelemetry's %s sends", (name) => {
  it('is read as the Python store reads it', async () => {
    await using server = await backend()
    const provider = exporters[name]?.(server.url)
    if (provider === undefined) throw new Error('There is no such exporter.')
    const tracer = provider.getTracer('theirs')
    const first = tracer.startSpan('first', { startTime: [1_790_000_000, 123_456_789] })
    first.end()
    const span = tracer.startSpan('chat gpt', {
      kind: SpanKind.CLIENT,
      startTime: [1_790_000_000, 250_000_000],
      links: [{ context: first.spanContext(), attributes: { why: 'before' } }],
      attributes: {
        text: 'héllo',
        whole: 7,
        negative: -7,
        fraction: 0.5,
        yes: true,
        list: ['a', 'b'],
        none: [],
        prompt_token_ids: [1, 200_000, 3],
        mixed: [1, 2.5],
        'agentlightning.rollout_id': 'ro-9',
        'agentlightning.attempt_id': 'at-9',
        'agentlightning.span_sequence_id': '12',
      },
    })
    span.addEvent('moment', { at: 1 }, [1_790_000_000, 500_000_000])
    span.setStatus({ code: SpanStatusCode.ERROR, message: 'broken' })
    span.end([1_790_000_001, 0])
    await provider.forceFlush()
    await provider.shutdown()

    expect(server.spans).toHaveLength(2)
    expect(server.spans[0]).toMatchObject({
      rolloutId: '',
      attemptId: '',
      sequenceId: -1,
      startTime: 1_790_000_000.1234567,
    })
    const { traceId, spanId } = span.spanContext()
    expect(server.spans[1]).toEqual({
      rolloutId: 'ro-9',
      attemptId: 'at-9',
      sequenceId: 12,
      traceId,
      spanId,
      parentId: null,
      name: 'chat gpt',
      status: { statusCode: 'ERROR', description: 'broken' },
      attributes: {
        text: 'héllo',
        whole: 7,
        negative: -7,
        fraction: 0.5,
        yes: true,
        list: ['a', 'b'],
        none: [],
        prompt_token_ids: Int32Array.of(1, 200_000, 3),
        mixed: [1, 2.5],
        'agentlightning.rollout_id': 'ro-9',
        'agentlightning.attempt_id': 'at-9',
        'agentlightning.span_sequence_id': '12',
      },
      events: [{ name: 'moment', attributes: { at: 1 }, timestamp: 1_790_000_000.5 }],
      links: [
        {
          context: { ...first.spanContext(), isRemote: false, traceFlags: undefined, traceState: {} },
          attributes: { why: 'before' },
        },
      ],
      startTime: 1_790_000_000.25,
      endTime: 1_790_000_001,
      context: { traceId, spanId, isRemote: false, traceState: {} },
      parent: null,
      resource: {
        attributes: expect.objectContaining({ 'telemetry.sdk.language': 'nodejs' }),
        schemaUrl: '',
      },
    })
  })
})
