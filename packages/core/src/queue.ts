import { logger } from './errors.ts'
import type { FlushResult, QueueOptions, Sink, Span, TraceRecord } from './types.ts'

const RETRY_FIRST = 100
const RETRY_MOST = 5000

/**
 * Spans on their way to one sink: bounded, in order, never two writes at once, and never awaited by the agent.
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
  readonly #log = logger('agl:sink')
  #spans: Span[] = []
  #traces: TraceRecord[] = []
  #inFlight: { spans: Span[]; traces: TraceRecord[] } | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #failures = 0
  #idle: (() => void)[] = []

  constructor(sink: Sink, options: QueueOptions = {}) {
    this.sink = sink
    this.#size = options.size ?? 20_000
    this.#interval = options.interval ?? 200
    this.#batch = options.batch ?? 256
  }

  push(span: Span): void {
    if (this.#spans.length >= this.#size) {
      this.dropped++
      this.#log.once(
        `The sink "${this.sink.name}" does not keep up; spans are being dropped. Raise queue.size or repair the sink.`,
      )
      return
    }
    this.#spans.push(span)
    if (this.#timer === undefined && this.#inFlight === undefined) this.#schedule(this.#interval)
    else if (this.#spans.length === this.#batch && this.#failures === 0) this.#schedule(0)
  }

  pushTrace(record: TraceRecord): void {
    this.#traces.push({ ...record })
    if (this.#timer === undefined && this.#inFlight === undefined) this.#schedule(this.#interval)
  }

  /** Resolves when all that was pushed is acknowledged, when the sink fails at it, or after `timeout` milliseconds. */
  flush(timeout: number): Promise<void> {
    if (this.#inFlight === undefined && this.#spans.length === 0 && this.#traces.length === 0)
      return Promise.resolve()
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timeout)
      this.#idle.push(() => {
        clearTimeout(timer)
        resolve()
      })
      if (this.#inFlight === undefined) this.#schedule(0)
    })
  }

  flushSync(): void {
    if (this.sink.writeSync === undefined) return
    const spans = [...(this.#inFlight?.spans ?? []), ...this.#spans]
    const traces = [...(this.#inFlight?.traces ?? []), ...this.#traces]
    if (spans.length === 0 && traces.length === 0) return
    try {
      this.sink.writeSync(spans, traces)
      this.written += spans.length
      this.#discard()
    } catch (error) {
      this.#log.error(
        `The sink "${this.sink.name}" could not write at exit; ${spans.length} spans are lost.`,
        error,
      )
    }
  }

  async close(timeout: number): Promise<void> {
    await this.flush(timeout)
    const lost = (this.#inFlight?.spans.length ?? 0) + this.#spans.length
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
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#spans = []
    this.#traces = []
    this.#inFlight = undefined
  }

  /**
   * The timer holds the process open for its short while, so that a program that just ends loses nothing; the
   * timer of a retry does not, so that a dead sink never keeps a finished program alive.
   */
  #schedule(delay: number, retry = false): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      void this.#run()
    }, delay)
    if (retry) this.#timer.unref?.()
  }

  async #run(): Promise<void> {
    if (this.#inFlight !== undefined) return
    while (this.#spans.length > 0 || this.#traces.length > 0) {
      const whole = this.#spans.length <= this.#batch
      const job = {
        spans: this.#spans.splice(0, this.#batch),
        traces: whole ? this.#traces.splice(0) : this.#begun(),
      }
      this.#inFlight = job
      try {
        const refused = (await this.sink.write(job.spans, job.traces))?.dropped ?? 0
        if (this.#inFlight !== job) return
        this.written += job.spans.length - refused
        this.dropped += refused
        this.#failures = 0
        this.#inFlight = undefined
      } catch (error) {
        if (this.#inFlight !== job) return
        this.#inFlight = undefined
        this.#spans.unshift(...job.spans)
        this.#traces.unshift(...job.traces)
        this.#log.once(`The sink "${this.sink.name}" cannot write; spans wait and it is tried again.`, error)
        this.#schedule(Math.min(RETRY_FIRST * 2 ** this.#failures++, RETRY_MOST), true)
        this.#settle()
        return
      }
    }
    this.#settle()
  }

  /** Of a batch that leaves spans behind, only the beginnings may go: an end comes after its last span. */
  #begun(): TraceRecord[] {
    const begun = this.#traces.filter((record) => record.endTime === null)
    this.#traces = this.#traces.filter((record) => record.endTime !== null)
    return begun
  }

  #settle(): void {
    for (const resolve of this.#idle.splice(0)) resolve()
  }
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
  let timer: ReturnType<typeof setTimeout> | undefined
  const limit = new Promise((resolve) => (timer = setTimeout(resolve, timeout)))
  try {
    await Promise.race([work, limit])
  } finally {
    clearTimeout(timer)
  }
}
