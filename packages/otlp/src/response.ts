import { Buffer } from 'node:buffer'
import { AglError } from '@agl/core'
import { CONTENT_TYPES, type Protocol } from './encode.ts'
import { Reader } from './reader.ts'
import { FAILURE, PARTIAL_SUCCESS, RESPONSE } from './schema.ts'
import { Writer } from './writer.ts'

/** The answer to a request, in the encoding of the request. */
export interface OtlpResponse {
  status: number
  contentType: string
  body: Uint8Array
}

export interface PartialSuccess {
  rejected: number
  message: string
}

/** The answer when spans were taken in: which says how many were not, and why. */
export function tracesResponse(
  protocol: Protocol,
  { rejected, reasons }: { rejected: number; reasons: readonly string[] },
): OtlpResponse {
  const message = reasons.join('; ')
  if (protocol === 'json') {
    const partialSuccess =
      rejected === 0 ? undefined : { rejectedSpans: String(rejected), errorMessage: message }
    return answer(200, protocol, Buffer.from(JSON.stringify({ partialSuccess })))
  }
  const writer = new Writer(256)
  if (rejected > 0) {
    const start = writer.open(RESPONSE.partialSuccess)
    writer.varint(PARTIAL_SUCCESS.rejectedSpans)
    writer.varint(rejected)
    writer.textField(PARTIAL_SUCCESS.errorMessage, message)
    writer.close(start)
  }
  return answer(200, protocol, writer.finish())
}

/** The answer to a body that `decodeTraces` refused: 400 or 413. Other errors are the server's own: 500. */
export function failureResponse(protocol: Protocol, error: unknown): OtlpResponse {
  const { status, message } = failureOf(error)
  if (protocol === 'json') return answer(status, protocol, Buffer.from(JSON.stringify({ message })))
  const writer = new Writer(256)
  writer.textField(FAILURE.message, message)
  return answer(status, protocol, writer.finish())
}

function failureOf(error: unknown): { status: number; message: string } {
  if (AglError.is(error)) {
    if (error.code === 'body_invalid') return { status: 400, message: error.message }
    if (error.code === 'body_too_large') return { status: 413, message: error.message }
  }
  return { status: 500, message: 'The spans could not be stored.' }
}

function answer(status: number, protocol: Protocol, body: Uint8Array): OtlpResponse {
  return { status, contentType: CONTENT_TYPES[protocol], body }
}

/** What an answer of 200 says of spans that were not taken; nothing where it says nothing, or is no OTLP. */
export function readPartialSuccess(body: Uint8Array, contentType: string | null): PartialSuccess {
  try {
    return contentType?.startsWith(CONTENT_TYPES.json) === true ? fromJSON(body) : fromProtobuf(body)
  } catch {
    return { rejected: 0, message: '' }
  }
}

function fromProtobuf(body: Uint8Array): PartialSuccess {
  const reader = new Reader(body)
  const result = { rejected: 0, message: '' }
  while (reader.pos < body.length) {
    const tag = reader.varint()
    if (tag !== RESPONSE.partialSuccess) {
      reader.skip(tag, body.length)
      continue
    }
    const end = reader.open(body.length)
    while (reader.pos < end) {
      const field = reader.varint()
      if (field === PARTIAL_SUCCESS.rejectedSpans) result.rejected = reader.int64()
      else if (field === PARTIAL_SUCCESS.errorMessage) result.message = reader.text(end)
      else reader.skip(field, end)
    }
  }
  return result
}

function fromJSON(body: Uint8Array): PartialSuccess {
  const parsed: unknown = JSON.parse(Buffer.from(body).toString())
  const partial = field(parsed, 'partialSuccess')
  const message = field(partial, 'errorMessage')
  return {
    rejected: Number(field(partial, 'rejectedSpans') ?? 0) || 0,
    message: typeof message === 'string' ? message : '',
  }
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined
}
