/** A longer timer would fire at once. */
const LONGEST = 2 ** 31 - 1

/** Of `seconds`, for a timer: at least 1, at most what one can wait. */
export function milliseconds(seconds: number): number {
  return Math.max(1, Math.min(Math.ceil(seconds * 1000), LONGEST))
}
