import { AglError, type Span, type SpanCore } from '@agl/core'
import type { RolloutResult } from './agent.ts'

/** What an agent's return value adds to its recorded spans. */
export interface ResultParts {
  reward?: number | boolean
  spans: readonly (Span | SpanCore)[]
}

/** @throws AglError `value_invalid` for what an agent must not return */
export function readResult(result: RolloutResult): ResultParts {
  if (result === undefined || result === null) return { spans: [] }
  if (typeof result === 'boolean' || (typeof result === 'number' && Number.isFinite(result)))
    return { reward: result, spans: [] }
  if (Array.isArray(result) && result.every(isSpanCore)) return { spans: result }
  throw new AglError(
    'value_invalid',
    `The agent returned ${describe(result)}; it may return nothing, a finite number, a boolean, or a list of spans.`,
  )
}

/** Gives spans that lack them the ids of the attempt, below the span `parentId`. */
export function completeSpans(
  spans: ResultParts['spans'],
  ids: { rolloutId: string; attemptId: string; traceId: string; parentId: string | null },
): Span[] {
  return spans.map((span) => {
    if ('spanId' in span) return span
    const startTime = span.startTime ?? Date.now() / 1000
    return {
      ...ids,
      sequenceId: -1,
      spanId: crypto.randomUUID().replaceAll('-', '').slice(0, 16),
      name: span.name,
      status: span.status,
      attributes: span.attributes,
      events: span.events ?? [],
      links: [],
      startTime,
      endTime: span.endTime ?? startTime,
      context: null,
      parent: null,
      resource: { attributes: {}, schemaUrl: '' },
    }
  })
}

function isSpanCore(value: unknown): value is Span | SpanCore {
  return (
    typeof value === 'object' &&
    value !== null &&
    'name' in value &&
    'attributes' in value &&
    'status' in value
  )
}

function describe(value: unknown): string {
  if (typeof value === 'number') return String(value)
  return Array.isArray(value) ? 'a list of something else' : `a value of type ${typeof value}`
}
