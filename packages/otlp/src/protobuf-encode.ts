import type { Attributes, AttributeValue, Span, SpanEvent, SpanLink, SpanStatus } from '@agl/core'
import { SPAN_SEQUENCE_ID } from '@agl/core/semconv'
import { groupSpans, SCOPE_NAME, type Group } from './group.ts'
import { refusal, type RefusedSpan } from './refused.ts'
import {
  ANY_VALUE,
  EVENT,
  KEY_VALUE,
  LINK,
  REQUEST,
  RESOURCE,
  RESOURCE_SPANS,
  SCOPE,
  SCOPE_SPANS,
  SPAN,
  STATUS,
  STATUS_CODES,
  VALUES,
} from './schema.ts'
import { toNanos } from './time.ts'
import {
  attributesOf,
  finite,
  flagsOf,
  illegal,
  isInt,
  kindOf,
  listKind,
  remoteFlags,
  traceStateText,
} from './values.ts'
import { byteLength, varintSize, Writer } from './writer.ts'

/** Writes an `ExportTraceServiceRequest`. A span that cannot be written leaves no trace in it. */
export function encodeProtobuf(
  spans: readonly Span[],
  sequenceIds: boolean,
  refused: RefusedSpan[],
): Uint8Array {
  const groups = groupSpans(spans, refused)
  // Growing means copying all that is there.
  const writer = new Writer(groups.reduce((sum, { bytes }) => sum + bytes, 1024))
  for (const group of groups) {
    const start = writer.pos
    const count = refused.length
    try {
      writeGroup(writer, group, sequenceIds, refused)
    } catch (error) {
      // Something that they share.
      writer.pos = start
      refused.length = count
      for (const span of group.spans) refused.push(refusal(span, error))
    }
  }
  return writer.finish()
}

function writeGroup(writer: Writer, group: Group, sequenceIds: boolean, refused: RefusedSpan[]): void {
  const { resource, ids, spans } = group
  const outer = writer.open(REQUEST.resourceSpans)
  const inner = writer.open(RESOURCE_SPANS.resource)
  writeAttributes(writer, RESOURCE.attributes, resource.attributes)
  writeAttributes(writer, RESOURCE.attributes, ids)
  writer.close(inner)
  const scopeSpans = writer.open(RESOURCE_SPANS.scopeSpans)
  const scope = writer.open(SCOPE_SPANS.scope)
  writer.textField(SCOPE.name, SCOPE_NAME)
  writer.close(scope)
  for (const span of spans) {
    const start = writer.pos
    try {
      writeSpan(writer, span, sequenceIds)
    } catch (error) {
      writer.pos = start
      refused.push(refusal(span, error))
    }
  }
  writer.close(scopeSpans)
  if (resource.schemaUrl !== '') writer.textField(RESOURCE_SPANS.schemaUrl, resource.schemaUrl)
  writer.close(outer)
}

function writeSpan(writer: Writer, span: Span, sequenceIds: boolean): void {
  const start = writer.open(SCOPE_SPANS.spans)
  writer.idField(SPAN.traceId, span.traceId, 16)
  writer.idField(SPAN.spanId, span.spanId, 8)
  const traceState = traceStateText(span.context)
  if (traceState !== '') writer.textField(SPAN.traceState, traceState)
  if (span.parentId !== null) writer.idField(SPAN.parentSpanId, span.parentId, 8)
  writer.textField(SPAN.name, span.name)
  writer.varint(SPAN.kind)
  writer.varint(kindOf(span))
  writer.varint(SPAN.startTime)
  writer.fixed64(toNanos(span.startTime))
  writer.varint(SPAN.endTime)
  writer.fixed64(toNanos(span.endTime))
  writeAttributes(writer, SPAN.attributes, attributesOf(span))
  // The last one, so that on arrival it wins over one that the span may have of its own.
  if (sequenceIds) writeAttribute(writer, SPAN.attributes, SPAN_SEQUENCE_ID, span.sequenceId)
  for (const event of span.events) writeEvent(writer, event)
  for (const link of span.links) writeLink(writer, link)
  writeStatus(writer, span.status)
  const flags = flagsOf(span)
  if (flags !== 0) {
    writer.varint(SPAN.flags)
    writer.fixed32(flags)
  }
  writer.close(start)
}

function writeEvent(writer: Writer, { name, attributes, timestamp }: SpanEvent): void {
  const start = writer.open(SPAN.events)
  if (timestamp !== null) {
    writer.varint(EVENT.time)
    writer.fixed64(toNanos(timestamp))
  }
  writer.textField(EVENT.name, name)
  writeAttributes(writer, EVENT.attributes, attributes)
  writer.close(start)
}

function writeLink(writer: Writer, { context, attributes }: SpanLink): void {
  const start = writer.open(SPAN.links)
  writer.idField(LINK.traceId, context.traceId, 16)
  writer.idField(LINK.spanId, context.spanId, 8)
  const traceState = traceStateText(context)
  if (traceState !== '') writer.textField(LINK.traceState, traceState)
  if (attributes !== null) writeAttributes(writer, LINK.attributes, attributes)
  writer.varint(LINK.flags)
  writer.fixed32(remoteFlags(context))
  writer.close(start)
}

