import type { Span } from '@agl/core'
import {
  type Counts,
  type Engine,
  type Found,
  type Listed,
  type NewRollout,
  type StartedRollout,
  type Turn,
  type UpdatedAttempt,
  impliedRollout,
  missing,
  newId,
  now,
} from './engine.ts'
import {
  type WorkerChange,
  ailment,
  heardFrom,
  isLimited,
  isQueued,
  newAttempt,
  newWorker,
  updatedAttempt,
  updatedRollout,
  workerAfter,
  workerAfterDequeue,
} from './lifecycle.ts'
import { type Entry, findAttempt } from './memory-entry.ts'
import { arrange, matches } from './memory-query.ts'
import { MemoryResources } from './memory-resources.ts'
import type {
  AttemptSelection,
  ResourcesSelection,
  RolloutSelection,
  SpanSelection,
  WorkerSelection,
} from './query.ts'
import type { NamedResources, ResourcesUpdate } from './resources.ts'
import { type SpanRow, encodeList, toRow } from './row.ts'
import type {
  AddSpansOptions,
  AddedSpans,
  Attempt,
  AttemptUpdate,
  AttemptedRollout,
  Rollout,
  RolloutStatus,
  RolloutUpdate,
  Worker,
} from './types.ts'

/** Keeps everything in this process, in the form in which SQLite keeps it, so that both answer alike. */
export class MemoryEngine implements Engine {
  readonly #entries = new Map<string, Entry>()
  readonly #order: Entry[] = []
  /** What waits, the longest waiting first. One that has another status by then is passed over. */
  readonly #queue = new Set<Entry>()
  /** Those that the watchdog looks after. */
  readonly #limited = new Set<Entry>()
  readonly #spans: SpanRow[] = []
  readonly #sequences = new Map<string, number>()
  readonly #resources = new MemoryResources()
  readonly #workers = new Map<string, Worker>()

