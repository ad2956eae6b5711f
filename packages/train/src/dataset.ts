import { once } from 'node:events'
import type { Writable } from 'node:stream'
import { AglError, type Span, spanToJSON } from '@agl/core'
import type { Rollout, RolloutStatus, Store } from '@agl/store'
import { toMessages } from './messages.ts'
import { Gathered, type Lines, ResumableFile } from './resumable.ts'
import { toTriplets } from './triplets.ts'
import { type AdapterOptions, warnOnce } from './warn.ts'

export type DatasetFormat = 'triplets' | 'messages' | 'spans'

/** How far an export is, over all runs that made the file. */
export interface ExportProgress {
  /** Rollouts that are dealt with, and those that the store has. */
  rollouts: number
  total: number
  /** Lines written. */
  lines: number
  /** Rollouts that the adapter refused; see `onFailure`. */
  failed: number
  /** Rollouts that had not ended; they are looked at again when the export to this file is repeated. */
  unfinished: number
}

/** What an export needs of a store. */
export type DatasetSource = Pick<Store, 'queryRollouts' | 'getRollout' | 'querySpans'>

export interface ExportOptions extends AdapterOptions {
  /** `triplets` and `messages` of each rollout's latest attempt, or the `spans` of all as Agent Lightning's JSON. */
  format: DatasetFormat
  /** A file, which is continued where an earlier export to it stopped, or a stream. @default process.stdout */
  out?: string | Writable
  /** Makes the lines of a rollout in place of `toTriplets` or `toMessages`. */
  adapter?: (spans: readonly Span[]) => readonly object[]
  /** Which rollouts. @default ['succeeded', 'failed', 'cancelled'] */
  statusIn?: readonly RolloutStatus[]
  /** Called about twice a second, and at the end. */
  onProgress?: (progress: ExportProgress) => void
  /** Called for each rollout that the adapter refuses; the others are exported all the same. */
  onFailure?: (rolloutId: string, error: unknown) => void
}

const FORMATS: readonly DatasetFormat[] = ['triplets', 'messages', 'spans']
const FINISHED: readonly RolloutStatus[] = ['succeeded', 'failed', 'cancelled']
/** Rollouts, and spans, that are asked for at once. */
const PAGE = 200
const COMMIT_EVERY = 500

/** What an export to a file goes on from. */
interface State {
  format: DatasetFormat
  statusIn: readonly RolloutStatus[]
  /** How many rollouts were looked at, in order of their arrival, which never changes; and the last of them. */
  seen: number
  last: string | null
  /** Of these, those that had not ended. */
  unfinished: string[]
  lines: number
  failed: number
}

/**
 * Writes the rollouts of a store as JSON lines, one triplet, chat or span each, in order of their arrival. Holds a page of
 * rollouts and the spans of one of them in memory, however many there are.
 *
 * A file may be exported to again, after a kill or because there is more: it is continued without losing or repeating a
 * rollout. `FILE.progress` beside it keeps the place.
 *
 * @throws AglError `usage` for an unknown format, and for a file that is not a beginning of this export
 */
export async function exportDataset(store: DatasetSource, options: ExportOptions): Promise<ExportProgress> {
  const { format, out = process.stdout, statusIn = FINISHED } = options
  if (!FORMATS.includes(format)) {
    throw new AglError(
      'usage',
      `The format "${String(format)}" is not known; known are: ${FORMATS.join(', ')}.`,
    )
  }
  const fresh: State = { format, statusIn, seen: 0, last: null, unfinished: [], lines: 0, failed: 0 }
  if (typeof out !== 'string') return new Export(store, options, fresh, streamLines(out)).run()
  const file = await ResumableFile.open(out, fresh, (saved) => checkState(saved, fresh, store, out))
  try {
    return await new Export(store, options, file.state, file).run()
  } finally {
    await file.close()
  }
}

class Export {
  readonly #store: DatasetSource
  readonly #options: ExportOptions
  readonly #state: State
  readonly #lines: Lines
  readonly #adapt: (spans: readonly Span[]) => readonly object[]
  #total = 0
  #committed = performance.now()

