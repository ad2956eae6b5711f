import { context } from '@opentelemetry/api'
import type { OpenActivity } from './activity.ts'
import { applyCapture } from './capture.ts'
import { isSuppressed, now, randomHex, timers } from './context.ts'
import { AglError } from './errors.ts'
import type { Runtime } from './runtime.ts'
import type { Span, SpanCore, TraceOptions, TraceRecord } from './types.ts'

/** One rollout attempt in the making. */
export class LiveTrace {
  readonly record: TraceRecord
  /** Foreign OpenTelemetry spans that will reach this trace, and so may be parents in it. */
  readonly foreign: Set<string> = new Set()
  readonly spans: Span[] = []
  /** Newest spans held in memory for `lastTrace`; `record` lifts the limit. */
  keep = 2000
  readonly runtime: Runtime
  readonly #open = new Set<OpenActivity>()
  #root: OpenActivity | undefined
  #rootResult: { error?: unknown; failed: boolean } | undefined
  #draining: { top: string | undefined; resolve: () => void }[] = []
  #sequence = 0
  /** Begun where tracing is suppressed: nothing of it is recorded. */
  readonly #muted: boolean

  constructor(runtime: Runtime, name: string, options: TraceOptions) {
    if ((options.rolloutId === undefined) !== (options.attemptId === undefined)) {
      throw new AglError(
        'value_invalid',
        'A trace takes rolloutId and attemptId together; give both or neither.',
      )
    }
    this.runtime = runtime
    this.#muted = isSuppressed(context.active())
    this.record = {
      rolloutId: options.rolloutId ?? `ro-${randomHex(6)}`,
      attemptId: options.attemptId ?? `at-${randomHex(4)}`,
      traceId: randomHex(16),
      name,
      own: options.rolloutId === undefined,
      startTime: now(),
      endTime: null,
      status: 'running',
    }
  }

  opened(activity: OpenActivity, traceId: string): void {
    this.runtime.open.add(this)
    if (this.#root === undefined) {
      this.#root = activity
      this.record.traceId = traceId
      if (!this.#muted) for (const queue of this.runtime.queues) queue.pushTrace(this.record)
    } else this.#open.add(activity)
  }

  isRoot(activity: OpenActivity): boolean {
    return this.#root === activity
  }

  closed(activity: OpenActivity): void {
    if (this.#root === activity) return this.#finish(activity.failed)
    this.#open.delete(activity)
    if (this.#draining.length > 0) {
      const done = this.#draining.filter(({ top }) => this.#openBelow(top).length === 0)
      this.#draining = this.#draining.filter((waiting) => !done.includes(waiting))
      for (const { resolve } of done) resolve()
    }
    if (this.#open.size > 0) return
    if (this.#root?.ended === true) this.#over()
    if (this.#rootResult !== undefined) this.#endRoot()
  }

  #openBelow(top: string | undefined): OpenActivity[] {
    return [...this.#open].filter((activity) => top === undefined || activity.isBelow(top))
  }

  /** The traced function has settled: the root ends now, or with the last activity that is still open. */
  settle(result: { error?: unknown; failed: boolean }): void {
    this.#rootResult ??= result
    this.runtime.settled(this)
    if (this.#open.size === 0) this.#endRoot()
  }

  #endRoot(): void {
    const { failed, error } = this.#rootResult ?? { failed: false }
    if (failed) this.#root?.fail(error)
    else this.#root?.end()
  }

  /** Waits for what is open, below the activity `top` if given, at most `timeout` milliseconds, then gives it up. */
  async drain(timeout: number, top?: string): Promise<void> {
    if (this.#openBelow(top).length > 0) {
      await new Promise<void>((resolve) => {
        const timer = timers.set(resolve, timeout)
        this.#draining.push({ top, resolve: () => (timers.clear(timer), resolve()) })
      })
    }
    for (const activity of this.#openBelow(top).reverse()) activity.abandon()
    if (top === undefined) this.abandon()
  }

  abandon(): void {
    for (const activity of [...this.#open].reverse()) activity.abandon()
    if (this.#root?.ended === false && this.#rootResult === undefined) this.#root.abandon()
  }

  /** Gives a finished span its ids and sends it on its way. */
  add(core: SpanCore, ids: { spanId: string; parentId: string | null; traceId: string }): void {
    if (this.#muted) return
    const runtime = this.runtime
    try {
      applyCapture(core, runtime.capture)
    } catch (error) {
      runtime.log.once('A span could not be prepared and was dropped.', error)
      return
    }
    const time = core.startTime ?? now()
    const span: Span = {
      rolloutId: this.record.rolloutId,
      attemptId: this.record.attemptId,
      sequenceId: ++this.#sequence,
      traceId: ids.traceId,
      spanId: ids.spanId,
      parentId: ids.parentId,
      name: core.name,
      status: core.status,
      attributes: core.attributes,
      events: core.events ?? [],
      links: core.links ?? [],
      startTime: time,
      endTime: core.endTime ?? time,
      context: null,
      parent: null,
      resource: runtime.resource,
    }
    // Twice as many before the older half goes, so that dropping costs little.
    if (this.spans.length >= this.keep * 2) this.spans.splice(0, this.keep)
    this.spans.push(span)
    for (const queue of runtime.queues) queue.push(span)
  }

  #finish(failed: boolean): void {
    this.record.status = failed ? 'failed' : 'succeeded'
    if (this.#open.size === 0) this.#over()
  }

  /** Told after the last span: where a trace began by itself, its first activity may end before its others. */
  #over(): void {
    this.runtime.open.delete(this)
    if (this.record.endTime !== null) return
    this.runtime.last = this.spans
    this.record.endTime = now()
    if (!this.#muted) for (const queue of this.runtime.queues) queue.pushTrace(this.record)
  }
}
