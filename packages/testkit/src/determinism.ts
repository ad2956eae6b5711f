import { useClockAndIds } from '@agl/core'

export interface FixedClock {
  /** Unix seconds; each reading is one `step` after the one before. */
  now(): number
  /** Moves the clock forward by `seconds`. */
  advance(seconds: number): void
}

/** A clock for tests: starts at 2023-11-14T22:13:20Z and moves by itself only by `step` seconds per reading. */
export function fixedClock({
  start = 1_700_000_000,
  step = 0.001,
}: { start?: number; step?: number } = {}): FixedClock {
  let readings = 0
  let offset = 0
  return {
    // Multiplied rather than summed up, so that rounding errors do not pile up.
    now: () => start + offset + step * readings++,
    advance: (seconds) => {
      offset += seconds
    },
  }
}

export interface FixedIds {
  /** The next id: `bytes` bytes as lower-case hex. */
  randomHex(bytes: number): string
}

/** Ids that count up from 1, whatever their length. */
export function fixedIds(): FixedIds {
  let count = 0
  return {
    randomHex: (bytes) =>
      (++count)
        .toString(16)
        .padStart(bytes * 2, '0')
        .slice(-bytes * 2),
  }
}

/**
 * Gives the core this clock and these ids until it is disposed of, so that records can be compared as a whole.
 *
 * @example
 * using fixed = useFixed()
 */
export function useFixed(clock: FixedClock = fixedClock(), ids: FixedIds = fixedIds()): Disposable {
  const undo = useClockAndIds({ now: () => clock.now(), randomHex: (bytes) => ids.randomHex(bytes) })
  return { [Symbol.dispose]: undo }
}
