import type { AttributeValue, Attributes, Span, SpanContext, SpanEvent, SpanLink } from '@agl/core'
import type { Fields } from './fields.ts'

const STATUS_CODES = ['UNSET', 'OK', 'ERROR'] as const

/**
 * A span in Agent Lightning's JSON, whose keys are all required. Times may be null there, which a record cannot have:
 * a start or end that is missing is the other one, and both are `now`.
 */
export function readSpan(body: Fields, now: number): Span {
  const status = body.inner('status')
  const resource = body.inner('resource')
  for (const name of ['parent_id', 'start_time', 'end_time', 'context', 'parent']) body.any(name)
  const [start, end] = [body.maybeNumber('start_time'), body.maybeNumber('end_time')]
  return {
    rolloutId: body.text('rollout_id'),
    attemptId: body.text('attempt_id'),
    sequenceId: body.whole('sequence_id'),
    traceId: body.text('trace_id'),
    spanId: body.text('span_id'),
    parentId: body.maybeText('parent_id') ?? null,
    name: body.text('name'),
    status: {
      statusCode: status.choice('status_code', STATUS_CODES),
      description: status.maybeText('description') ?? null,
    },
    attributes: readAttributes(body.inner('attributes')),
    events: body.inners('events').map(readEvent),
    links: body.inners('links').map(readLink),
    startTime: start ?? end ?? now,
    endTime: end ?? start ?? now,
    context: readContext(body.maybeInner('context')),
    parent: readContext(body.maybeInner('parent')),
    resource: {
      attributes: readAttributes(resource.inner('attributes')),
      schemaUrl: resource.text('schema_url'),
    },
  }
}

function readEvent(event: Fields): SpanEvent {
  return {
    name: event.text('name'),
    attributes: readAttributes(event.inner('attributes')),
    timestamp: event.maybeNumber('timestamp') ?? null,
  }
}

function readLink(link: Fields): SpanLink {
  const attributes = link.maybeInner('attributes')
  return {
    context: toContext(link.inner('context')),
    attributes: attributes === undefined ? null : readAttributes(attributes),
  }
}

function readContext(context: Fields | undefined): SpanContext | null {
  return context === undefined ? null : toContext(context)
}

function toContext(context: Fields): SpanContext {
  const state = context.inner('trace_state')
  return {
    traceId: context.text('trace_id'),
    spanId: context.text('span_id'),
    isRemote: context.flag('is_remote'),
    traceState: Object.fromEntries(state.entries().map(([key]) => [key, state.text(key)])),
  }
}

function readAttributes(fields: Fields): Attributes {
  const entries = fields.entries().map(([key, value]): [string, AttributeValue] => {
    if (isAttribute(value)) return [key, value]
    fields.refuse(key, 'attribute_type', ATTRIBUTE, value)
    return [key, '']
  })
  return Object.fromEntries(entries)
}

const ATTRIBUTE = 'Input should be a valid string, boolean or number, or a list of one of these'

function isAttribute(value: unknown): value is AttributeValue {
  if (!Array.isArray(value)) return isScalar(value)
  const list: readonly unknown[] = value
  const type = typeof list[0]
  return list.every((item) => typeof item === type && isScalar(item))
}

function isScalar(value: unknown): boolean {
  return typeof value === 'string' || typeof value === 'boolean' || Number.isFinite(value)
}
