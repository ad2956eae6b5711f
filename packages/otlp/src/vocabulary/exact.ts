/* What JSON says, and JavaScript's numbers do not: kept as it is written. */

declare global {
  // Not in TypeScript's libraries yet.
  interface JSON {
    rawJSON(text: string): object
    isRawJSON(value: unknown): boolean
  }
}

/** Every text that has a number which is written otherwise than JavaScript writes it, and a few others. */
const SUSPECT = /\d{16}|\d[eE]|\.\d*0(?!\d)|-0/

/** As `JSON.parse`, but numbers that would be written otherwise (12345678901234567890, 1.0) stay what they are for `JSON.stringify`. */
export function parseExactly(text: string): unknown {
  if (!SUSPECT.test(text)) return JSON.parse(text)
  const keep = (_key: string, value: unknown, { source }: { source?: string } = {}): unknown =>
    typeof value === 'number' && source !== undefined && source !== String(value)
      ? JSON.rawJSON(source)
      : value
  return JSON.parse(text, keep)
}

export function isFields(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !JSON.isRawJSON(value)
}

/** A number, also one that `parseExactly` has kept as it is written; undefined where none of JavaScript's is the same. */
export function asNumber(value: unknown): number | undefined {
  const number = JSON.isRawJSON(value) ? Number(JSON.stringify(value)) : value
  if (typeof number !== 'number' || !Number.isFinite(number)) return undefined
  return Number.isInteger(number) && !Number.isSafeInteger(number) ? undefined : number
}
