import type { Span } from '@agl/core'
import {
  type Counts,
  type Engine,
  type Found,
  type Listed,
  type NewRollout,
  type StartedRollout,
  type Turn,
  missing,
  newId,
  now,
} from '../engine.ts'
import {
  type RolloutState,
  type WorkerChange,
  ailment,
  newAttempt,
  isQueued,
  updatedAttempt,
  updatedRollout,
  workerAfter,
  workerAfterDequeue,
} from '../lifecycle.ts'
import type {
  AttemptSelection,
  ResourcesSelection,
  RolloutSelection,
  SpanSelection,
  WorkerSelection,
} from '../query.ts'
import type { NamedResources, ResourcesUpdate } from '../resources.ts'
import {
  type Row,
  STATE,
  number,
  readAttempt,
  readResources,
  readRollout,
  readState,
  readWorker,
  text,
} from '../sql/records.ts'
import { type Clause, LATEST, SPAN_COLUMNS, type Value, arrange, ofAttempt, where } from '../sql/select.ts'
import {
  insertAttempt,
  insertRollout,
  putResources,
  saveAttempt,
  saveRollout,
  saveWorker,
  turnRollout,
} from '../sql/statements.ts'
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
} from '../types.ts'
import { Database, dialect } from './database.ts'
import { SpanWriter } from './span-writer.ts'

/** The operations on a store file, each in a transaction of its own. */
export class SqliteEngine implements Engine {
  readonly #db: Database

  /** @throws AglError store_unavailable, store_schema */
  constructor(path: string) {
    this.#db = new Database(path)
  }

