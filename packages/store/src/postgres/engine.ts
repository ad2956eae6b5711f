import type { Span } from '@agl/core'
import {
  type AsyncEngine,
  type Counts,
  type Found,
  type Listed,
  type NewRollout,
  type StartedRollout,
  type Turn,
  type UpdatedAttempt,
  missing,
} from '../engine.ts'
import { newAttempt, updatedRollout, workerAfter, workerAfterDequeue } from '../lifecycle.ts'
import type {
  AttemptSelection,
  ResourcesSelection,
  RolloutSelection,
  SpanSelection,
  WorkerSelection,
} from '../query.ts'
import type { NamedResources, ResourcesUpdate } from '../resources.ts'
import { encodeList } from '../row.ts'
import {
  type Row,
  number,
  readAttempt,
  readResources,
  readRollout,
  readState,
  readWorker,
  text,
} from '../sql/records.ts'
import { type Clause, SPAN_COLUMNS, arrange, ofAttempt, where } from '../sql/select.ts'
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
import { type Database, dialect } from './database.ts'
import { take } from './queue.ts'
import {
  begin,
  changeAttempt,
  findAttempt,
  findWorker,
  insertRollouts,
  lockRollout,
  note,
  rolloutOf,
  start,
  tell,
} from './rollouts.ts'
import { addSpans } from './spans.ts'
import { watch } from './watchdog.ts'

/** Rollouts that are taken with one statement, which has no more than 65,535 values. */
const MOST_TAKEN = 1000

/**
 * The operations on a PostgreSQL database, each in a transaction of its own. Whoever changes anything of a rollout locks
 * its row first, so that no two do it at once; the clock is the database's.
 */
