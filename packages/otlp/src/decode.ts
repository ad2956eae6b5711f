import { promisify } from 'node:util'
import { setImmediate } from 'node:timers/promises'
import { gunzip, inflate, type ZlibOptions } from 'node:zlib'
import { AglError, type Span } from '@agl/core'
import { CONTENT_TYPES, type Protocol } from './encode.ts'
import { decodeJSON } from './json-decode.ts'
import { decodeProtobuf } from './protobuf-decode.ts'
import { Malformed } from './reader.ts'

/** Of a body, after inflation. */
const MOST_BYTES = 64 * 1024 * 1024
/** Milliseconds of this thread that a large body takes before it lets others have their turn. */
const SHARE = 4
/** Reasons kept of rejected spans. */
const MOST_REASONS = 10

export interface DecodeOptions {
  /** The request's header; what follows a semicolon does not matter. */
  contentType?: string | null | undefined
  /** The request's header: `gzip`, `deflate`, `identity` or nothing. */
  contentEncoding?: string | null | undefined
  /** Most bytes of the body, as sent and inflated. @default 64 MB */
  maxBytes?: number
}

export interface DecodedTraces {
  /**
   * As Agent Lightning's Python store makes them of the same bytes. `rolloutId` and `attemptId` are empty where the
   * sender gave none, and `sequenceId` is -1 where the store is to issue it.
   */
  spans: Span[]
  /** How many spans were left out because they are malformed, and why the first of them were. */
  rejected: number
  reasons: string[]
}

/**
 * Reads the body of a request to an OTLP endpoint, in protobuf or JSON.
 *
 * One bad span costs nothing but itself. A body that is cut off, no OTLP, wrongly compressed or too large is an error
 * (`failureResponse` makes the answer of it); nothing larger than `maxBytes` is ever inflated.
 *
 * @throws AglError `body_invalid`, `body_too_large`
 */
export async function decodeTraces(body: Uint8Array, options: DecodeOptions = {}): Promise<DecodedTraces> {
  const protocol = protocolOf(options.contentType)
  const bytes = await inflated(body, options)
  const decoded: DecodedTraces = { spans: [], rejected: 0, reasons: [] }
  const reject = (reason: string): void => {
    decoded.rejected++
    if (decoded.reasons.length < MOST_REASONS) decoded.reasons.push(reason)
  }
  const read = protocol === 'json' ? decodeJSON : decodeProtobuf
  // An empty message is a request without spans; empty JSON is no message.
  if (bytes.length === 0) return decoded
  let since = performance.now()
  try {
    for (const _ of read(bytes, decoded.spans, reject)) {
      if (performance.now() - since < SHARE) continue
      await setImmediate()
      since = performance.now()
    }
  } catch (error) {
    if (!(error instanceof Malformed)) throw error
    throw invalid(`The body is not OTLP in ${protocol}: ${error.message}.`, error)
  }
  return decoded
}

/** Which of the two encodings a content type stands for. @throws AglError `body_invalid` for any other */
export function protocolOf(contentType: string | null | undefined): Protocol {
  const type = contentType?.split(';')[0]?.trim().toLowerCase() ?? ''
  if (type === CONTENT_TYPES.protobuf || type === 'application/protobuf') return 'protobuf'
  if (type === CONTENT_TYPES.json) return 'json'
  throw invalid(
    `OTLP comes as ${CONTENT_TYPES.protobuf} or ${CONTENT_TYPES.json}, not as "${type}"; set the content type.`,
  )
}

async function inflated(body: Uint8Array, options: DecodeOptions): Promise<Uint8Array> {
  const { maxBytes = MOST_BYTES } = options
  if (body.length > maxBytes) throw tooLarge(maxBytes)
  const encoding = options.contentEncoding?.trim().toLowerCase() ?? ''
  if (encoding === '' || encoding === 'identity') return body
  const work = INFLATERS[encoding === 'x-gzip' ? 'gzip' : encoding]
  if (work === undefined) {
    throw invalid(`The content encoding "${encoding}" is not known; use gzip, deflate or none.`)
  }
  try {
    return await work(body, { maxOutputLength: maxBytes })
  } catch (error) {
    if (error instanceof RangeError) throw tooLarge(maxBytes)
    throw invalid(`The body is not ${encoding}, or is cut off.`, error)
  }
}

const INFLATERS: Partial<Record<string, (body: Uint8Array, options: ZlibOptions) => Promise<Uint8Array>>> = {
  gzip: promisify<Uint8Array, ZlibOptions, Uint8Array>(gunzip),
  deflate: promisify<Uint8Array, ZlibOptions, Uint8Array>(inflate),
}

function invalid(message: string, cause?: unknown): AglError {
  return new AglError('body_invalid', message, { cause })
}

function tooLarge(most: number): AglError {
  return new AglError(
    'body_too_large',
    `The body has more than ${Math.round(most / 1024 / 1024)} MB; send fewer spans at once.`,
  )
}