  constructor(store: DatasetSource, options: ExportOptions, state: State, lines: Lines) {
    this.#store = store
    this.#options = options
    this.#state = state
    this.#lines = lines
    const { onWarning = warnOnce } = options
    const own =
      options.format === 'messages'
        ? toMessages
        : (spans: readonly Span[]) => toTriplets(spans, { onWarning })
    this.#adapt = options.adapter ?? own
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
    const { statusIn = FINISHED } = this.#options
    if (statusIn.includes(rollout.status)) await this.#write(rollout)
    else if (!FINISHED.includes(rollout.status)) this.#state.unfinished.push(rollout.rolloutId)
    if (performance.now() - this.#committed >= COMMIT_EVERY) await this.#commit()
  }

  async #commit(): Promise<void> {
    await this.#lines.commit()
    this.#committed = performance.now()
    this.#options.onProgress?.(this.#progress())
  }

  #progress(): ExportProgress {
    const { seen, lines, failed, unfinished } = this.#state
    return {
      rollouts: seen - unfinished.length,
      total: this.#total,
      lines,
      failed,
      unfinished: unfinished.length,
    }
  }

  async #write(rollout: Rollout): Promise<void> {
    if (this.#options.format === 'spans' && this.#options.adapter === undefined)
      return this.#writeSpans(rollout)
    const { rolloutId } = rollout
    const { items: spans } = await this.#store.querySpans({ rolloutId, attemptId: 'latest' })
    // A rollout that ended before it did anything is no mistake.
    const [first] = spans
    if (first === undefined) return
    let lines: string[]
    try {
      lines = this.#adapt(spans).map((item) => this.#line(item, first))
    } catch (error) {
      this.#state.failed++
      this.#options.onFailure?.(rolloutId, error)
      return
    }
    for (const line of lines) await this.#add(line)
  }

  async #writeSpans({ rolloutId }: Rollout): Promise<void> {
    for (let offset = 0; ; offset += PAGE) {
      const { items, total } = await this.#store.querySpans({ rolloutId, limit: PAGE, offset })
      for (const span of items) await this.#add(JSON.stringify(spanToJSON(span)))
      if (offset + PAGE >= total) return
    }
  }

  async #add(line: string): Promise<void> {
    await this.#lines.add(line)
    this.#state.lines++
  }

  /** A chat stands for itself; steps of reinforcement learning must be told which run they are of. */
  #line(item: object, { rolloutId, attemptId }: Span): string {
    const isChat = this.#options.format === 'messages'
    return JSON.stringify(isChat ? item : { rollout_id: rolloutId, attempt_id: attemptId, ...item })
  }
}

function streamLines(stream: Writable): Lines {
  const gathered = new Gathered(async (text) => {
    if (!stream.write(text)) await once(stream, 'drain')
  })
  return {
    add: (line) => gathered.add(line),
    commit: () => gathered.flush(),
    close: () => Promise.resolve(),
  }
}

/** The saved state, where it is one of this export. */
async function checkState(saved: unknown, fresh: State, store: DatasetSource, out: string): Promise<State> {
  const state = isState(saved) ? saved : undefined
  if (state?.format !== fresh.format || state.statusIn.join() !== fresh.statusIn.join()) {
    const what =
      state === undefined
        ? 'something else'
        : `${state.format} of rollouts that ${state.statusIn.join(' or ')}`
    throw new AglError(
      'usage',
      `${out} holds ${what}; choose another file, or remove it and ${out}.progress to begin anew.`,
    )
  }
  if (state.seen === 0) return state
  const { items } = await store.queryRollouts({ limit: 1, offset: state.seen - 1 })
  if (items[0]?.rolloutId === state.last) return state
  throw new AglError(
    'usage',
    `${out} was exported from another store; choose another file, or remove it and ${out}.progress to begin anew.`,
  )
}

function isState(value: unknown): value is State {
  if (typeof value !== 'object' || value === null) return false
  const { format, statusIn, seen, unfinished, lines, failed }: Partial<State> = value
  const counts: readonly unknown[] = [seen, lines, failed]
  return (
    FORMATS.some((known) => known === format) &&
    Array.isArray(statusIn) &&
    Array.isArray(unfinished) &&
    counts.every((count) => Number.isInteger(count))
  )
}
