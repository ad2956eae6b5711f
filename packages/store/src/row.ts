import { type Attributes, type Span, spanToJSON } from '@agl/core'
import { refusal } from './span-check.ts'
import type { AddSpansOptions } from './types.ts'

/** A span as backends keep it: what is searched and sorted by, and the whole as Agent Lightning's JSON. */
export interface SpanRow {
  rolloutId: string
  attemptId: string
  sequenceId: number
  traceId: string
  spanId: string
  parentId: string | null
  name: string
  startTime: number
  endTime: number
  data: string
}

export function toRow(span: Span, sequenceId: number): SpanRow {
  const { rolloutId, attemptId, traceId, spanId, parentId, name, startTime, endTime } = span
  const data = JSON.stringify(spanToJSON(sequenceId === span.sequenceId ? span : { ...span, sequenceId }))
  return { rolloutId, attemptId, sequenceId, traceId, spanId, parentId, name, startTime, endTime, data }
}

/** JSON texts as the bytes of a list without its brackets; the memory is theirs alone, so that it can be handed over. */
export function encodeList(texts: readonly string[]): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(texts.join(','))
}

/** The same of texts that are bytes already. */
export function joinList(texts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const size = texts.reduce((sum, { length }) => sum + length + 1, 0)
  const list = new Uint8Array(Math.max(0, size - 1))
  let end = 0
  for (const text of texts) {
    if (end > 0) list[end++] = COMMA
    list.set(text, end)
    end += text.length
  }
  return list
}

const COMMA = 44

/** Spans that travel and are written together, and those that never will be. */
export interface Portion {
  accepted: Span[]
  refused: { spanId: string; reason: string }[]
}

/** Most spans in a portion, and most bytes, roughly: one takes this thread about a millisecond to send. */
const MOST_SPANS = 256
const MOST_BYTES = 1024 * 1024

/** Checks `spans` and parts them into portions. */
export function* portions(spans: readonly Span[], options: AddSpansOptions): Generator<Portion> {
  let portion: Portion = { accepted: [], refused: [] }
  let bytes = 0
  for (const span of spans) {
    const reason = refusal(span, options)
    if (reason !== undefined) {
      portion.refused.push({ spanId: String(span?.spanId), reason })
      continue
    }
    portion.accepted.push(compact(span))
    bytes += weight(span.attributes)
    if (portion.accepted.length < MOST_SPANS && bytes < MOST_BYTES) continue
    yield portion
    portion = { accepted: [], refused: [] }
    bytes = 0
  }
  if (portion.accepted.length + portion.refused.length > 0) yield portion
}

/** What most of a span's size comes from. */
function weight(attributes: Attributes): number {
  let bytes = 0
  for (const key in attributes) {
    const value = attributes[key]
    if (typeof value === 'string') bytes += value.length
    else if (value instanceof Int32Array) bytes += value.byteLength
    else if (Array.isArray(value)) bytes += value.length * 8
  }
  return bytes
}

/** The span without what its token ids are only a window of: sent to another thread, the whole of it would be copied. */
function compact(span: Span): Span {
  let attributes: Attributes | undefined
  for (const key in span.attributes) {
    const value = span.attributes[key]
    if (!(value instanceof Int32Array) || value.byteLength === value.buffer.byteLength) continue
    attributes ??= { ...span.attributes }
    attributes[key] = value.slice()
  }
  return attributes === undefined ? span : { ...span, attributes }
}
