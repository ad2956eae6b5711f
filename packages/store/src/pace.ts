import { setImmediate } from 'node:timers/promises'

/** Items that are read in one step: few enough that many of them do not hold up the agent. */
export const STEP = 64
/** The same for items that are only handed on: the first ones, and most where they are small. */
const FIRST_STEP = 16
const LARGEST_STEP = 256
/** Bytes that are handed on at once. */
const PIECE = 1024 * 1024
/** Steps on their way at once: memory stays bounded however much there is to do. */
const AT_ONCE = 8
/** Milliseconds of this thread that large work takes before it lets others have their turn. */
const SHARE = 2

/** Large work's manners: asks now and then whether others should have their turn. */
export class Pace {
  #since = performance.now()

  async rest(): Promise<void> {
    if (performance.now() - this.#since < SHARE) return
    await setImmediate()
    this.#since = performance.now()
  }
}

export function* steps<T>(items: readonly T[]): Generator<readonly T[]> {
  for (let start = 0; start < items.length; start += STEP) yield items.slice(start, start + STEP)
}

/** Does `work` on each step, in order; `ahead` has several on their way at once. After a failure no further step begins. */
export async function pipeline<T>(
  all: Iterable<T>,
  work: (step: T) => Promise<void>,
  ahead: boolean,
): Promise<void> {
  const pace = new Pace()
  const running = new Set<Promise<void>>()
  const failures: unknown[] = []
  for (const step of all) {
    const task: Promise<void> = work(step)
      .catch((error: unknown) => void failures.push(error))
      .finally(() => running.delete(task))
    running.add(task)
    if (running.size === (ahead ? AT_ONCE : 1)) await Promise.race(running)
    await pace.rest()
    if (failures.length > 0) break
  }
  await Promise.all(running)
  if (failures.length > 0) throw failures[0]
}

/**
 * The bytes of all items, read in steps, in order; the next step is read while one is dealt with. Each is as large as
 * the items before it let expect `PIECE` bytes of, so that little is held for whoever takes them slowly.
 */
export async function* readAhead<T>(
  items: readonly T[],
  read: (step: readonly T[]) => Promise<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const pace = new Pace()
  let size = FIRST_STEP
  let coming: Promise<Uint8Array> | undefined
  for (let start = 0; start < items.length;) {
    const bytes = await coming
    if (bytes !== undefined) size = Math.ceil(Math.min(LARGEST_STEP, (PIECE / bytes.length) * size))
    const step = items.slice(start, start + size)
    coming = read(step)
    // Whoever stops in between does not wait for it.
    coming.catch(() => undefined)
    if (bytes !== undefined) yield bytes
    start += step.length
    await pace.rest()
  }
  if (coming !== undefined) yield await coming
}
