import type { Attributes, AttributeValue, Span, SpanContext, SpanStatus } from '@agl/core'
import { ATTEMPT_ID, ROLLOUT_ID, sanitizeValue, SPAN_SEQUENCE_ID } from '@agl/core/semconv'
import { Malformed } from './reader.ts'
import { FLAGS } from './schema.ts'
import { finite, isTokenIds, setAttribute, traceStateFrom } from './values.ts'

/*
 * What both encodings bring, on its way to being a span: as Agent Lightning's Python store takes it in, but that one
 * value which it could not take does not cost the whole batch.
 */

/** `sequenceId` of a span that came without one: the store is to issue it. */
export const UNNUMBERED = -1

/** Ids that our writer adds at the end of these lists: they are not the record's own. */
export const RESOURCE_IDS: readonly string[] = [ROLLOUT_ID, ATTEMPT_ID]
export const SPAN_IDS: readonly string[] = [SPAN_SEQUENCE_ID]

/** Attributes as they arrive, and apart from them the ids among them. Those of others stay attributes too, as in Python. */
export class ArrivedAttributes {
  readonly attributes: Attributes = {}
  readonly ids: Partial<Record<string, AttributeValue>> = {}
  readonly #added: readonly string[]

  constructor(added: readonly string[] = []) {
    this.#added = added
  }

  /** Takes any value that OTLP can say. Nothing is kept for none; maps and lists of mixed types become JSON text. */
  add(key: string, value: unknown): void {
    if (value === null || value === undefined) return
    const legal = isTokenIds(key) ? (tokenIds(value) ?? legalValue(value)) : legalValue(value)
    if (!IDS.has(key)) return setAttribute(this.attributes, key, legal)
    const before = this.ids[key]
    if (!this.#added.includes(key)) this.attributes[key] = legal
    else if (before !== undefined) this.attributes[key] = before
    this.ids[key] = legal
  }
}

const IDS: ReadonlySet<string> = new Set([ROLLOUT_ID, ATTEMPT_ID, SPAN_SEQUENCE_ID])

function legalValue(value: unknown): AttributeValue {
  return value instanceof Int32Array ? value : finite(sanitizeValue(value))
}

function tokenIds(value: unknown): Int32Array | undefined {
  if (value instanceof Int32Array) return value
  if (!Array.isArray(value) || !value.every((id) => typeof id === 'number' && (id | 0) === id))
    return undefined
  return Int32Array.from(value)
}

/** What the spans of one resource share. */
export interface Source {
  resource: Span['resource']
  ids: Partial<Record<string, AttributeValue>>
  /** Whether it was written here, so that what standard OTLP has no place for can be read back. */
  ours: boolean
}

export interface ArrivedSpan {
  traceId: string
  spanId: string
  parentId: string
  traceState: string
  name: string
  startTime: number
  endTime: number
  attributes: ArrivedAttributes
  events: Span['events']
  links: Span['links']
  status: SpanStatus
  flags: number
}

/** @throws Malformed for ids that are none */
export function toSpan(arrived: ArrivedSpan, { resource, ids, ours }: Source): Span {
  const traceId = checkId(arrived.traceId, 32, 'trace')
  const spanId = checkId(arrived.spanId, 16, 'span')
  const parentId = isNone(arrived.parentId) ? null : checkId(arrived.parentId, 16, 'parent span')
  const traceState = traceStateFrom(arrived.traceState)
  const own = arrived.attributes.ids
  const { flags } = arrived
  const context = { traceId, spanId, isRemote: false, traceState }
  return {
    rolloutId: String(own[ROLLOUT_ID] ?? ids[ROLLOUT_ID] ?? ''),
    attemptId: String(own[ATTEMPT_ID] ?? ids[ATTEMPT_ID] ?? ''),
    sequenceId: sequenceId(own[SPAN_SEQUENCE_ID] ?? ids[SPAN_SEQUENCE_ID]),
    traceId,
    spanId,
    parentId,
    name: arrived.name,
    status: arrived.status,
    attributes: arrived.attributes.attributes,
    events: arrived.events,
    links: arrived.links,
    startTime: arrived.startTime,
    endTime: arrived.endTime,
    context: ours && (flags & FLAGS.sampled) === 0 ? null : context,
    parent:
      ours && parentId !== null && (flags & FLAGS.hasIsRemote) !== 0
        ? { traceId, spanId: parentId, isRemote: (flags & FLAGS.isRemote) !== 0, traceState }
        : null,
    resource,
  }
}

export function toLinkContext(
  traceId: string,
  spanId: string,
  traceState: string,
  flags: number,
): SpanContext {
  return {
    traceId: checkId(traceId, 32, "link's trace"),
    spanId: checkId(spanId, 16, "link's span"),
    isRemote: (flags & FLAGS.isRemote) !== 0,
    traceState: traceStateFrom(traceState),
  }
}

/** Shorter ids are filled up from the left, as Python does. */
function checkId(hex: string, digits: number, what: string): string {
  if (isNone(hex) || hex.length > digits)
    throw new Malformed(`its ${what} id has not ${digits / 2} bytes, or only zeros`)
  return hex.padStart(digits, '0')
}

function isNone(hex: string): boolean {
  for (let i = 0; i < hex.length; i++) if (hex[i] !== '0') return false
  return true
}

/** Whole numbers from 0 on, also as text; all else counts for none. */
function sequenceId(value: AttributeValue | undefined): number {
  if (typeof value !== 'number' && typeof value !== 'string') return UNNUMBERED
  const number = typeof value === 'number' ? value : /^\s*\+?\d+\s*$/.test(value) ? Number(value) : UNNUMBERED
  return Number.isSafeInteger(number) && number >= 0 ? number : UNNUMBERED
}
