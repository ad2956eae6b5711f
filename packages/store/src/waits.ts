import type { Transport, Turn } from './engine.ts'
import { isFinished, isQueued } from './lifecycle.ts'
import { STEP } from './pace.ts'
import type { RolloutStatus } from './types.ts'
import { WaitingRoom } from './waiting.ts'

/** Milliseconds between two looks of one who waits, however small the watchdog's interval is. */
const SHORTEST_TICK = 50

interface Patience {
  /** Seconds. */
  timeout: number
  signal: AbortSignal | undefined
}

/** Lets callers wait for rollouts: woken by what happens here and elsewhere, and now and then by themselves. */
export class Waits {
  readonly #transport: Transport
  readonly #room = new WaitingRoom()
  readonly #ending = new AbortController()
  /** Milliseconds after which one who waits looks again, and thereby for ailing attempts. */
  readonly #tick: number
  #polling = false

  /** `interval` is the watchdog's, in milliseconds. */
  constructor(transport: Transport, interval: number) {
    this.#transport = transport
    this.#tick = Math.max(interval, SHORTEST_TICK)
    transport.listen?.((news) => {
      if ('queued' in news) this.#room.queued(news.queued)
      else this.#room.finished(news.finished)
    })
  }

  /** Ends all waiting, now and later. */
  end(): void {
    this.#ending.abort()
  }

  /** Wakes those who wait here; those elsewhere hear of it by the backend, or look by themselves. */
  turned(turns: readonly Turn[]): void {
    this.#room.queued(turns.filter(({ status }) => isQueued(status)).length)
    this.#room.finished(turns.filter(({ status }) => isFinished(status)).map(({ rolloutId }) => rolloutId))
  }

  /** What `take` gives, as soon as that is something, or the waiting is over. */
  take<T>({ timeout, signal }: Patience, take: () => Promise<T[]>): Promise<T[]> {
    const deadline = performance.now() + timeout * 1000
    return this.#room.take(async (waiter) => {
      for (;;) {
        waiter.look()
        const taken = await take()
        const left = deadline - performance.now()
        if (taken.length > 0 || left <= 0) return taken
        this.#poll()
        await waiter.wait(Math.min(left, this.#tick), signal, this.#ending.signal)
        if (this.#isOver(signal)) return []
      }
    })
  }

  /** The rollouts that are not finished when the waiting is over; unknown ones are not waited for. */
  async finish(
    rolloutIds: readonly string[],
    { timeout, signal }: Patience,
    read: (rolloutIds: readonly string[]) => Promise<(RolloutStatus | null)[]>,
  ): Promise<ReadonlySet<string>> {
    const deadline = performance.now() + timeout * 1000
    const open = new Set(rolloutIds)
    await this.#room.watch(open, async (waiter) => {
      for (;;) {
        waiter.look()
        const asked = [...open]
        const statuses = await read(asked)
        asked.forEach((id, index) => {
          const status = statuses[index] ?? null
          if (status === null || isFinished(status)) open.delete(id)
        })
        const left = deadline - performance.now()
        if (open.size === 0 || left <= 0 || this.#isOver(signal)) return
        const { poll = Infinity } = this.#transport
        const tick = Math.min(this.#tick, poll * Math.ceil(open.size / 100))
        await waiter.wait(Math.min(left, tick), signal, this.#ending.signal)
      }
    })
    return open
  }

  #isOver(signal: AbortSignal | undefined): boolean {
    return signal?.aborted === true || this.#ending.signal.aborted
  }

  /** Looks into the queue for all who wait to take from it, as long as there are any. */
  #poll(): void {
    if (this.#polling || this.#transport.poll === undefined) return
    this.#polling = true
    const look = async (): Promise<void> => {
      // The store may be closed by now, and nobody waits then.
      if (this.#room.takers === 0) {
        this.#polling = false
        return
      }
      try {
        this.#room.queued(await this.#transport.call('countQueued', STEP))
      } catch {
        // Those who wait hear of the trouble when they look by themselves.
      }
      this.#polling = false
      this.#poll()
    }
    // Who waits holds the process by a timer of its own.
    setTimeout(() => void look(), this.#transport.poll).unref()
  }
}
