import type { Attributes, Span } from '@agl/core'

/** A whole span; what matters to a test is given. */
export function span(parts: Partial<Span> = {}): Span {
  return {
    rolloutId: 'ro-1',
    attemptId: 'at-1',
    sequenceId: 1,
    traceId: '0af7651916cd43dd8448eb211c80319c',
    spanId: 'b7ad6b7169203331',
    parentId: null,
    name: 'work',
    status: { statusCode: 'OK', description: null },
    attributes: {},
    events: [],
    links: [],
    startTime: 1_790_000_000.25,
    endTime: 1_790_000_000.75,
    context: null,
    parent: null,
    resource: { attributes: { 'service.name': 'test' }, schemaUrl: '' },
    ...parts,
  }
}

let made = 0

/** A span with an id of its own. */
export function other(attributes: Attributes = {}, parts: Partial<Span> = {}): Span {
  const spanId = (++made).toString(16).padStart(16, '0')
  return span({ spanId, attributes, ...parts })
}
