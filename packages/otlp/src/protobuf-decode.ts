import type { Span, SpanEvent, SpanLink, SpanStatus } from '@agl/core'
import {
  ArrivedAttributes,
  RESOURCE_IDS,
  SPAN_IDS,
  toLinkContext,
  toSpan,
  type ArrivedSpan,
  type Source,
} from './arrival.ts'
import { SCOPE_NAME } from './group.ts'
import { readAttribute } from './protobuf-values.ts'
import { Reader } from './reader.ts'
import { reasonOf } from './refused.ts'
import {
  EVENT,
  LINK,
  REQUEST,
  RESOURCE,
  RESOURCE_SPANS,
  SCOPE,
  SCOPE_SPANS,
  SPAN,
  STATUS,
  STATUS_CODES,
} from './schema.ts'
import { fromNanos } from './time.ts'

/** Where a message lies: read only after what came behind it is known. */
type Range = [start: number, end: number]

/**
 * Reads an `ExportTraceServiceRequest` into `taken`, span by span; yields after each. What is wrong within one span
 * is told to `reject` and costs that span alone.
 *
 * @throws Malformed where the frame around the spans is broken
 */
export function* decodeProtobuf(
  body: Uint8Array,
  taken: Span[],
  reject: (reason: string) => void,
): Generator<void> {
  const reader = new Reader(body)
  const limit = body.length
  while (reader.pos < limit) {
    const tag = reader.varint()
    if (tag === REQUEST.resourceSpans) {
      const end = reader.open(limit)
      yield* resourceSpans(reader, end, taken, reject)
      reader.pos = end
    } else reader.skip(tag, limit)
  }
}

function* resourceSpans(
  reader: Reader,
  end: number,
  taken: Span[],
  reject: (reason: string) => void,
): Generator<void> {
  let resource: Range | undefined
  let schemaUrl = ''
  const scopes: Range[] = []
  while (reader.pos < end) {
    const tag = reader.varint()
    if (tag === RESOURCE_SPANS.resource) resource = range(reader, end)
    else if (tag === RESOURCE_SPANS.scopeSpans) scopes.push(range(reader, end))
    else if (tag === RESOURCE_SPANS.schemaUrl) schemaUrl = reader.text(end)
    else reader.skip(tag, end)
  }
  reader.close(end)
  for (const scope of scopes) {
    let name = ''
    const spans: Range[] = []
    reader.pos = scope[0]
    while (reader.pos < scope[1]) {
      const tag = reader.varint()
      if (tag === SCOPE_SPANS.spans) spans.push(range(reader, scope[1]))
      else if (tag === SCOPE_SPANS.scope) name = scopeName(reader, scope[1])
      else reader.skip(tag, scope[1])
    }
    reader.close(scope[1])
    const source = readSource(reader, resource, schemaUrl, name === SCOPE_NAME)
    for (const [from, to] of spans) {
      reader.pos = from
      try {
        taken.push(toSpan(readSpan(reader, to, source.ours), source))
      } catch (error) {
        reject(reasonOf(error))
      }
      yield
    }
  }
}

function range(reader: Reader, limit: number): Range {
  const end = reader.open(limit)
  const start = reader.pos
  reader.pos = end
  return [start, end]
}

function scopeName(reader: Reader, limit: number): string {
  const end = reader.open(limit)
  let name = ''
  while (reader.pos < end) {
    const tag = reader.varint()
    if (tag === SCOPE.name) name = reader.text(end)
    else reader.skip(tag, end)
  }
  reader.close(end)
  return name
}

function readSource(reader: Reader, resource: Range | undefined, schemaUrl: string, ours: boolean): Source {
  const arrived = new ArrivedAttributes(ours ? RESOURCE_IDS : [])
  if (resource !== undefined) {
    const [start, end] = resource
    reader.pos = start
    while (reader.pos < end) {
      const tag = reader.varint()
      if (tag === RESOURCE.attributes) readAttribute(reader, end, arrived)
      else reader.skip(tag, end)
    }
    reader.close(end)
  }
  return { resource: { attributes: arrived.attributes, schemaUrl }, ids: arrived.ids, ours }
}

function readSpan(reader: Reader, end: number, ours: boolean): ArrivedSpan {
  const span: ArrivedSpan = {
    traceId: '',
    spanId: '',
    parentId: '',
    traceState: '',
    name: '',
    startTime: 0,
    endTime: 0,
    attributes: new ArrivedAttributes(ours ? SPAN_IDS : []),
    events: [],
    links: [],
    status: { statusCode: 'UNSET', description: null },
    flags: 0,
  }
  while (reader.pos < end) {
    const tag = reader.varint()
    if (tag === SPAN.attributes) readAttribute(reader, end, span.attributes)
    else if (tag === SPAN.traceId) span.traceId = reader.hex(end)
    else if (tag === SPAN.spanId) span.spanId = reader.hex(end)
    else if (tag === SPAN.traceState) span.traceState = reader.text(end)
    else if (tag === SPAN.parentSpanId) span.parentId = reader.hex(end)
    else if (tag === SPAN.name) span.name = reader.key(end)
    else if (tag === SPAN.startTime) span.startTime = fromNanos(reader.fixed64())
    else if (tag === SPAN.endTime) span.endTime = fromNanos(reader.fixed64())
    else if (tag === SPAN.events) span.events.push(readEvent(reader, end))
    else if (tag === SPAN.links) span.links.push(readLink(reader, end))
    else if (tag === SPAN.status) span.status = readStatus(reader, end)
    else if (tag === SPAN.flags) span.flags = reader.fixed32()
    else reader.skip(tag, end)
  }
  reader.close(end)
  return span
}

function readEvent(reader: Reader, limit: number): SpanEvent {
  const end = reader.open(limit)
  const arrived = new ArrivedAttributes()
  const event: SpanEvent = { name: '', attributes: arrived.attributes, timestamp: null }
  while (reader.pos < end) {
    const tag = reader.varint()
    if (tag === EVENT.time) event.timestamp = fromNanos(reader.fixed64()) || null
    else if (tag === EVENT.name) event.name = reader.key(end)
    else if (tag === EVENT.attributes) readAttribute(reader, end, arrived)
    else reader.skip(tag, end)
  }
  reader.close(end)
  return event
}

function readLink(reader: Reader, limit: number): SpanLink {
  const end = reader.open(limit)
  const attributes = new ArrivedAttributes()
  let traceId = ''
  let spanId = ''
  let traceState = ''
  let flags = 0
  let any = false
  while (reader.pos < end) {
    const tag = reader.varint()
    if (tag === LINK.traceId) traceId = reader.hex(end)
    else if (tag === LINK.spanId) spanId = reader.hex(end)
    else if (tag === LINK.traceState) traceState = reader.text(end)
    else if (tag === LINK.flags) flags = reader.fixed32()
    else if (tag === LINK.attributes) {
      readAttribute(reader, end, attributes)
      any = true
    } else reader.skip(tag, end)
  }
  reader.close(end)
  return {
    context: toLinkContext(traceId, spanId, traceState, flags),
    attributes: any ? attributes.attributes : null,
  }
}

function readStatus(reader: Reader, limit: number): SpanStatus {
  const end = reader.open(limit)
  const status: SpanStatus = { statusCode: 'UNSET', description: null }
  while (reader.pos < end) {
    const tag = reader.varint()
    if (tag === STATUS.message) status.description = reader.text(end) || null
    else if (tag === STATUS.code) status.statusCode = STATUS_CODES[reader.varint()] ?? 'UNSET'
    else reader.skip(tag, end)
  }
  reader.close(end)
  return status
}
