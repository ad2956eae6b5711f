import { cpus } from 'node:os'
import type { Attributes, Span } from '@agl/core'
import { decodeTraces, encodeTraces, type Protocol } from '@agl/otlp'
import { SpanKind, SpanStatusCode, TraceFlags, type HrTime } from '@opentelemetry/api'
import { JsonTraceSerializer, ProtobufTraceSerializer } from '@opentelemetry/otlp-transformer'
import type { ReadableSpan } from '@opentelemetry/sdk-trace'
import { compare, type Variant } from './harness.ts'

/*
 * What a span costs on its way into OTLP and out of it, beside what OpenTelemetry's own exporters do with the same span:
 * `node --expose-gc --conditions=@agl/source otlp.ts`.
 */

const words = 'A farmer has some hens and each of them lays five eggs a week. '
const resource = { attributes: { 'service.name': 'bench' }, schemaUrl: '' }
const traceId = '0af7651916cd43dd8448eb211c80319c'

function call(i: number, promptIds: number): Span {
  const attributes: Attributes = {
    'gen_ai.system': 'OpenAI',
    'gen_ai.request.type': 'chat',
    'gen_ai.request.model': 'a-model',
    'gen_ai.request.temperature': 0.7,
    'gen_ai.response.id': `chatcmpl-${i}`,
    'gen_ai.response.model': 'a-model',
    'gen_ai.usage.prompt_tokens': promptIds,
    'gen_ai.usage.completion_tokens': 40,
    'gen_ai.completion.0.role': 'assistant',
    'gen_ai.completion.0.content': words.repeat(4),
    'gen_ai.completion.0.finish_reason': 'stop',
    'logprobs.content': JSON.stringify(
      Array.from({ length: 20 }, (_, k) => ({ token: ' a', logprob: -k / 7 })),
    ),
    prompt_token_ids: Int32Array.from({ length: promptIds }, (_, k) => (k * 7919) % 150_000),
    response_token_ids: Int32Array.from({ length: 40 }, (_, k) => (k * 104_729) % 150_000),
  }
  for (let k = 0; k < 4; k++) {
    attributes[`gen_ai.prompt.${k}.role`] = 'user'
    attributes[`gen_ai.prompt.${k}.content`] = words.repeat(3)
  }
  return {
    rolloutId: 'ro-1',
    attemptId: 'at-1',
    sequenceId: i,
    traceId,
    spanId: (i + 1).toString(16).padStart(16, '0'),
    parentId: 'b7ad6b7169203331',
    name: 'openai.chat.completion',
    status: { statusCode: 'OK', description: null },
    attributes,
    events: [],
    links: [],
    startTime: 1_790_000_000.25 + i,
    endTime: 1_790_000_000.75 + i,
    context: null,
    parent: null,
    resource,
  }
}

const scope = { name: 'bench' }
const theirResource = {
  attributes: resource.attributes,
  getRawAttributes: () => [],
  merge: () => theirResource,
}

/** The same as OpenTelemetry's SDK has it when it exports. */
function readable(span: Span): ReadableSpan {
  const attributes = Object.entries(span.attributes).map(([key, value]) => [
    key,
    value instanceof Int32Array ? Array.from(value) : value,
  ])
  const time = (seconds: number): HrTime => [Math.floor(seconds), Math.round((seconds % 1) * 1e9)]
  const context = { traceId, spanId: span.spanId, traceFlags: TraceFlags.SAMPLED }
  return {
    name: span.name,
    kind: SpanKind.CLIENT,
    spanContext: () => context,
    parentSpanContext: { ...context, spanId: span.parentId ?? '' },
    startTime: time(span.startTime),
    endTime: time(span.endTime),
    status: { code: SpanStatusCode.OK },
    attributes: Object.fromEntries(attributes),
    links: [],
    events: [],
    duration: [0, 500_000_000],
    ended: true,
    resource: theirResource,
    instrumentationScope: scope,
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0,
  }
}

const protocols: readonly Protocol[] = ['protobuf', 'json']
const theirs = { protobuf: ProtobufTraceSerializer, json: JsonTraceSerializer }

async function bench(title: string, spans: readonly Span[], rounds: number): Promise<void> {
  const foreign = spans.map(readable)
  const sizes = protocols.map((protocol) => encodeTraces(spans, { protocol }).body.length / spans.length)
  console.log(
    `\n${title}: ${sizes.map((size) => size.toFixed(0)).join(' bytes a span in protobuf, ')} in JSON`,
  )
  const encoders = protocols.flatMap((protocol): Variant[] => [
    { name: `${protocol}, @agl/otlp`, run: () => void encodeTraces(spans, { protocol }) },
    { name: `${protocol}, otlp-transformer`, run: () => void theirs[protocol].serializeRequest(foreign) },
  ])
  const [first, ...others] = encoders
  if (first !== undefined)
    await compare(`Encoding: ${title}`, [first, ...others], { rounds, count: spans.length })
  const [protobuf, json] = protocols.map((protocol): Variant => {
    const { body, contentType } = encodeTraces(spans, { protocol })
    return {
      name: `${protocol}, @agl/otlp`,
      async run() {
        const decoded = await decodeTraces(body, { contentType, maxBytes: 2 ** 30 })
        if (decoded.spans.length !== spans.length) throw new Error('Spans were lost.')
      },
    }
  })
  const text = Buffer.from(encodeTraces(spans, { protocol: 'json' }).body).toString()
  const floor: Variant = { name: 'JSON.parse alone', run: () => void JSON.parse(text) }
  if (protobuf !== undefined && json !== undefined)
    await compare(`Decoding: ${title}`, [protobuf, json, floor], { rounds, count: spans.length })
}

console.log(`${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}`)
await bench(
  '1,000 calls with 160 prompt ids',
  Array.from({ length: 1000 }, (_, i) => call(i, 160)),
  30,
)
await bench(
  '20 calls with 32,768 prompt ids',
  Array.from({ length: 20 }, (_, i) => call(i, 32_768)),
  30,
)
