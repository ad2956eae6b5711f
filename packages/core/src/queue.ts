import { timers } from './context.ts'
import { logger } from './errors.ts'
import type { FlushResult, QueueOptions, Sink, Span, TraceRecord } from './types.ts'

type Item = Span | TraceRecord

interface Job {
  items: Item[]
  state: 'writing' | 'written' | 'failed'
  refused: number
}

/** A longer timer would fire at once. */
const LONGEST = 2 ** 31 - 1
const RETRY_FIRST = 100
const RETRY_MOST = 5000

/**
 * Spans on their way to one sink: bounded, in order, no more writes at once than the sink wants, and never awaited by
 * the agent.
 *
 * A write that rejects is tried again with growing pauses while the process lives; meanwhile spans collect up to
 * `size`, then new ones are dropped and counted.
 */
export class SinkQueue {
  readonly sink: Sink
  written = 0
  dropped = 0
  readonly #size: number
  readonly #interval: number
  readonly #batch: number
  readonly #keepAlive: boolean
  readonly #log = logger('agl:sink')
  /** In the order in which they came, so that a trace's end follows its last span. */
  #items: Item[] = []
  /** Items taken in, and items that are dealt with, since the start. */
  #taken = 0
  #done = 0
  /** The batches that are being written, in order; their items stay in the queue until they are acknowledged. */
  #jobs: Job[] = []
  #timer: ReturnType<typeof timers.set> | undefined
  #failures = 0
  #closed = false
  #waiting: { until: number; resolve: () => void }[] = []

  constructor(sink: Sink, options: QueueOptions = {}) {
    this.sink = sink
    this.#size = options.size ?? 20_000
    this.#interval = options.interval ?? 200
    this.#batch = options.batch ?? 256
    this.#keepAlive = options.keepAlive ?? true
  }

  push(span: Span): void {
    if (this.#items.length < this.#size && !this.#closed) return this.#take(span)
    this.dropped++
    this.#log.once(
      `The sink "${this.sink.name}" does not keep up; spans are being dropped. Raise queue.size or repair the sink.`,
    )
  }

