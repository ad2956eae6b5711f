import type { Attributes, Span } from '@agl/core'
import { ATTEMPT_ID, ROLLOUT_ID } from '@agl/core/semconv'

/** The instrumentation scope of what is written here, by which the reader knows that the ids at the end of the lists are not the record's own. */
export const SCOPE_NAME = '@agl/otlp'

/** Spans that share a resource and an attempt: one `ResourceSpans`. */
export interface Group {
  resource: Span['resource']
  /** Added at the end of the resource's attributes, where Agent Lightning's stores look for them. */
  ids: Attributes
  spans: Span[]
}

/**
 * Groups spans, in the order in which each group first occurs. Records that came out of a store have each a resource
 * object of its own, so those with equal contents are one.
 */
export function groupSpans(spans: readonly Span[]): Iterable<Group> {
  const keys = new Map<object, string>()
  const groups = new Map<string, Group>()
  let last: { span: Span; group: Group } | undefined
  for (const span of spans) {
    const { rolloutId, attemptId, resource } = span
    if (
      last?.span.resource === resource &&
      last.span.rolloutId === rolloutId &&
      last.span.attemptId === attemptId
    ) {
      last.group.spans.push(span)
      continue
    }
    let key = keys.get(resource)
    if (key === undefined) keys.set(resource, (key = JSON.stringify(resource)))
    const whole = JSON.stringify([rolloutId, attemptId, key])
    let group = groups.get(whole)
    if (group === undefined) {
      group = { resource, ids: { [ROLLOUT_ID]: rolloutId, [ATTEMPT_ID]: attemptId }, spans: [] }
      groups.set(whole, group)
    }
    group.spans.push(span)
    last = { span, group }
  }
  return groups.values()
}
