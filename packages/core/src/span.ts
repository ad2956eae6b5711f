import type {
  AttributeValue,
  Attributes,
  Span,
  SpanContext,
  SpanEvent,
  SpanLink,
  StatusCode,
} from './types.ts'

type JSONValue = string | number | boolean | readonly string[] | readonly number[] | readonly boolean[]

interface SpanContextJSON {
  trace_id: string
  span_id: string
  is_remote: boolean
  trace_state: Record<string, string>
}

/** A span as Agent Lightning v0.3 has it on the wire: every key present, token ids as plain lists. */
export interface SpanJSON {
  rollout_id: string
  attempt_id: string
  sequence_id: number
  trace_id: string
  span_id: string
  parent_id: string | null
  name: string
  status: { status_code: StatusCode; description: string | null }
  attributes: Record<string, JSONValue>
  events: { name: string; attributes: Record<string, JSONValue>; timestamp: number | null }[]
  links: { context: SpanContextJSON; attributes: Record<string, JSONValue> | null }[]
  start_time: number
  end_time: number
  context: SpanContextJSON | null
  parent: SpanContextJSON | null
  resource: { attributes: Record<string, JSONValue>; schema_url: string }
}

export function spanToJSON(span: Span): SpanJSON {
  return {
    rollout_id: span.rolloutId,
    attempt_id: span.attemptId,
    sequence_id: span.sequenceId,
    trace_id: span.traceId,
    span_id: span.spanId,
    parent_id: span.parentId,
    name: span.name,
    status: { status_code: span.status.statusCode, description: span.status.description },
    attributes: plain(span.attributes),
    events: span.events.map((event) => ({ ...event, attributes: plain(event.attributes) })),
    links: span.links.map((link) => ({
      context: contextToJSON(link.context),
      attributes: link.attributes && plain(link.attributes),
    })),
    start_time: span.startTime,
    end_time: span.endTime,
    context: span.context && contextToJSON(span.context),
    parent: span.parent && contextToJSON(span.parent),
    resource: { attributes: plain(span.resource.attributes), schema_url: span.resource.schemaUrl },
  }
}

/** The reverse of `spanToJSON`. Lists stay lists, also those of token ids. */
export function spanFromJSON(json: SpanJSON): Span {
  return {
    rolloutId: json.rollout_id,
    attemptId: json.attempt_id,
    sequenceId: json.sequence_id,
    traceId: json.trace_id,
    spanId: json.span_id,
    parentId: json.parent_id,
    name: json.name,
    status: { statusCode: json.status.status_code, description: json.status.description },
    attributes: own(json.attributes),
    events: json.events.map((event): SpanEvent => ({ ...event, attributes: own(event.attributes) })),
    links: json.links.map((link): SpanLink => ({
      context: contextFromJSON(link.context),
      attributes: link.attributes && own(link.attributes),
    })),
    startTime: json.start_time,
    endTime: json.end_time,
    context: json.context && contextFromJSON(json.context),
    parent: json.parent && contextFromJSON(json.parent),
    resource: { attributes: own(json.resource.attributes), schemaUrl: json.resource.schema_url },
  }
}

function plain(attributes: Attributes): Record<string, JSONValue> {
  const result: Record<string, JSONValue> = {}
  for (const key of Object.keys(attributes)) set(result, key, listed(attributes[key]))
  return result
}

function own(attributes: Record<string, AttributeValue>): Attributes {
  const result: Attributes = {}
  for (const key of Object.keys(attributes)) set(result, key, attributes[key])
  return result
}

function listed(value: AttributeValue | undefined): JSONValue | undefined {
  return value instanceof Int32Array ? toList(value) : value
}

/** As `Array.from`, in a third of its time. */
function toList(ids: Int32Array): number[] {
  const list: number[] = []
  for (let i = 0; i < ids.length; i++) list.push(ids[i] ?? 0)
  return list
}

/** Plain assignment would lose a key named `__proto__`. */
function set<T>(into: Record<string, T>, key: string, value: T | undefined): void {
  if (value === undefined) return
  if (key !== '__proto__') into[key] = value
  else Object.defineProperty(into, key, { value, enumerable: true, configurable: true, writable: true })
}

function contextToJSON(context: SpanContext): SpanContextJSON {
  const { traceId, spanId, isRemote, traceState } = context
  return { trace_id: traceId, span_id: spanId, is_remote: isRemote, trace_state: traceState }
}

function contextFromJSON(json: SpanContextJSON): SpanContext {
  const { trace_id: traceId, span_id: spanId, is_remote: isRemote, trace_state: traceState } = json
  return { traceId, spanId, isRemote, traceState }
}