  enqueueRollouts(requests: readonly NewRollout[]): Rollout[] {
    return requests.map((request) => structuredClone(this.#insert(request, 'queuing', now()).rollout))
  }

  dequeueRollouts(limit: number, workerId: string | null): AttemptedRollout[] {
    const taken: AttemptedRollout[] = []
    for (const entry of this.#queue) {
      if (taken.length >= limit) break
      this.#queue.delete(entry)
      if (isQueued(entry.rollout.status)) taken.push(this.#attempt(entry, newId('at'), workerId))
    }
    const known = workerId === null ? undefined : this.#workers.get(workerId)
    this.#note(workerAfterDequeue(workerId, taken.at(-1)?.attempt, known, now()))
    return taken
  }

  countQueued(limit: number): number {
    return Math.min(this.#queue.size, limit)
  }

  startRollout(request: StartedRollout): AttemptedRollout {
    const { rolloutId, attemptId, workerId, startTime = now(), status } = request
    const entry = this.#entries.get(rolloutId) ?? this.#insert(request, status, startTime)
    const known = findAttempt(entry, attemptId)
    if (known !== undefined) return structuredClone({ ...entry.rollout, attempt: known })
    const started = this.#attempt(entry, attemptId, workerId, startTime, status)
    this.#note(workerAfter(started.attempt, now()))
    return started
  }

  startAttempt(rolloutId: string, attemptId: string, workerId: string | null): AttemptedRollout {
    const entry = this.#entries.get(rolloutId)
    if (entry === undefined) throw missing(rolloutId)
    const known = findAttempt(entry, attemptId)
    if (known !== undefined) return structuredClone({ ...entry.rollout, attempt: known })
    const started = this.#attempt(entry, attemptId, workerId)
    this.#note(workerAfter(started.attempt, now()))
    return started
  }

  updateRollout(rolloutId: string, update: RolloutUpdate): Rollout {
    const entry = this.#entries.get(rolloutId)
    if (entry === undefined) throw missing(rolloutId)
    const rollout = updatedRollout(entry.rollout, structuredClone(update), now())
    this.#save(entry, rollout, update.status !== undefined)
    return structuredClone(rollout)
  }

  updateAttempt(rolloutId: string, attemptId: string, update: AttemptUpdate): UpdatedAttempt {
    const entry = this.#entries.get(rolloutId)
    const attempt = attemptId === 'latest' ? entry?.attempts.at(-1) : entry && findAttempt(entry, attemptId)
    if (entry === undefined || attempt === undefined) throw missing(rolloutId, attemptId)
    const isLatest = attempt === entry.attempts.at(-1)
    const change = updatedAttempt(entry.rollout, attempt, isLatest, structuredClone(update), now())
    entry.attempts[attempt.sequenceId - 1] = change.attempt
    if (change.rollout !== undefined) this.#save(entry, change.rollout, true)
    this.#note(change.worker)
    const turn = change.rollout && { rolloutId, status: change.rollout.status }
    return { attempt: structuredClone(change.attempt), turn }
  }

  watch(): Turn[] {
    const turns: Turn[] = []
    for (const { rollout, attempts } of this.#limited) {
      const attempt = attempts.at(-1)
      const status = attempt && ailment(attempt, rollout.config, now())
      if (attempt === undefined || status === undefined) continue
      const { turn } = this.updateAttempt(rollout.rolloutId, attempt.attemptId, { status })
      if (turn !== undefined) turns.push(turn)
    }
    return turns
  }

  readStatuses(rolloutIds: readonly string[]): (RolloutStatus | null)[] {
    return rolloutIds.map((rolloutId) => this.#entries.get(rolloutId)?.rollout.status ?? null)
  }

  findRollouts(selection: RolloutSelection): Found {
    const found = this.#order.flatMap(({ rollout }, id) =>
      matches(rollout, selection) ? [{ id, item: rollout }] : [],
    )
    const { total, items } = arrange(found, ({ item }) => item, selection)
    return { total, ids: items.map(({ id }) => id) }
  }

  readRollouts(ids: readonly number[]): Rollout[] {
    return ids.flatMap((id) => {
      const entry = this.#order[id]
      const attempt = entry?.attempts.at(-1)
      return entry === undefined ? [] : [structuredClone({ ...entry.rollout, ...(attempt && { attempt }) })]
    })
  }

  listAttempts(selection: AttemptSelection): Listed<Attempt> {
    const attempts = this.#entries.get(selection.rolloutId)?.attempts ?? []
    return structuredClone(arrange([...attempts], (attempt) => attempt, selection))
  }

  addSpans(spans: readonly Span[], options: AddSpansOptions): AddedSpans {
    const result: AddedSpans = { added: 0, duplicates: 0, refused: [] }
    for (const span of spans) this.#addSpan(span, options, result)
    return result
  }

  #addSpan(span: Span, options: AddSpansOptions, result: AddedSpans): void {
    const { rolloutId, attemptId, spanId } = span
    const known = this.#entries.get(rolloutId)
    const missed = known === undefined || findAttempt(known, attemptId) === undefined
    if (missed && options.createMissing !== true) throw missing(rolloutId, attemptId)
    const key = `${attemptId}\0${spanId}`
    if (known?.spanKeys.has(key) === true) {
      result.duplicates++
      return
    }
    const last = this.#sequences.get(rolloutId) ?? 0
    const sequenceId = options.keepSequenceIds === true && span.sequenceId >= 0 ? span.sequenceId : last + 1
    let row: SpanRow
    try {
      row = toRow(span, sequenceId)
    } catch (error) {
      result.refused.push({ spanId, reason: String(error) })
      return
    }
    const entry = this.#hear(span)
    entry.spanKeys.add(key)
    entry.spans.push(this.#spans.push(row) - 1)
    this.#sequences.set(rolloutId, Math.max(last, sequenceId))
    result.added++
  }

  #hear({ rolloutId, attemptId, startTime }: Span): Entry {
    const known = this.#entries.get(rolloutId)
    if (known === undefined || findAttempt(known, attemptId) === undefined) {
      this.startRollout(impliedRollout(rolloutId, attemptId, startTime))
    }
    const entry = this.#entries.get(rolloutId)
    const attempt = entry && findAttempt(entry, attemptId)
    if (entry === undefined || attempt === undefined) throw missing(rolloutId, attemptId)
    const change = heardFrom(entry.rollout, attempt, attempt === entry.attempts.at(-1), now())
    entry.attempts[attempt.sequenceId - 1] = change.attempt
    if (change.rollout !== undefined) this.#save(entry, change.rollout, true)
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
    const { total, items } = arrange(found, ({ item }) => item, selection)
    return { total, ids: items.map(({ id }) => id) }
  }

  readSpans(ids: readonly number[]): string[] {
    return ids.flatMap((id) => this.#spans[id]?.data ?? [])
  }

  readSpanList(ids: readonly number[]): Uint8Array<ArrayBuffer> {
    return encodeList(this.readSpans(ids))
  }

  nextSequenceIds(rolloutIds: readonly string[]): number[] {
    return rolloutIds.map((rolloutId) => {
      const next = (this.#sequences.get(rolloutId) ?? 0) + 1
      this.#sequences.set(rolloutId, next)
      return next
    })
  }

  putResources(resourcesId: string, resources: NamedResources): ResourcesUpdate {
    return this.#resources.put(resourcesId, resources)
  }

  latestResources(): ResourcesUpdate | undefined {
    return this.#resources.latest()
  }

  listResources(selection: ResourcesSelection): Listed<ResourcesUpdate> {
    return this.#resources.list(selection)
  }

  updateWorker(workerId: string, heartbeatStats: Worker['heartbeatStats'] | undefined): Worker {
    const stats = heartbeatStats === undefined ? {} : { heartbeatStats: structuredClone(heartbeatStats) }
    this.#note({ workerId, lastHeartbeatTime: now(), ...stats })
    return structuredClone(this.#workers.get(workerId) ?? newWorker(workerId))
  }

  listWorkers(selection: WorkerSelection): Listed<Worker> {
    const found = [...this.#workers.values()].filter((worker) => matches(worker, selection))
    return structuredClone(arrange(found, (worker) => worker, selection))
  }

  count(): Counts {
    return {
      rollouts: this.#order.length,
      attempts: this.#order.reduce((sum, entry) => sum + entry.attempts.length, 0),
      spans: this.#spans.length,
      resources: this.#resources.size,
      workers: this.#workers.size,
    }
  }

  close(): void {
    this.#entries.clear()
    this.#queue.clear()
    this.#limited.clear()
    this.#order.length = 0
    this.#spans.length = 0
  }

  #insert(request: NewRollout, status: RolloutStatus, startTime: number): Entry {
    const { rolloutId, input, metadata, mode, config } = request
    const rollout: Rollout = {
      rolloutId,
      input: JSON.parse(input),
      startTime,
      endTime: null,
      mode,
      resourcesId: request.resourcesId ?? this.#resources.latestId,
      status,
      config: structuredClone(config),
      metadata: JSON.parse(metadata),
    }
    const entry: Entry = { rollout, attempts: [], spans: [], spanKeys: new Set() }
    this.#entries.set(rolloutId, entry)
    this.#order.push(entry)
    this.#save(entry, rollout, true)
    return entry
  }

  #attempt(
    entry: Entry,
    attemptId: string,
    workerId: string | null,
    startTime: number = now(),
    status: 'preparing' | 'running' = 'preparing',
  ): AttemptedRollout {
    const { rolloutId } = entry.rollout
    const attempt = newAttempt({ rolloutId, attemptId, workerId, startTime }, entry.attempts.length, status)
    entry.attempts.push(attempt)
    this.#save(entry, { ...entry.rollout, status }, true)
    return structuredClone({ ...entry.rollout, attempt })
  }

  /** `turned` where its status was given, be it the same as before. */
  #save(entry: Entry, rollout: Rollout, turned: boolean): void {
    entry.rollout = rollout
    const { status, config } = rollout
    if (turned && isQueued(status)) this.#queue.add(entry)
    const watched = isLimited(config) && (status === 'preparing' || status === 'running')
    if (watched) this.#limited.add(entry)
    else this.#limited.delete(entry)
  }

  #note(change: WorkerChange | undefined): void {
    if (change === undefined) return
    const { workerId } = change
    this.#workers.set(workerId, { ...(this.#workers.get(workerId) ?? newWorker(workerId)), ...change })
  }
}
