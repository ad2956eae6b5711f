import { setImmediate } from 'node:timers/promises'

/** Items that are read in one step: few enough that many of them do not hold up the agent. */
export const STEP = 64
/** The same for items that are not looked at here. */
export const LARGE_STEP = 256
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

export function* steps<T>(items: readonly T[], size: number = STEP): Generator<readonly T[]> {
  for (let start = 0; start < items.length; start += size) yield items.slice(start, start + size)
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

/** What `read` makes of each step, in order; the next one is read while one is dealt with. */
export async function* readAhead<T, R>(all: Iterable<T>, read: (step: T) => Promise<R>): AsyncGenerator<R> {
  const pace = new Pace()
  let coming: Promise<R> | undefined
  for (const step of all) {
    const next = read(step)
    // Whoever stops in between does not wait for it.
    next.catch(() => undefined)
    if (coming !== undefined) yield await coming
    coming = next
    await pace.rest()
  }
  if (coming !== undefined) yield await coming
}
