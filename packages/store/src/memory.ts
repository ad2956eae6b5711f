import { AglError, type Span } from '@agl/core'
import {
  DEFAULT_CONFIG,
  type Engine,
  type Found,
  type NewRollout,
  type Result,
  type Transport,
  isFinished,
  now,
  rolloutStatus,
} from './engine.ts'
import type { Condition, RolloutSelection, Selection, SpanSelection } from './query.ts'
import { type SpanRow, toRow } from './row.ts'
import type {
  AddSpansOptions,
  AddedSpans,
  Attempt,
  AttemptUpdate,
  AttemptedRollout,
  Rollout,
} from './types.ts'

/** One rollout with what belongs to it. `attempts` is in order of their sequence ids, `spans` in order of arrival. */
interface Entry {
  rollout: Rollout
  attempts: Attempt[]
  spans: number[]
  spanKeys: Set<string>
}

/** Keeps everything in this process, in the form in which SQLite keeps it, so that both answer alike. */
class MemoryEngine implements Engine {
  readonly #entries = new Map<string, Entry>()
  readonly #order: Entry[] = []
  readonly #spans: SpanRow[] = []
  readonly #sequences = new Map<string, number>()

  startRollout(request: NewRollout): AttemptedRollout {
    const { rolloutId, attemptId, startTime, status } = request
    const entry = this.#entries.get(rolloutId) ?? this.#insert(request)
    let attempt = entry.attempts.find((known) => known.attemptId === attemptId)
    if (attempt === undefined) {
      const sequenceId = entry.attempts.length + 1
      const empty = { endTime: null, workerId: null, lastHeartbeatTime: null, metadata: {} }
      attempt = { rolloutId, attemptId, sequenceId, startTime, status, ...empty }
      entry.attempts.push(attempt)
      entry.rollout.status = status
    }
    return structuredClone({ ...entry.rollout, attempt })
  }

  updateAttempt(rolloutId: string, attemptId: string, update: AttemptUpdate): Attempt {
    const entry = this.#entries.get(rolloutId)
    const attempt = attemptId === 'latest' ? entry?.attempts.at(-1) : entry && findAttempt(entry, attemptId)
    if (entry === undefined || attempt === undefined) throw missing(rolloutId, attemptId)
    const { endTime = now(), ...changes } = update
    Object.assign(attempt, structuredClone(changes))
    if (update.status !== undefined) {
      const status = rolloutStatus(update.status)
      if (isFinished(update.status)) attempt.endTime = endTime
      if (attempt === entry.attempts.at(-1)) {
        entry.rollout.status = status
        if (isFinished(status)) entry.rollout.endTime = endTime
      }
    }
    return structuredClone(attempt)
  }