  enqueueRollouts(requests: readonly NewRollout[]): Rollout[] {
    return this.#db.write(() =>
      requests.map((request) => {
        this.#insert(request, 'queuing', now())
        return this.#rollout(request.rolloutId)
      }),
    )
  }

  dequeueRollouts(limit: number, workerId: string | null): AttemptedRollout[] {
    // Most who ask find nothing, and need not keep others from writing then.
    if (workerId === null && this.countQueued(1) === 0) return []
    return this.#db.write(() => {
      const taken: AttemptedRollout[] = []
      while (taken.length < limit) {
        const row = this.#get('SELECT * FROM rollouts WHERE queued IS NOT NULL ORDER BY queued LIMIT 1')
        if (row === undefined) break
        const rollout = readRollout(row)
        this.#run('UPDATE rollouts SET queued = NULL WHERE rollout_id = ?', rollout.rolloutId)
        if (!isQueued(rollout.status)) continue
        const attempt = this.#begin(rollout.rolloutId, newId('at'), workerId, now())
        taken.push({ ...rollout, status: 'preparing', attempt })
      }
      const known = workerId === null ? undefined : this.#worker(workerId)
      this.#note(workerAfterDequeue(workerId, taken.at(-1)?.attempt, known, now()))
      return taken
    })
  }

  countQueued(limit: number): number {
    return this.#db.read(() => {
      const some = 'SELECT 1 FROM rollouts WHERE queued IS NOT NULL LIMIT ?'
      return number(this.#get(`SELECT count(*) AS n FROM (${some})`, limit) ?? {}, 'n')
    })
  }

  startRollout(request: StartedRollout): AttemptedRollout {
    return this.#db.write(() => {
      const { attempt, isNew } = this.#start(request)
      if (isNew) this.#note(workerAfter(attempt, now()))
      return { ...this.#rollout(request.rolloutId), attempt }
    })
  }

  startAttempt(rolloutId: string, attemptId: string, workerId: string | null): AttemptedRollout {
    return this.#db.write(() => {
      if (this.#state(rolloutId) === undefined) throw missing(rolloutId)
      const known = this.#attempt(rolloutId, attemptId)
      const attempt = known ?? this.#begin(rolloutId, attemptId, workerId, now())
      if (known === undefined) this.#note(workerAfter(attempt, now()))
      return { ...this.#rollout(rolloutId), attempt }
    })
  }

  updateRollout(rolloutId: string, update: RolloutUpdate): Rollout {
    return this.#db.write(() => {
      const rollout = updatedRollout(this.#rollout(rolloutId), update, now())
      this.#db.run(saveRollout(rollout, update.status !== undefined, dialect))
      return rollout
    })
  }

  updateAttempt(
    rolloutId: string,
    attemptId: string,
    update: AttemptUpdate,
  ): { attempt: Attempt; turn: Turn | undefined } {
    return this.#db.write(() => this.#update(rolloutId, attemptId, update))
  }

  watch(): Turn[] {
    const ailing = (): { attempt: Attempt; status: 'timeout' | 'unresponsive' }[] =>
      this.#rows(
        `SELECT rollout_id, config FROM rollouts WHERE limited = 1 AND status IN ('preparing', 'running')`,
      ).flatMap((row) => {
        const attempt = this.#attempt(text(row, 'rollout_id'), 'latest')
        const status = attempt && ailment(attempt, JSON.parse(text(row, 'config')), now())
        return attempt && status ? [{ attempt, status }] : []
      })
    // Mostly all are well, and others need not be kept from writing then.
    if (this.#db.read(ailing).length === 0) return []
    return this.#db.write(() =>
      ailing().flatMap(({ attempt: { rolloutId, attemptId }, status }) => {
        const { turn } = this.#update(rolloutId, attemptId, { status })
        return turn ?? []
      }),
    )
  }

  readStatuses(rolloutIds: readonly string[]): (RolloutStatus | null)[] {
    return this.#db.read(() => rolloutIds.map((rolloutId) => this.#state(rolloutId)?.status ?? null))
  }

  findRollouts(selection: RolloutSelection): Found {
    return this.#find('rollouts', where(selection, dialect), arrange(selection, dialect))
  }

  readRollouts(ids: readonly number[]): Rollout[] {
    return this.#db.read(() =>
      this.#each('SELECT * FROM rollouts WHERE id = ?', ids).map((row) => {
        const rollout = readRollout(row)
        const attempt = this.#attempt(rollout.rolloutId, 'latest')
        return attempt === undefined ? rollout : { ...rollout, attempt }
      }),
    )
  }

  listAttempts(selection: AttemptSelection): Listed<Attempt> {
    const always = { sql: 'rollout_id = ?', values: [selection.rolloutId] }
    return this.#list(
      'attempts',
      where(selection, dialect, [always]),
      arrange(selection, dialect),
      readAttempt,
    )
  }

  addSpans(spans: readonly Span[], options: AddSpansOptions): AddedSpans {
    return this.#db.write(() => {
      const writer = new SpanWriter(this.#db, (request) => this.#start(request))
      for (const span of spans) writer.add(span, options)
      return writer.finish()
    })
  }

  findSpans(selection: SpanSelection): Found {
    return this.#find(
      'spans',
      where(selection, dialect, ofAttempt(selection)),
      arrange(selection, dialect, SPAN_COLUMNS),
    )
  }

  readSpans(ids: readonly number[]): string[] {
    return this.#db.read(() =>
      this.#each('SELECT data FROM spans WHERE id = ?', ids).map((row) => text(row, 'data')),
    )
  }

  nextSequenceIds(rolloutIds: readonly string[]): number[] {
    const next = `INSERT INTO sequences (rollout_id, last) VALUES (?, 1)
                  ON CONFLICT (rollout_id) DO UPDATE SET last = last + 1 RETURNING last`
    return this.#db.write(() => this.#each(next, rolloutIds).map((row) => number(row, 'last')))
  }

  putResources(resourcesId: string, resources: NamedResources): ResourcesUpdate {
    const nextPlace = '(SELECT coalesce(max(place), 0) + 1 FROM resources)'
    return this.#db.write(() => {
      const row = this.#db.get(putResources({ resourcesId, updateTime: now(), resources }, { nextPlace }))
      return readResources(row ?? {})
    })
  }

  latestResources(): ResourcesUpdate | undefined {
    return this.#db.read(() => {
      const row = this.#get('SELECT * FROM resources ORDER BY place DESC LIMIT 1')
      return row && readResources(row)
    })
  }

  listResources(selection: ResourcesSelection): Listed<ResourcesUpdate> {
    return this.#list('resources', where(selection, dialect), arrange(selection, dialect), readResources)
  }

  updateWorker(workerId: string, heartbeatStats: Worker['heartbeatStats'] | undefined): Worker {
    return this.#db.write(() => {
      this.#note({ workerId, lastHeartbeatTime: now(), ...(heartbeatStats && { heartbeatStats }) })
      return this.#worker(workerId) ?? readWorker({})
    })
  }

  listWorkers(selection: WorkerSelection): Listed<Worker> {
    return this.#list('workers', where(selection, dialect), arrange(selection, dialect), readWorker)
  }

  count(): Counts {
    return this.#db.read(() => {
      const of = (table: string): number => number(this.#get(`SELECT count(*) AS n FROM ${table}`) ?? {}, 'n')
      return {
        rollouts: of('rollouts'),
        attempts: of('attempts'),
        spans: of('spans'),
        resources: of('resources'),
        workers: of('workers'),
      }
    })
  }

  close(): void {
    this.#db.close()
  }

  /** Leaves a rollout or attempt that is there as it is. */
  #start(request: StartedRollout): { attempt: Attempt; isNew: boolean } {
    const { rolloutId, attemptId, workerId, startTime = now(), status } = request
    this.#insert(request, status, startTime)
    const known = this.#attempt(rolloutId, attemptId)
    if (known !== undefined) return { attempt: known, isNew: false }
    return { attempt: this.#begin(rolloutId, attemptId, workerId, startTime, status), isNew: true }
  }

  #insert(request: NewRollout, status: RolloutStatus, startTime: number): void {
    const { rolloutId, input, metadata, mode, config } = request
    const latest = 'SELECT resources_id FROM resources ORDER BY place DESC LIMIT 1'
    const row = request.resourcesId === null ? this.#get(latest) : undefined
    const resourcesId = row === undefined ? request.resourcesId : text(row, 'resources_id')
    const rollout = {
      rolloutId,
      input,
      metadata,
      mode,
      config,
      resourcesId,
      status,
      startTime,
      endTime: null,
    }
    this.#db.run(insertRollout([rollout], dialect))
  }

  #begin(
    rolloutId: string,
    attemptId: string,
    workerId: string | null,
    startTime: number,
    status: 'preparing' | 'running' = 'preparing',
  ): Attempt {
    const count = this.#get('SELECT count(*) AS n FROM attempts WHERE rollout_id = ?', rolloutId)
    const attempt = newAttempt(
      { rolloutId, attemptId, workerId, startTime },
      number(count ?? {}, 'n'),
      status,
    )
    this.#db.run(insertAttempt([attempt]))
    this.#run('UPDATE rollouts SET status = ? WHERE rollout_id = ?', status, rolloutId)
    return attempt
  }

  #update(
    rolloutId: string,
    attemptId: string,
    update: AttemptUpdate,
  ): { attempt: Attempt; turn: Turn | undefined } {
    const rollout = this.#state(rolloutId)
    const latest = this.#attempt(rolloutId, 'latest')
    const attempt = attemptId === 'latest' ? latest : this.#attempt(rolloutId, attemptId)
    if (rollout === undefined || attempt === undefined) throw missing(rolloutId, attemptId)
    const change = updatedAttempt(rollout, attempt, attempt.attemptId === latest?.attemptId, update, now())
    this.#db.run(saveAttempt(change.attempt))
    if (change.rollout !== undefined) this.#db.run(turnRollout(change.rollout, dialect))
    this.#note(change.worker)
    return { attempt: change.attempt, turn: change.rollout && { rolloutId, status: change.rollout.status } }
  }

  #note(change: WorkerChange | undefined): void {
    if (change !== undefined) this.#db.run(saveWorker(change))
  }

  #rollout(rolloutId: string): Rollout {
    const row = this.#get('SELECT * FROM rollouts WHERE rollout_id = ?', rolloutId)
    if (row === undefined) throw missing(rolloutId)
    return readRollout(row)
  }

  #state(rolloutId: string): RolloutState | undefined {
    const row = this.#get(`SELECT ${STATE} FROM rollouts WHERE rollout_id = ?`, rolloutId)
    return row && readState(row)
  }

  #attempt(rolloutId: string, attemptId: string): Attempt | undefined {
    const row =
      attemptId === 'latest'
        ? this.#get(`SELECT * FROM attempts WHERE ${LATEST}`, rolloutId)
        : this.#get('SELECT * FROM attempts WHERE rollout_id = ? AND attempt_id = ?', rolloutId, attemptId)
    return row && readAttempt(row)
  }

  #worker(workerId: string): Worker | undefined {
    const row = this.#get('SELECT * FROM workers WHERE worker_id = ?', workerId)
    return row && readWorker(row)
  }

  #find(table: string, filter: Clause, page: Clause): Found {
    const { total, items } = this.#list(table, filter, page, (row) => number(row, 'id'), 'id')
    return { total, ids: items }
  }

  #list<Item>(
    table: string,
    filter: Clause,
    page: Clause,
    read: (row: Row) => Item,
    columns = '*',
  ): Listed<Item> {
    return this.#db.read(() => {
      const total = this.#get(`SELECT count(*) AS n FROM ${table} WHERE ${filter.sql}`, ...filter.values)
      const sql = `SELECT ${columns} FROM ${table} WHERE ${filter.sql} ${page.sql}`
      const rows = this.#rows(sql, ...filter.values, ...page.values)
      return { total: number(total ?? {}, 'n'), items: rows.map(read) }
    })
  }

  #each(sql: string, values: readonly Value[]): Row[] {
    return values.map((value) => this.#get(sql, value)).filter((row) => row !== undefined)
  }

  #get(sql: string, ...values: Value[]): Row | undefined {
    return this.#db.get({ sql, values })
  }

  #rows(sql: string, ...values: Value[]): Row[] {
    return this.#db.all({ sql, values })
  }

  #run(sql: string, ...values: Value[]): void {
    this.#db.run({ sql, values })
  }
}