function writeStatus(writer: Writer, { statusCode, description }: SpanStatus): void {
  const code = STATUS_CODES.indexOf(statusCode)
  if (code < 0) throw new RangeError(`its status "${statusCode}" is not known`)
  const start = writer.open(SPAN.status)
  if (description !== null) writer.textField(STATUS.message, description)
  writer.varint(STATUS.code)
  writer.varint(code)
  writer.close(start)
}

function writeAttributes(writer: Writer, tag: number, attributes: Attributes): void {
  for (const key in attributes) {
    const value: AttributeValue | undefined = attributes[key]
    if (value !== undefined) writeAttribute(writer, tag, key, finite(value))
  }
}

function writeAttribute(writer: Writer, tag: number, key: string, value: AttributeValue): void {
  if (typeof value === 'string') {
    const size = byteLength(value)
    writeKey(writer, tag, key, 1 + varintSize(size) + size)
    writer.varint(ANY_VALUE.string)
    writer.varint(size)
    writer.text(value, size)
  } else if (typeof value === 'number') {
    if (isInt(value, key)) {
      writeKey(writer, tag, key, 1 + varintSize(value))
      writer.varint(ANY_VALUE.int)
      writer.int64(value)
    } else {
      writeKey(writer, tag, key, 9)
      writer.varint(ANY_VALUE.double)
      writer.double(value)
    }
  } else if (typeof value === 'boolean') {
    writeKey(writer, tag, key, 2)
    writer.varint(ANY_VALUE.bool)
    writer.varint(value ? 1 : 0)
  } else writeList(writer, tag, key, value)
}

/** All of an attribute up to its value, whose size is known. */
function writeKey(writer: Writer, tag: number, key: string, size: number): void {
  const keySize = byteLength(key)
  writer.varint(tag)
  writer.varint(1 + varintSize(keySize) + keySize + 1 + varintSize(size) + size)
  writer.varint(KEY_VALUE.key)
  writer.varint(keySize)
  writer.text(key, keySize)
  writer.varint(KEY_VALUE.value)
  writer.varint(size)
}

function writeList(writer: Writer, tag: number, key: string, list: unknown): void {
  if (list instanceof Int32Array) return writeInts(writer, tag, key, list)
  const kind = Array.isArray(list) ? listKind(list, key) : undefined
  if (!Array.isArray(list) || kind === undefined) throw illegal(key)
  if (kind === 'ints') return writeInts(writer, tag, key, list)
  const [pair, value, values] = openList(writer, tag, key)
  for (const item of list) {
    writer.varint(VALUES)
    if (typeof item === 'string') {
      const length = byteLength(item)
      writer.varint(1 + varintSize(length) + length)
      writer.varint(ANY_VALUE.string)
      writer.varint(length)
      writer.text(item, length)
    } else if (typeof item === 'boolean') {
      writer.varint(2)
      writer.varint(ANY_VALUE.bool)
      writer.varint(item ? 1 : 0)
    } else {
      writer.varint(9)
      writer.varint(ANY_VALUE.double)
      writer.double(Number(item))
    }
  }
  for (const start of [values, value, pair]) writer.close(start)
}

function openList(writer: Writer, tag: number, key: string): [pair: number, value: number, values: number] {
  const pair = writer.open(tag)
  writer.textField(KEY_VALUE.key, key)
  const value = writer.open(KEY_VALUE.value)
  return [pair, value, writer.open(ANY_VALUE.array)]
}

/** Bytes of an integer below 2^31 in a list: two tags, a length, and up to five. */
const LARGEST = 8

/** Token ids come by the ten thousand: one pass, and the sizes that they mostly have spelled out. */
function writeInts(writer: Writer, tag: number, key: string, list: ArrayLike<number>): void {
  const [pair, value, values] = openList(writer, tag, key)
  writer.room(list.length * LARGEST)
  let { buf, pos } = writer
  for (let i = 0; i < list.length; i++) {
    const item = list[i] ?? 0
    buf[pos] = VALUES
    buf[pos + 2] = ANY_VALUE.int
    if (item >= 0 && item < 0x80) {
      buf[pos + 1] = 2
      buf[pos + 3] = item
      pos += 4
    } else if (item >= 0 && item < 0x4000) {
      buf[pos + 1] = 3
      buf[pos + 3] = (item & 0x7f) | 0x80
      buf[pos + 4] = item >>> 7
      pos += 5
    } else if (item >= 0 && item < 0x200000) {
      buf[pos + 1] = 4
      buf[pos + 3] = (item & 0x7f) | 0x80
      buf[pos + 4] = ((item >>> 7) & 0x7f) | 0x80
      buf[pos + 5] = item >>> 14
      pos += 6
    } else {
      buf[pos + 1] = 1 + varintSize(item)
      writer.pos = pos + 3
      writer.room(10 + (list.length - i) * LARGEST)
      writer.int64(item)
      ;({ buf, pos } = writer)
    }
  }
  writer.pos = pos
  for (const start of [values, value, pair]) writer.close(start)
}
