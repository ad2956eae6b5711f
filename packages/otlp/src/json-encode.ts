import type { Attributes, AttributeValue, Span } from '@agl/core'
import { SPAN_SEQUENCE_ID } from '@agl/core/semconv'
import { groupSpans, SCOPE_NAME, type Group } from './group.ts'
import { refusal, type RefusedSpan } from './refused.ts'
import { STATUS_CODES } from './schema.ts'
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

/** Writes an `ExportTraceServiceRequest` as OTLP has JSON: ids in hex, 64-bit integers as text. */
export function encodeJSON(spans: readonly Span[], sequenceIds: boolean, refused: RefusedSpan[]): string {
  const groups: string[] = []
  for (const group of groupSpans(spans, refused)) {
    const count = refused.length
    try {
      groups.push(groupText(group, sequenceIds, refused))
    } catch (error) {
      refused.length = count
      for (const span of group.spans) refused.push(refusal(span, error))
    }
  }
  return `{"resourceSpans":[${groups.join(',')}]}`
}

function groupText({ resource, ids, spans }: Group, sequenceIds: boolean, refused: RefusedSpan[]): string {
  const attributes = [...attributeTexts(resource.attributes), ...attributeTexts(ids)]
  const texts: string[] = []
  for (const span of spans) {
    try {
      texts.push(spanText(span, sequenceIds))
    } catch (error) {
      refused.push(refusal(span, error))
    }
  }
  const scope = JSON.stringify({ name: SCOPE_NAME })
  const schema = text(resource.schemaUrl)
  return `{"resource":{"attributes":[${attributes.join(',')}]},"scopeSpans":[{"scope":${scope},"spans":[${texts.join(',')}]}],"schemaUrl":${schema}}`
}

function spanText(span: Span, sequenceIds: boolean): string {
  const code = STATUS_CODES.indexOf(span.status.statusCode)
  if (code < 0) throw new RangeError(`its status "${span.status.statusCode}" is not known`)
  const attributes = attributeTexts(attributesOf(span))
  if (sequenceIds) attributes.push(attributeText(SPAN_SEQUENCE_ID, span.sequenceId))
  const events = span.events.map(
    ({ name, attributes: own, timestamp }) =>
      `{"timeUnixNano":"${timestamp === null ? 0 : toNanos(timestamp)}","name":${text(name)},"attributes":[${attributeTexts(own).join(',')}]}`,
  )
  const links = span.links.map(
    ({ context, attributes: own }) =>
      `{"traceId":${id(context.traceId, 16)},"spanId":${id(context.spanId, 8)},"traceState":${text(traceStateText(context))},"attributes":[${attributeTexts(own ?? {}).join(',')}],"flags":${remoteFlags(context)}}`,
  )
  const { description } = span.status
  const message = description === null ? '' : `"message":${text(description)},`
  return [
    `{"traceId":${id(span.traceId, 16)}`,
    `"spanId":${id(span.spanId, 8)}`,
    `"traceState":${text(traceStateText(span.context))}`,
    `"parentSpanId":${span.parentId === null ? '""' : id(span.parentId, 8)}`,
    `"name":${text(span.name)}`,
    `"kind":${kindOf(span)}`,
    `"startTimeUnixNano":"${toNanos(span.startTime)}"`,
    `"endTimeUnixNano":"${toNanos(span.endTime)}"`,
    `"attributes":[${attributes.join(',')}]`,
    `"events":[${events.join(',')}]`,
    `"links":[${links.join(',')}]`,
    `"status":{${message}"code":${code}}`,
    `"flags":${flagsOf(span)}}`,
  ].join(',')
}

/** Half a surrogate pair cannot be sent; it becomes U+FFFD, as in UTF-8. */
function text(value: string): string {
  if (typeof value !== 'string') throw new TypeError('one of its texts is none')
  const json = JSON.stringify(value)
  return json.includes('\\ud') ? JSON.stringify(value.replace(/\p{Surrogate}/gu, '\ufffd')) : json
}

function id(hex: string, size: number): string {
  if (hex.length !== size * 2 || !/^[0-9a-f]*$/i.test(hex)) {
    throw new RangeError(`an id is not ${size * 2} hex digits`)
  }
  return `"${hex}"`
}

function attributeTexts(attributes: Attributes): string[] {
  const texts: string[] = []
  for (const key in attributes) {
    const value: AttributeValue | undefined = attributes[key]
    if (value !== undefined) texts.push(attributeText(key, finite(value)))
  }
  return texts
}

function attributeText(key: string, value: AttributeValue): string {
  return `{"key":${text(key)},"value":${valueText(key, value)}}`
}

function valueText(key: string, value: unknown): string {
  if (typeof value === 'string') return `{"stringValue":${text(value)}}`
  if (typeof value === 'boolean') return `{"boolValue":${value}}`
  if (typeof value === 'number') return isInt(value, key) ? `{"intValue":"${value}"}` : doubleText(value)
  if (value instanceof Int32Array) return listText(value, 'ints', key)
  const kind = Array.isArray(value) ? listKind(value, key) : undefined
  if (!Array.isArray(value) || kind === undefined) throw illegal(key)
  return listText(value, kind, key)
}

function listText(list: Int32Array | readonly unknown[], kind: string, key: string): string {
  let texts = ''
  for (let i = 0; i < list.length; i++) {
    const item = list[i]
    if (i > 0) texts += ','
    if (kind === 'ints') texts += `{"intValue":"${String(item)}"}`
    else if (kind === 'doubles') texts += doubleText(Number(item))
    else texts += valueText(key, item)
  }
  return `{"arrayValue":{"values":[${texts}]}}`
}

function doubleText(value: number): string {
  return `{"doubleValue":${Object.is(value, -0) ? '-0' : value}}`
}
