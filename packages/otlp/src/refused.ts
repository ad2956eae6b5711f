/** A span that could not be taken, and why. */
export interface RefusedSpan {
  spanId: string
  reason: string
}

/** Why a span cannot be written as OTLP. */
export class Unencodable extends Error {}

/** The reason in a few words, of anything that was thrown while one span was dealt with. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