  pushTrace(record: TraceRecord): void {
    // Beyond the bound a trace is left unfinished, or unknown, in the store; spans keep their share of the room.
    if (!this.#closed && this.#items.length < this.#size * 2) this.#take({ ...record })
  }

  #take(item: Item): void {
    this.#items.push(item)
    this.#taken++
    if (this.#jobs.length > 0) {
      if (this.#failures === 0 && this.#unassigned() >= this.#batch) this.#run()
    } else if (this.#timer === undefined) this.#schedule(this.#interval)
    else if (this.#items.length === this.#batch && this.#failures === 0) this.#schedule(0)
  }

  /** Resolves when all that was pushed so far is acknowledged, when the sink fails at it, or after `timeout` milliseconds. */
  async flush(timeout: number): Promise<void> {
    if (this.#items.length === 0) return
    const until = this.#taken
    const reached = new Promise<void>((resolve) => this.#waiting.push({ until, resolve }))
    if (this.#jobs.length === 0) this.#schedule(0)
    await within(reached, timeout)
  }

  flushSync(): void {
    if (this.sink.writeSync === undefined || this.#items.length === 0) return
    const spans = this.#items.filter(isSpan)
    try {
      this.sink.writeSync(spans, this.#items.filter(isTrace))
      this.written += spans.length
    } catch (error) {
      this.#log.error(
        `The sink "${this.sink.name}" could not write at exit; ${spans.length} spans are lost.`,
        error,
      )
      this.dropped += spans.length
    }
    this.#discard()
  }

  async close(timeout: number): Promise<void> {
    await this.flush(timeout)
    this.#closed = true
    const lost = this.#items.filter(isSpan).length
    if (lost > 0) {
      this.dropped += lost
      this.#log.warn(`The sink "${this.sink.name}" never took ${lost} spans; they are lost.`)
    }
    this.#discard()
    try {
      await within(this.sink.close?.(), timeout)
    } catch (error) {
      this.#log.warn(`The sink "${this.sink.name}" failed to close.`, error)
    }
  }

  #discard(): void {
    timers.clear(this.#timer)
    this.#timer = undefined
    this.#jobs = []
    this.#advance(this.#items.length)
  }

  /**
   * The timer holds the process open for its short while, so that a program that just ends loses nothing; the
   * timer of a retry does not, so that a dead sink never keeps a finished program alive.
   */
  #schedule(delay: number, retry = false): void {
    timers.clear(this.#timer)
    this.#timer = timers.set(() => {
      this.#timer = undefined
      this.#run()
    }, delay)
    if (retry || !this.#keepAlive) this.#timer.unref?.()
  }

  #unassigned(): number {
    return this.#jobs.reduce((left, job) => left - job.items.length, this.#items.length)
  }

  #run(): void {
    const most = this.sink.concurrency ?? 1
    while (this.#jobs.length < most && !this.#jobs.some(({ state }) => state === 'failed')) {
      const left = this.#unassigned()
      // A batch beside others is a full one, so that a trickle is not written in crumbs.
      if (left === 0 || (this.#jobs.length > 0 && left < this.#batch)) return
      const from = this.#items.length - left
      const job: Job = { items: this.#items.slice(from, from + this.#batch), state: 'writing', refused: 0 }
      this.#jobs.push(job)
      void this.#write(job)
    }
  }

  async #write(job: Job): Promise<void> {
    try {
      const answer = await this.sink.write(job.items.filter(isSpan), job.items.filter(isTrace))
      job.refused = answer?.dropped ?? 0
      job.state = 'written'
    } catch (error) {
      job.state = 'failed'
      // A sink that throws at once does so while `#run` still looks at the jobs.
      await Promise.resolve()
      this.#log.once(`The sink "${this.sink.name}" cannot write; spans wait and it is tried again.`, error)
    }
    if (!this.#jobs.includes(job)) return
    while (this.#jobs[0]?.state === 'written') this.#acknowledge(this.#jobs[0])
    const [first] = this.#jobs
    if (first === undefined || first.state === 'writing') return this.#run()
    if (this.#jobs.some(({ state }) => state === 'writing')) return
    // From the one that failed on, all are written again, in order.
    this.#jobs = []
    this.#schedule(Math.min(RETRY_FIRST * 2 ** this.#failures++, RETRY_MOST), true)
    this.#settle(Number.POSITIVE_INFINITY)
  }

  #acknowledge({ items, refused }: Job): void {
    this.#jobs.shift()
    this.written += items.filter(isSpan).length - refused
    this.dropped += refused
    this.#failures = 0
    this.#advance(items.length)
  }

  #advance(count: number): void {
    this.#items.splice(0, count)
    this.#done += count
    this.#settle(this.#done)
  }

  #settle(done: number): void {
    const due = this.#waiting.filter(({ until }) => until <= done)
    this.#waiting = this.#waiting.filter(({ until }) => until > done)
    for (const { resolve } of due) resolve()
  }
}

function isSpan(item: Item): item is Span {
  return 'spanId' in item
}

function isTrace(item: Item): item is TraceRecord {
  return !isSpan(item)
}

/** Sums up several sinks: written by all of them, dropped by the worst of them. */
export function summary(queues: readonly SinkQueue[]): FlushResult {
  if (queues.length === 0) return { written: 0, dropped: 0 }
  return {
    written: Math.min(...queues.map((queue) => queue.written)),
    dropped: Math.max(...queues.map((queue) => queue.dropped)),
  }
}

/** Waits for `work`, at most `timeout` milliseconds. The timer keeps the process: an `await` must not end it. */
export async function within(work: unknown, timeout: number): Promise<void> {
  let timer: ReturnType<typeof timers.set> | undefined
  const limit = new Promise((resolve) => (timer = timers.set(resolve, Math.min(timeout, LONGEST))))
  try {
    await Promise.race([work, limit])
  } finally {
    timers.clear(timer)
  }
}
