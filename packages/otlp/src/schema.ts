/*
 * The tags of OTLP's messages (opentelemetry/proto/trace/v1, common/v1, resource/v1, collector/trace/v1): field number
 * and wire type in one, as they are written: `field * 8 + type`, with 0 for a varint, 1 for 64 bits, 2 for a length
 * and bytes, 5 for 32 bits.
 */

export const REQUEST = { resourceSpans: 10 } as const
export const RESOURCE_SPANS = { resource: 10, scopeSpans: 18, schemaUrl: 26 } as const
export const RESOURCE = { attributes: 10 } as const
export const SCOPE_SPANS = { scope: 10, spans: 18 } as const
export const SCOPE = { name: 10 } as const
export const SPAN = {
  traceId: 10,
  spanId: 18,
  traceState: 26,
  parentSpanId: 34,
  name: 42,
  kind: 48,
  startTime: 57,
  endTime: 65,
  attributes: 74,
  events: 90,
  links: 106,
  status: 122,
  flags: 133,
} as const
export const EVENT = { time: 9, name: 18, attributes: 26 } as const
export const LINK = {
  traceId: 10,
  spanId: 18,
  traceState: 26,
  attributes: 34,
  flags: 53,
} as const
export const STATUS = { message: 18, code: 24 } as const
export const KEY_VALUE = { key: 10, value: 18 } as const
export const ANY_VALUE = {
  string: 10,
  bool: 16,
  int: 24,
  double: 33,
  array: 42,
  map: 50,
  bytes: 58,
} as const
/** `ArrayValue` and `KeyValueList` alike. */
export const VALUES = 10
export const RESPONSE = { partialSuccess: 10 } as const
export const PARTIAL_SUCCESS = { rejectedSpans: 8, errorMessage: 18 } as const
/** `google.rpc.Status`, the body of a failure. */
export const FAILURE = { message: 18 } as const

/** `SpanFlags`: above the eight bits of W3C's trace flags. */
export const FLAGS = { sampled: 1, hasIsRemote: 0x100, isRemote: 0x200 } as const
export const KIND = { internal: 1, client: 3 } as const

/** By their number. */
export const STATUS_CODES = ['UNSET', 'OK', 'ERROR'] as const
