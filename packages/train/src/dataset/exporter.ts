import { AglError, findFinalReward, type Span } from '@agl/core'
import type { Rollout, RolloutStatus } from '@agl/store'
import { isOfSpans, toRows, type DatasetFormat } from './formats.ts'
import type { Output } from './output.ts'
import type { DatasetSource, ExportOptions, ExportProgress, SpanRows } from './types.ts'

export const FINISHED: readonly RolloutStatus[] = ['succeeded', 'failed', 'cancelled']
/** Rollouts, and spans, that are asked for at once. */
const PAGE = 200
const COMMIT_EVERY = 500

/** What an export to a file goes on from. */
export interface ExportState {
  format: DatasetFormat
  statusIn: readonly RolloutStatus[]
  minReward: number | null
  /** How many rollouts were looked at, in order of their arrival, which never changes; and the last of them. */
  seen: number
  last: string | null
  /** Of these, those that had not ended. */
  unfinished: string[]
  lines: number
  failed: number
  rejected: number
}

export interface ExporterOptions extends ExportOptions {
  spanRows: SpanRows
}

/** Takes the rollouts of a store to an output, from where `state` says on. */
export class Exporter<Row> {
  readonly #store: DatasetSource
  readonly #options: ExporterOptions
  readonly #state: ExportState
  readonly #output: Output<Row>
  readonly #earlier: number
  #total = 0
  #committed = performance.now()

  constructor(store: DatasetSource, options: ExporterOptions, state: ExportState, output: Output<Row>) {
    this.#store = store
    this.#options = options
    this.#state = state
    this.#output = output
    this.#earlier = state.seen - state.unfinished.length
  }

  async run(): Promise<ExportProgress> {
    const state = this.#state
    const { total } = await this.#store.queryRollouts({ limit: 1 })
    this.#total = total
    const again = state.unfinished
    for (let i = again.length; i > 0; i--) {
      const [rolloutId = ''] = again.splice(0, 1)
      const rollout = await this.#store.getRollout(rolloutId)
      if (rollout !== undefined) await this.#take(rollout)
    }
    // Those that arrive meanwhile are left to the next time, as there may always be more.
    while (state.seen < total) {
      const limit = Math.min(PAGE, total - state.seen)
      const { items } = await this.#store.queryRollouts({ limit, offset: state.seen })
      if (items.length === 0) break
      for (const rollout of items) {
        state.seen++
        state.last = rollout.rolloutId
        await this.#take(rollout)
      }
    }
    await this.#commit()
    return this.#progress()
  }

  async #take(rollout: Rollout): Promise<void> {
    const { statusIn } = this.#state
    if (statusIn.includes(rollout.status)) await this.#write(rollout)
    else if (!FINISHED.includes(rollout.status)) this.#state.unfinished.push(rollout.rolloutId)
    if (performance.now() - this.#committed >= COMMIT_EVERY) await this.#commit()
  }

  async #commit(): Promise<void> {
    await this.#output.commit()
    this.#committed = performance.now()
    this.#options.onProgress?.(this.#progress())
  }

  #progress(): ExportProgress {
    const { seen, lines, failed, rejected, unfinished } = this.#state
    return {
      rollouts: seen - unfinished.length,
      total: this.#total,
      earlier: this.#earlier,
      lines,
      failed,
      rejected,
      unfinished: unfinished.length,
    }
  }

  async #write({ rolloutId }: Rollout): Promise<void> {
    const { format, adapter } = this.#options
    const isSpans = isOfSpans(format) && adapter === undefined
    if (isSpans && this.#state.minReward === null) return this.#writeSpans(rolloutId)
    const { items: spans } = await this.#store.querySpans({ rolloutId, attemptId: 'latest' })
    let rows: Row[] = []
    try {
      if (!this.#isGood(spans)) {
        this.#state.rejected++
        return
      }
      if (!isSpans) rows = toRows(format, spans, this.#options).map((row) => this.#output.encode(row))
    } catch (error) {
      this.#state.failed++
      this.#options.onFailure?.(rolloutId, error)
      return
    }
    if (isSpans) return this.#writeSpans(rolloutId)
    for (const row of rows) await this.#add(row)
  }

  #isGood(spans: readonly Span[]): boolean {
    const { minReward } = this.#state
    if (minReward === null) return true
    const reward = findFinalReward(spans)
    return (typeof reward === 'number' || typeof reward === 'boolean') && Number(reward) >= minReward
  }

  async #writeSpans(rolloutId: string): Promise<void> {
    const refused: string[] = []
    const refuse = (spanId: string, reason: string): void => void refused.push(`span ${spanId}: ${reason}`)
    for (let offset = 0; ; offset += PAGE) {
      const { items, total } = await this.#store.querySpans({ rolloutId, limit: PAGE, offset })
      for (const row of this.#options.spanRows(items, refuse)) await this.#add(this.#output.encode(row))
      if (offset + PAGE >= total) break
    }
    if (refused.length === 0) return
    const message = `${refused.length} of its spans cannot be written in this format, such as ${refused[0]}`
    this.#state.failed++
    this.#options.onFailure?.(rolloutId, new AglError('value_invalid', message))
  }

  async #add(row: Row): Promise<void> {
    await this.#output.add(row)
    this.#state.lines++
  }
}
