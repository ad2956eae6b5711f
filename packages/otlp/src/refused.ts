import type { Span } from '@agl/core'

/** A span that could not be taken, and why. */
export interface RefusedSpan {
  spanId: string
  reason: string
}

/** The reason in a few words, of anything that was thrown while one span was dealt with. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : typeof error === 'string' ? error : typeof error
}

/** Holds for whatever a program without types takes for a span. */
export function refusal(span: Span, error: unknown): RefusedSpan {
  try {
    return { spanId: span.spanId, reason: reasonOf(error) }
  } catch {
    return { spanId: '', reason: 'it cannot be read' }
  }
}
