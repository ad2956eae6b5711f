import type { Attributes, Span } from '@agl/core'
import { ATTEMPT_ID, ROLLOUT_ID } from '@agl/core/semconv'
import { refusal, type RefusedSpan } from './refused.ts'
import { weightOf } from './values.ts'

/** The instrumentation scope of what is written here, by which the reader knows that the ids at the end of the lists are not the record's own. */
export const SCOPE_NAME = '@agl/otlp'

/** Spans that share a resource and an attempt: one `ResourceSpans`. */
export interface Group {
  resource: Span['resource']
  /** Added at the end of the resource's attributes, where Agent Lightning's stores look for them. */
  ids: Attributes
  spans: Span[]
  /** Of the spans in protobuf, roughly. */
  bytes: number
}

/**
 * Groups spans. The order within a rollout stays, since that is the order in which a store numbers them: so a group
 * ends where its rollout goes on with another attempt or resource. What cannot be read at all is refused.
 */
export function groupSpans(spans: readonly Span[], refused: RefusedSpan[]): readonly Group[] {
  const groups: Group[] = []
  /** The group that a rollout's next span may join. */
  const open = new Map<string, Group>()
  const texts = new Map<object, string>()
  /** Records that came out of a store have each a resource object of its own; equal ones are one. */
  const isSame = (one: Span['resource'], other: Span['resource']): boolean =>
    one === other || textOf(one, texts) === textOf(other, texts)
  for (const span of spans) {
    try {
      const { rolloutId, attemptId, resource } = span
      const bytes = weightOf(span)
      let group = open.get(rolloutId)
      if (group === undefined || group.ids[ATTEMPT_ID] !== attemptId || !isSame(group.resource, resource)) {
        group = { resource, ids: { [ROLLOUT_ID]: rolloutId, [ATTEMPT_ID]: attemptId }, spans: [], bytes: 0 }
        open.set(rolloutId, group)
        groups.push(group)
      }
      group.spans.push(span)
      group.bytes += bytes
    } catch (error) {
      refused.push(refusal(span, error))
    }
  }
  return groups
}

function textOf(resource: Span['resource'], texts: Map<object, string>): string {
  let text = texts.get(resource)
  if (text === undefined) {
    try {
      text = JSON.stringify(resource)
    } catch {
      // What it is that cannot be written is found out when it is written.
      text = `#${texts.size}`
    }
    texts.set(resource, text)
  }
  return text
}
