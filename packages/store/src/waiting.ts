/** Longest time in milliseconds that a timer of Node takes. */
const LONGEST = 2 ** 31 - 1

/** Somebody who waits for something to happen, or for a time to pass. What happens between `look` and `wait` counts too. */
export class Waiter {
  #rung = false
  #wake: (() => void) | undefined

  get isRung(): boolean {
    return this.#rung
  }

  /** What has happened until now is about to be seen. */
  look(): void {
    this.#rung = false
  }

  /** Returns false where it has been rung already, so that another may be woken instead. */
  ring(): boolean {
    if (this.#rung) return false
    this.#rung = true
    this.#wake?.()
    return true
  }

  /** Resolves when it is rung, after `milliseconds`, or when one of the `signals` is aborted. */
  async wait(milliseconds: number, ...signals: (AbortSignal | undefined)[]): Promise<void> {
    if (!this.#rung && !signals.some((signal) => signal?.aborted === true)) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(done, Math.min(milliseconds, LONGEST))
        function done(): void {
          clearTimeout(timer)
          for (const signal of signals) signal?.removeEventListener('abort', done)
          resolve()
        }
        for (const signal of signals) signal?.addEventListener('abort', done)
        this.#wake = done
      })
    }
    this.#wake = undefined
  }
}

/** Those who wait for rollouts: to take from the queue, or to be finished. */
export class WaitingRoom {
  /** In the order in which they came. */
  readonly #takers = new Set<Waiter>()
  readonly #watchers = new Map<Waiter, ReadonlySet<string>>()

  /** Wakes as many as there is work for, the longest waiting first. */
  queued(count: number): void {
    let left = count
    for (const taker of this.#takers) {
      if (left <= 0) return
      if (taker.ring()) left--
    }
  }

  finished(rolloutIds: readonly string[]): void {
    for (const [watcher, ids] of this.#watchers) {
      if (rolloutIds.some((id) => ids.has(id))) watcher.ring()
    }
  }

  get takers(): number {
    return this.#takers.size
  }

  async take<T>(work: (waiter: Waiter) => Promise<T>): Promise<T> {
    const waiter = new Waiter()
    this.#takers.add(waiter)
    try {
      return await work(waiter)
    } finally {
      this.#takers.delete(waiter)
      // What it was woken for is still there, where it had found something else by then or waits no more.
      if (waiter.isRung) this.queued(1)
    }
  }

  /** `ids` may lose members while it waits. */
  async watch<T>(ids: ReadonlySet<string>, work: (waiter: Waiter) => Promise<T>): Promise<T> {
    const waiter = new Waiter()
    this.#watchers.set(waiter, ids)
    try {
      return await work(waiter)
    } finally {
      this.#watchers.delete(waiter)
    }
  }
}