  findRollouts(selection: RolloutSelection): Found {
    const found = this.#order.flatMap(({ rollout }, id) =>
      matches(rollout, selection) ? [{ id, item: rollout }] : [],
    )
    return arrange(found, selection)
  }

  readRollouts(ids: readonly number[]): Rollout[] {
    return ids.flatMap((id) => {
      const entry = this.#order[id]
      const attempt = entry?.attempts.at(-1)
      return entry === undefined ? [] : [structuredClone({ ...entry.rollout, ...(attempt && { attempt }) })]
    })
  }

  addSpans(spans: readonly Span[], options: AddSpansOptions): AddedSpans {
    const result: AddedSpans = { added: 0, duplicates: 0, refused: [] }
    for (const span of spans) this.#addSpan(span, options, result)
    return result
  }

  #addSpan(span: Span, options: AddSpansOptions, result: AddedSpans): void {
    const { rolloutId, attemptId, spanId } = span
    const known = this.#entries.get(rolloutId)
    if (
      options.createMissing !== true &&
      (known === undefined || findAttempt(known, attemptId) === undefined)
    ) {
      throw missing(rolloutId, attemptId)
    }
    const key = `${attemptId}\0${spanId}`
    if (known?.spanKeys.has(key) === true) {
      result.duplicates++
      return
    }
    const last = this.#sequences.get(rolloutId) ?? 0
    const sequenceId = options.keepSequenceIds === true ? span.sequenceId : last + 1
    let row: SpanRow
    try {
      row = toRow(span, sequenceId)
    } catch (error) {
      result.refused.push({ spanId, reason: String(error) })
      return
    }
    const entry = this.#touch(span)
    entry.spanKeys.add(key)
    entry.spans.push(this.#spans.push(row) - 1)
    this.#sequences.set(rolloutId, Math.max(last, sequenceId))
    result.added++
  }

  #touch({ rolloutId, attemptId, startTime }: Span): Entry {
    const implied = {
      rolloutId,
      attemptId,
      startTime,
      status: 'running',
      input: 'null',
      metadata: '{}',
    } as const
    const known = this.#entries.get(rolloutId)
    if (known === undefined || findAttempt(known, attemptId) === undefined) {
      this.startRollout({ ...implied, mode: null, resourcesId: null })
    }
    const entry = this.#entries.get(rolloutId)
    const attempt = entry && findAttempt(entry, attemptId)
    if (entry === undefined || attempt === undefined) throw missing(rolloutId, attemptId)
    attempt.lastHeartbeatTime = now()
    if (attempt.status === 'preparing' || attempt.status === 'unresponsive') attempt.status = 'running'
    const { rollout } = entry
    const waits = rollout.status === 'preparing' || rollout.status === 'requeuing'
    if (waits && attempt === entry.attempts.at(-1)) rollout.status = 'running'
    return entry
  }

  findSpans(selection: SpanSelection): Found {
    const entry = this.#entries.get(selection.rolloutId)
    const attemptId =
      selection.attemptId === 'latest' ? entry?.attempts.at(-1)?.attemptId : selection.attemptId
    const found: { id: number; item: SpanRow }[] = []
    for (const id of entry?.spans ?? []) {
      const item = this.#spans[id]
      if (item === undefined || (attemptId !== undefined && item.attemptId !== attemptId)) continue
      if (matches(item, selection)) found.push({ id, item })
    }
    return arrange(found, selection)
  }

  readSpans(ids: readonly number[]): string[] {
    return ids.flatMap((id) => this.#spans[id]?.data ?? [])
  }

  nextSequenceIds(rolloutIds: readonly string[]): number[] {
    return rolloutIds.map((rolloutId) => {
      const next = (this.#sequences.get(rolloutId) ?? 0) + 1
      this.#sequences.set(rolloutId, next)
      return next
    })
  }

  count(): Result<'count'> {
    const attempts = this.#order.reduce((sum, entry) => sum + entry.attempts.length, 0)
    return { rollouts: this.#order.length, attempts, spans: this.#spans.length }
  }

  close(): void {
    this.#entries.clear()
    this.#order.length = 0
    this.#spans.length = 0
  }

  #insert({ rolloutId, input, metadata, mode, resourcesId, startTime, status }: NewRollout): Entry {
    const rollout: Rollout = {
      rolloutId,
      input: JSON.parse(input),
      startTime,
      endTime: null,
      mode,
      resourcesId,
      status,
      config: { ...DEFAULT_CONFIG, retryCondition: [] },
      metadata: JSON.parse(metadata),
    }
    const entry: Entry = { rollout, attempts: [], spans: [], spanKeys: new Set() }
    this.#entries.set(rolloutId, entry)
    this.#order.push(entry)
    return entry
  }
}

export function memoryTransport(): Transport {
  const engine: Engine = new MemoryEngine()
  return {
    call: async (operation, ...args) => engine[operation](...args),
    sync: (work) => work(engine),
    close: async () => engine.close(),
  }
}

function findAttempt(entry: Entry, attemptId: string): Attempt | undefined {
  return entry.attempts.find((attempt) => attempt.attemptId === attemptId)
}

function missing(rolloutId: string, attemptId: string): AglError {
  return new AglError(
    'not_found',
    `The store has no attempt "${attemptId}" of a rollout "${rolloutId}"; start it first.`,
  )
}

function matches<Field extends string>(
  item: { readonly [key in Field]: string | number | null },
  { conditions, logic }: Selection<Field>,
): boolean {
  const meets = (condition: Condition<Field>): boolean => {
    const value = item[condition.field]
    if (typeof value !== 'string') return false
    if ('is' in condition) return value === condition.is
    return 'in' in condition ? condition.in.includes(value) : value.includes(condition.contains)
  }
  return conditions.length === 0 || (logic === 'and' ? conditions.every(meets) : conditions.some(meets))
}

function arrange<Field extends string>(
  found: { id: number; item: { readonly [key in Field]: string | number | null } }[],
  { sortBy, descending, offset, limit }: Selection<Field>,
): Found {
  if (sortBy !== undefined) {
    const direction = descending ? -1 : 1
    found.sort((a, b) => direction * compare(a.item[sortBy], b.item[sortBy]))
  }
  const page = limit === -1 ? found.slice(offset) : found.slice(offset, offset + limit)
  return { total: found.length, ids: page.map(({ id }) => id) }
}

/** Null is the smallest, as in Agent Lightning and SQLite. */
function compare(a: string | number | null, b: string | number | null): number {
  if (a === b) return 0
  if (a === null || b === null) return a === null ? -1 : 1
  return a < b ? -1 : 1
}
