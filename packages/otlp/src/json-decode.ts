import { Buffer, isUtf8 } from 'node:buffer'
import type { Span, SpanEvent, SpanLink, SpanStatus } from '@agl/core'
import { ArrivedAttributes, RESOURCE_IDS, SPAN_IDS, toLinkContext, toSpan, type Source } from './arrival.ts'
import { SCOPE_NAME } from './group.ts'
import { Malformed } from './reader.ts'
import { reasonOf } from './refused.ts'
import { STATUS_CODES } from './schema.ts'
import { fromNanos } from './time.ts'

/** As deep as protobuf's own parsers go. */
const DEEPEST = 100

type Fields = Record<string, unknown>

/**
 * Reads an `ExportTraceServiceRequest` in OTLP's JSON: ids in hex, or in base64 as protobuf's own JSON has them, 64-bit
 * integers as text or numbers. As `decodeProtobuf` otherwise.
 *
 * @throws Malformed where the frame around the spans is broken
 */
export function* decodeJSON(
  body: Uint8Array,
  taken: Span[],
  reject: (reason: string) => void,
): Generator<void> {
  for (const group of listIn(parse(body), 'resourceSpans')) {
    const resource = new Map<boolean, Source>()
    for (const scopeSpans of listIn(group, 'scopeSpans')) {
      const ours = nameOf(scopeSpans) === SCOPE_NAME
      let source = resource.get(ours)
      if (source === undefined) resource.set(ours, (source = readSource(group, ours)))
      for (const span of listIn(scopeSpans, 'spans')) {
        try {
          taken.push(readSpan(span, source))
        } catch (error) {
          reject(reasonOf(error))
        }
        yield
      }
    }
  }
}

function parse(body: Uint8Array): unknown {
  // Else what is broken would be kept as something else.
  if (!isUtf8(body)) throw new Malformed('it is no UTF-8')
  try {
    const parsed: unknown = JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString())
    return parsed
  } catch (cause) {
    throw new Malformed('it is no JSON', { cause })
  }
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function fieldsOf(value: unknown): Fields {
  if (isFields(value)) return value
  throw new Malformed('something other than an object stands where one must')
}

/** Absent and null are the empty list. */
function listIn(value: unknown, name: string): unknown[] {
  const list = fieldsOf(value)[name] ?? []
  if (Array.isArray(list)) return list
  throw new Malformed(`"${name}" is not a list`)
}

function textIn(fields: Fields, name: string): string {
  const value = fields[name] ?? ''
  if (typeof value === 'string') return value
  throw new Malformed(`"${name}" is not a text`)
}

function nameOf(scopeSpans: unknown): unknown {
  const { scope } = fieldsOf(scopeSpans)
  return isFields(scope) ? scope['name'] : undefined
}

function readSource(group: unknown, ours: boolean): Source {
  const { resource, ...fields } = fieldsOf(group)
  const arrived = readAttributes(resource ?? {}, ours ? RESOURCE_IDS : [])
  const schemaUrl = textIn(fields, 'schemaUrl')
  return { resource: { attributes: arrived.attributes, schemaUrl }, ids: arrived.ids, ours }
}

function readSpan(value: unknown, source: Source): Span {
  const fields = fieldsOf(value)
  return toSpan(
    {
      traceId: hexIn(fields, 'traceId', 32),
      spanId: hexIn(fields, 'spanId', 16),
      parentId: hexIn(fields, 'parentSpanId', 16),
      traceState: textIn(fields, 'traceState'),
      name: textIn(fields, 'name'),
      startTime: timeIn(fields, 'startTimeUnixNano'),
      endTime: timeIn(fields, 'endTimeUnixNano'),
      attributes: readAttributes(fields, source.ours ? SPAN_IDS : []),
      events: listIn(fields, 'events').map(readEvent),
      links: listIn(fields, 'links').map(readLink),
      status: readStatus(fields['status']),
      flags: Number(fields['flags'] ?? 0) | 0,
    },
    source,
  )
}

function readEvent(value: unknown): SpanEvent {
  const fields = fieldsOf(value)
  const timestamp = timeIn(fields, 'timeUnixNano') || null
  return { name: textIn(fields, 'name'), attributes: readAttributes(fields).attributes, timestamp }
}