export class PostgresEngine implements AsyncEngine {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  enqueueRollouts(requests: readonly NewRollout[]): Promise<Rollout[]> {
    return this.#database.transaction(async (connection) => {
      await insertRollouts(connection, requests, 'queuing', undefined)
      connection.tell({ queued: requests.length })
      const ids = requests.map(({ rolloutId }) => rolloutId)
      const rows = await connection.all('SELECT * FROM {rollouts} WHERE rollout_id = ANY(?) ORDER BY id', ids)
      return rows.map(readRollout)
    })
  }

  dequeueRollouts(limit: number, workerId: string | null): Promise<AttemptedRollout[]> {
    return this.#database.transaction(async (connection) => {
      const taken: AttemptedRollout[] = []
      while (taken.length < limit) {
        const more = await take(connection, Math.min(limit - taken.length, MOST_TAKEN), workerId)
        if (more === undefined) break
        taken.push(...more)
      }
      const last = taken.at(-1)?.attempt
      const known =
        last === undefined && workerId !== null ? await findWorker(connection, workerId) : undefined
      await note(connection, workerAfterDequeue(workerId, last, known, connection.now))
      return taken
    }, true)
  }

  async countQueued(limit: number): Promise<number> {
    const some = 'SELECT 1 FROM {rollouts} WHERE queued IS NOT NULL LIMIT ?'
    const row = await this.#database.get(`SELECT count(*) AS n FROM (${some}) AS some`, limit)
    return number(row ?? {}, 'n')
  }

  startRollout(request: StartedRollout): Promise<AttemptedRollout> {
    return this.#database.transaction(async (connection) => {
      const { attempt, isNew } = await start(connection, request)
      if (isNew) await note(connection, workerAfter(attempt, connection.now))
      return { ...(await rolloutOf(connection, request.rolloutId)), attempt }
    })
  }

  startAttempt(rolloutId: string, attemptId: string, workerId: string | null): Promise<AttemptedRollout> {
    return this.#database.transaction(async (connection) => {
      await lockRollout(connection, rolloutId)
      let attempt = await findAttempt(connection, rolloutId, attemptId)
      if (attempt === undefined) {
        const row = await connection.get(
          'SELECT count(*) AS n FROM {attempts} WHERE rollout_id = ?',
          rolloutId,
        )
        const given = { rolloutId, attemptId, workerId, startTime: connection.now }
        attempt = newAttempt(given, number(row ?? {}, 'n'))
        await begin(connection, [attempt])
        await note(connection, workerAfter(attempt, connection.now))
      }
      return { ...(await rolloutOf(connection, rolloutId)), attempt }
    })
  }

  updateRollout(rolloutId: string, update: RolloutUpdate): Promise<Rollout> {
    return this.#database.transaction(async (connection) => {
      const row = await connection.get('SELECT * FROM {rollouts} WHERE rollout_id = ? FOR UPDATE', rolloutId)
      if (row === undefined) throw missing(rolloutId)
      const rollout = updatedRollout(readRollout(row), update, connection.now)
      await connection.run(saveRollout(rollout, update.status !== undefined, dialect))
      if (update.status !== undefined) tell(connection, rollout)
      return rollout
    })
  }

  updateAttempt(rolloutId: string, attemptId: string, update: AttemptUpdate): Promise<UpdatedAttempt> {
    // Done a second time, the latest may be another one by then.
    const once = attemptId === 'latest'
    return this.#database.transaction(
      async (connection) => changeAttempt(connection, rolloutId, attemptId, update),
      once,
    )
  }

  watch(): Promise<Turn[]> {
    return watch(this.#database)
  }

  async readStatuses(rolloutIds: readonly string[]): Promise<(RolloutStatus | null)[]> {
    const rows = await this.#database.all(
      'SELECT rollout_id, status, end_time, config FROM {rollouts} WHERE rollout_id = ANY(?)',
      rolloutIds,
    )
    const statuses = new Map(rows.map(readState).map(({ rolloutId, status }) => [rolloutId, status]))
    return rolloutIds.map((rolloutId) => statuses.get(rolloutId) ?? null)
  }

  findRollouts(selection: RolloutSelection): Promise<Found> {
    return this.#find('{rollouts}', where(selection, dialect), arrange(selection, dialect))
  }

  async readRollouts(ids: readonly number[]): Promise<Rollout[]> {
    const rows = await this.#database.all('SELECT * FROM {rollouts} WHERE id = ANY(?)', ids)
    const latest = await this.#database.all(
      `SELECT * FROM {attempts} AS attempts WHERE rollout_id = ANY(?) AND sequence_id =
         (SELECT max(sequence_id) FROM {attempts} AS other WHERE other.rollout_id = attempts.rollout_id)`,
      rows.map((row) => text(row, 'rollout_id')),
    )
    const attempts = new Map(latest.map(readAttempt).map((attempt) => [attempt.rolloutId, attempt]))
    return inOrder(ids, rows, (row) => {
      const rollout = readRollout(row)
      const attempt = attempts.get(rollout.rolloutId)
      return attempt === undefined ? rollout : { ...rollout, attempt }
    })
  }

  listAttempts(selection: AttemptSelection): Promise<Listed<Attempt>> {
    const always = { sql: 'rollout_id = ?', values: [selection.rolloutId] }
    const filter = where(selection, dialect, [always])
    return this.#list('{attempts}', filter, arrange(selection, dialect), readAttempt)
  }

  addSpans(spans: readonly Span[], options: AddSpansOptions): Promise<AddedSpans> {
    return addSpans(this.#database, spans, options)
  }

  findSpans(selection: SpanSelection): Promise<Found> {
    const filter = where(selection, dialect, ofAttempt(selection))
    return this.#find('{spans}', filter, arrange(selection, dialect, SPAN_COLUMNS))
  }

  async readSpans(ids: readonly number[]): Promise<string[]> {
    const rows = await this.#database.all('SELECT id, data FROM {spans} WHERE id = ANY(?)', ids)
    return inOrder(ids, rows, (row) => text(row, 'data'))
  }

  async readSpanList(ids: readonly number[]): Promise<Uint8Array<ArrayBuffer>> {
    return encodeList(await this.readSpans(ids))
  }

  nextSequenceIds(rolloutIds: readonly string[]): Promise<number[]> {
    return this.#database.transaction(async (connection) => {
      const counts = new Map<string, number>()
      for (const id of rolloutIds) counts.set(id, (counts.get(id) ?? 0) + 1)
      const next = new Map<string, number>()
      // In one order for all, so that nobody waits for somebody who waits for them.
      for (const [id, count] of [...counts].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
        const row = await connection.get(
          `INSERT INTO {sequences} AS sequences (rollout_id, last) VALUES (?, ?)
           ON CONFLICT (rollout_id) DO UPDATE SET last = sequences.last + excluded.last RETURNING last`,
          id,
          count,
        )
        next.set(id, number(row ?? {}, 'last') - count)
      }
      return rolloutIds.map((id) => {
        const given = (next.get(id) ?? 0) + 1
        next.set(id, given)
        return given
      })
    })
  }

  putResources(resourcesId: string, resources: NamedResources): Promise<ResourcesUpdate> {
    return this.#database.transaction(async (connection) => {
      const { sql, values } = putResources({ resourcesId, updateTime: connection.now, resources }, dialect)
      return readResources((await connection.get(sql, ...values)) ?? {})
    }, true)
  }

  async latestResources(): Promise<ResourcesUpdate | undefined> {
    const row = await this.#database.get('SELECT * FROM {resources} ORDER BY place DESC LIMIT 1')
    return row && readResources(row)
  }

  listResources(selection: ResourcesSelection): Promise<Listed<ResourcesUpdate>> {
    const filter = where(selection, dialect)
    return this.#list('{resources}', filter, arrange(selection, dialect), readResources)
  }

  updateWorker(workerId: string, heartbeatStats: Worker['heartbeatStats'] | undefined): Promise<Worker> {
    return this.#database.transaction(async (connection) => {
      const stats = heartbeatStats && { heartbeatStats }
      await note(connection, { workerId, lastHeartbeatTime: connection.now, ...stats })
      return (await findWorker(connection, workerId)) ?? readWorker({})
    })
  }

  listWorkers(selection: WorkerSelection): Promise<Listed<Worker>> {
    return this.#list('{workers}', where(selection, dialect), arrange(selection, dialect), readWorker)
  }

  async count(): Promise<Counts> {
    const tables = ['rollouts', 'attempts', 'spans', 'resources', 'workers'] as const
    const counts = tables.map((table) => `(SELECT count(*) FROM {${table}}) AS ${table}`)
    const row = (await this.#database.get(`SELECT ${counts.join(', ')}`)) ?? {}
    return {
      rollouts: number(row, 'rollouts'),
      attempts: number(row, 'attempts'),
      spans: number(row, 'spans'),
      resources: number(row, 'resources'),
      workers: number(row, 'workers'),
    }
  }

  close(): Promise<void> {
    return this.#database.close()
  }

  async #find(table: string, filter: Clause, page: Clause): Promise<Found> {
    const { total, items } = await this.#list(table, filter, page, (row) => number(row, 'id'), 'id')
    return { total, ids: items }
  }

  async #list<Item>(
    table: string,
    filter: Clause,
    page: Clause,
    read: (row: Row) => Item,
    columns = '*',
  ): Promise<Listed<Item>> {
    const from = `FROM ${table} WHERE ${filter.sql}`
    const rows = await this.#database.all(
      `SELECT ${columns} ${from} ${page.sql}`,
      ...filter.values,
      ...page.values,
    )
    // A page that is all needs no second look at what there is.
    if (page.values.length === 0) return { total: rows.length, items: rows.map(read) }
    const total = await this.#database.get(`SELECT count(*) AS n ${from}`, ...filter.values)
    return { total: number(total ?? {}, 'n'), items: rows.map(read) }
  }
}

function inOrder<T>(ids: readonly number[], rows: readonly Row[], read: (row: Row) => T): T[] {
  const byId = new Map(rows.map((row) => [number(row, 'id'), row]))
  return ids.map((id) => byId.get(id)).flatMap((row) => (row === undefined ? [] : [read(row)]))
}
