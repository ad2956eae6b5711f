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
  missing,
  newId,
  now,
} from '../engine.ts'
import { ailment, isQueued, updatedRollout, workerAfter, workerAfterDequeue } from '../lifecycle.ts'
import type {
  AttemptSelection,
  ResourcesSelection,
  RolloutSelection,
  SpanSelection,
  WorkerSelection,
} from '../query.ts'
import type { NamedResources, ResourcesUpdate } from '../resources.ts'
import { joinList } from '../row.ts'
import {
  bytes,
  type Row,
  number,
  readAttempt,
  readResources,
  readRollout,
  readWorker,
  text,
} from '../sql/records.ts'
import { type Clause, SPAN_COLUMNS, type Value, arrange, ofAttempt, where } from '../sql/select.ts'
import { putResources, saveRollout } from '../sql/statements.ts'
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
import { Rollouts } from './rollouts.ts'
import { SpanWriter } from './span-writer.ts'

/** The operations on a store file, each in a transaction of its own. */
export class SqliteEngine implements Engine {
  readonly #db: Database
  readonly #rollouts: Rollouts

  /** @throws AglError store_unavailable, store_schema */
  constructor(path: string) {
    this.#db = new Database(path)
    this.#rollouts = new Rollouts(this.#db)
  }

  enqueueRollouts(requests: readonly NewRollout[]): Rollout[] {
    return this.#db.write(() =>
      requests.map((request) => {
        this.#rollouts.insert(request, 'queuing', now())
        return this.#rollouts.rollout(request.rolloutId)
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
        const attempt = this.#rollouts.begin(rollout.rolloutId, newId('at'), workerId, now())
        taken.push({ ...rollout, status: 'preparing', attempt })
      }
      const known = workerId === null ? undefined : this.#rollouts.worker(workerId)
      this.#rollouts.note(workerAfterDequeue(workerId, taken.at(-1)?.attempt, known, now()))
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
      const { attempt, isNew } = this.#rollouts.start(request)
      if (isNew) this.#rollouts.note(workerAfter(attempt, now()))
      return { ...this.#rollouts.rollout(request.rolloutId), attempt }
    })
  }

  startAttempt(rolloutId: string, attemptId: string, workerId: string | null): AttemptedRollout {
    return this.#db.write(() => {
      if (this.#rollouts.state(rolloutId) === undefined) throw missing(rolloutId)
      const known = this.#rollouts.attempt(rolloutId, attemptId)
      const attempt = known ?? this.#rollouts.begin(rolloutId, attemptId, workerId, now())
      if (known === undefined) this.#rollouts.note(workerAfter(attempt, now()))
      return { ...this.#rollouts.rollout(rolloutId), attempt }
    })
  }

  updateRollout(rolloutId: string, update: RolloutUpdate): Rollout {
    return this.#db.write(() => {
      const rollout = updatedRollout(this.#rollouts.rollout(rolloutId), update, now())
      this.#db.run(saveRollout(rollout, update.status !== undefined, dialect))
      return rollout
    })
  }

  updateAttempt(rolloutId: string, attemptId: string, update: AttemptUpdate): UpdatedAttempt {
    return this.#db.write(() => this.#rollouts.update(rolloutId, attemptId, update))
  }

  watch(): Turn[] {
    const ailing = (): { attempt: Attempt; status: 'timeout' | 'unresponsive' }[] =>
      this.#rows(
        `SELECT rollout_id, config FROM rollouts WHERE limited = 1 AND status IN ('preparing', 'running')`,
      ).flatMap((row) => {
        const attempt = this.#rollouts.attempt(text(row, 'rollout_id'), 'latest')
        const status = attempt && ailment(attempt, JSON.parse(text(row, 'config')), now())
        return attempt && status ? [{ attempt, status }] : []
      })
    // Mostly all are well, and others need not be kept from writing then.
    if (this.#db.read(ailing).length === 0) return []
    return this.#db.write(() =>
      ailing().flatMap(({ attempt: { rolloutId, attemptId }, status }) => {
        const { turn } = this.#rollouts.update(rolloutId, attemptId, { status })
        return turn ?? []
      }),
    )
  }

  readStatuses(rolloutIds: readonly string[]): (RolloutStatus | null)[] {
    return this.#db.read(() => rolloutIds.map((rolloutId) => this.#rollouts.state(rolloutId)?.status ?? null))
  }

  findRollouts(selection: RolloutSelection): Found {
    return this.#find('rollouts', where(selection, dialect), arrange(selection, dialect))
  }

  readRollouts(ids: readonly number[]): Rollout[] {
    return this.#db.read(() =>
      this.#each('SELECT * FROM rollouts WHERE id = ?', ids).map((row) => {
        const rollout = readRollout(row)
        const attempt = this.#rollouts.attempt(rollout.rolloutId, 'latest')
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
      const writer = new SpanWriter(this.#db, (request) => this.#rollouts.start(request))
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

  readSpanList(ids: readonly number[]): Uint8Array<ArrayBuffer> {
    // As the file has them: decoding and encoding again would take longer than reading.
    const select = 'SELECT CAST(data AS BLOB) AS data FROM spans WHERE id = ?'
    return this.#db.read(() => joinList(this.#each(select, ids).map((row) => bytes(row, 'data'))))
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
      this.#rollouts.note({ workerId, lastHeartbeatTime: now(), ...(heartbeatStats && { heartbeatStats }) })
      return this.#rollouts.worker(workerId) ?? readWorker({})
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