function readLink(value: unknown): SpanLink {
  const fields = fieldsOf(value)
  const { attributes } = readAttributes(fields)
  const [traceId, spanId] = [hexIn(fields, 'traceId', 32), hexIn(fields, 'spanId', 16)]
  return {
    context: toLinkContext(traceId, spanId, textIn(fields, 'traceState'), Number(fields['flags'] ?? 0) | 0),
    attributes: listIn(fields, 'attributes').length === 0 ? null : attributes,
  }
}

function readStatus(value: unknown): SpanStatus {
  if (value === undefined || value === null) return { statusCode: 'UNSET', description: null }
  const fields = fieldsOf(value)
  const { code } = fields
  const named = STATUS_CODES.find((name) => code === `STATUS_CODE_${name}`)
  return {
    statusCode: named ?? STATUS_CODES[Number(code ?? 0)] ?? 'UNSET',
    description: textIn(fields, 'message') || null,
  }
}

/** Hex where it has as many digits as an id, else base64. */
function hexIn(fields: Fields, name: string, digits: number): string {
  const value = textIn(fields, name)
  if (value === '') return ''
  if (value.length === digits && /^[0-9a-f]*$/i.test(value)) return value.toLowerCase()
  const bytes = Buffer.from(value, 'base64')
  if (bytes.length * 2 === digits) return bytes.toString('hex')
  throw new Malformed(`"${name}" is no id`)
}

function timeIn(fields: Fields, name: string): number {
  const value = fields[name] ?? 0
  if (typeof value === 'string' && /^\d{1,20}$/.test(value) && Number(value) < 2 ** 64)
    return fromNanos(BigInt(value))
  if (typeof value === 'number' && value >= 0 && value < 2 ** 64) return fromNanos(BigInt(Math.round(value)))
  throw new Malformed(`"${name}" is no time`)
}

function readAttributes(value: unknown, added: readonly string[] = []): ArrivedAttributes {
  const arrived = new ArrivedAttributes(added)
  for (const item of listIn(value, 'attributes')) {
    const fields = fieldsOf(item)
    arrived.add(textIn(fields, 'key'), readValue(fields['value'], 0))
  }
  return arrived
}

function readValue(value: unknown, depth: number): unknown {
  if (value === undefined || value === null) return null
  if (depth > DEEPEST) throw new Malformed('a value is nested too deep')
  const fields = fieldsOf(value)
  const { stringValue, boolValue, intValue, doubleValue, arrayValue, kvlistValue, bytesValue } = fields
  if (stringValue !== undefined && stringValue !== null) return textIn(fields, 'stringValue')
  if (typeof boolValue === 'boolean') return boolValue
  if (intValue !== undefined && intValue !== null) return wholeNumber(intValue)
  if (doubleValue !== undefined && doubleValue !== null) return float(doubleValue)
  if (isFields(arrayValue)) return listIn(arrayValue, 'values').map((item) => readValue(item, depth + 1))
  if (isFields(kvlistValue)) {
    const entries = listIn(kvlistValue, 'values').map((item): [string, unknown] => {
      const pair = fieldsOf(item)
      return [textIn(pair, 'key'), readValue(pair['value'], depth + 1)]
    })
    return Object.fromEntries(entries)
  }
  if (bytesValue !== undefined && bytesValue !== null)
    return Buffer.from(textIn(fields, 'bytesValue'), 'base64').toString('hex')
  return null
}

/** Beyond 2^53 the nearest float. */
function wholeNumber(value: unknown): number {
  const number = typeof value === 'string' && /^-?\d+$/.test(value) ? Number(value) : value
  if (typeof number === 'number' && Number.isInteger(number)) return number
  throw new Malformed('an integer is none')
}

function float(value: unknown): number {
  if (typeof value === 'number') return value
  if (value === 'NaN' || value === 'Infinity' || value === '-Infinity') return Number(value)
  if (typeof value === 'string' && value.trim() !== '' && !Number.isNaN(Number(value))) return Number(value)
  throw new Malformed('a number is none')
}
