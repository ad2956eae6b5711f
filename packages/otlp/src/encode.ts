import { Buffer } from 'node:buffer'
import type { Span } from '@agl/core'
import { encodeJSON } from './json-encode.ts'
import { encodeProtobuf } from './protobuf-encode.ts'
import type { RefusedSpan } from './refused.ts'

export type Protocol = 'protobuf' | 'json'

export const CONTENT_TYPES: Readonly<Record<Protocol, string>> = {
  protobuf: 'application/x-protobuf',
  json: 'application/json',
}

export interface EncodeOptions {
  /** @default 'protobuf' */
  protocol?: Protocol
  /** Send the spans' own sequence ids; else the store that gets them issues new ones. @default false */
  sequenceIds?: boolean
}

export interface EncodedTraces {
  body: Uint8Array
  contentType: string
  /** Spans that are not in `body`, because OTLP cannot say what is in them. */
  refused: RefusedSpan[]
}

/**
 * Spans as the body of a request to an OTLP endpoint, such as `/v1/traces` of an Agent Lightning store.
 *
 * Rollout and attempt ids become attributes of the resource, the sequence id one of the span. Never throws for a
 * span or what is none: those that cannot be written (ids that are no hex, values of no legal type, times outside 1970 to 2554) are
 * left out and listed.
 */
export function encodeTraces(spans: readonly Span[], options: EncodeOptions = {}): EncodedTraces {
  const { protocol = 'protobuf', sequenceIds = false } = options
  const refused: RefusedSpan[] = []
  const body =
    protocol === 'json'
      ? Buffer.from(encodeJSON(spans, sequenceIds, refused))
      : encodeProtobuf(spans, sequenceIds, refused)
  return { body, contentType: CONTENT_TYPES[protocol], refused }
}
