const BILLION = 1_000_000_000n

/**
 * Unix seconds as nanoseconds. Whole seconds and the fraction are taken apart first, so that the one rounding is to
 * a nanosecond: a float of today's seconds (steps of 238 ns) comes back from `fromNanos` as it was.
 *
 * @throws RangeError for times that OTLP cannot say: before 1970, after 2554, and no numbers
 */
export function toNanos(seconds: number): bigint {
  if (!(seconds >= 0 && seconds < 18_446_744_073)) throw new RangeError('a time is not between 1970 and 2554')
  const whole = Math.floor(seconds)
  return BigInt(whole) * BILLION + BigInt(Math.round((seconds - whole) * 1e9))
}

/** The float of seconds that is nearest to `nanos`. */
export function fromNanos(nanos: bigint): number {
  return Number(nanos / BILLION) + Number(nanos % BILLION) / 1e9
}
