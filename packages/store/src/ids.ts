/** Of an id, in bytes of UTF-8: PostgreSQL's indexes take no more than 2,704 for the two of an attempt together. */
const LONGEST = 1024

/** Why `id` could not be found again in some store, or undefined where it can in all. */
export function idFault(id: unknown): string | undefined {
  if (typeof id !== 'string') return 'is not a text'
  if (id.includes('\0')) return 'holds a NUL character'
  if (/\p{Surrogate}/u.test(id)) return 'holds half of a surrogate pair'
  const isLong = id.length * 3 > LONGEST && Buffer.byteLength(id) > LONGEST
  return isLong ? `is longer than ${LONGEST} bytes` : undefined
}

/** The word that stands for a rollout's latest attempt, and so can name none. */
export const LATEST_ATTEMPT = 'latest'
