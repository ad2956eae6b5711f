import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite'
import { AglError, type Span } from '@agl/core'
import {
  DEFAULT_CONFIG,
  type Engine,
  type Found,
  type NewRollout,
  type Result,
  isFinished,
  now,
  rolloutStatus,
} from '../engine.ts'
import type { RolloutSelection, SpanSelection } from '../query.ts'
import type {
  AddSpansOptions,
  AddedSpans,
  Attempt,
  AttemptUpdate,
  AttemptedRollout,
  Rollout,
} from '../types.ts'
import { storeError } from './errors.ts'
import { openFile } from './file.ts'
import { type Row, number, readAttempt, readRollout, text } from './records.ts'
import { type Clause, arrange, where } from './select.ts'
import { SpanWriter } from './span-writer.ts'

const GIVEN = 'rollout_id = ? AND attempt_id = ?'
const LATEST = 'rollout_id = ? ORDER BY sequence_id DESC LIMIT 1'

/** One connection to a store file. Every write is a transaction of its own. */
export class SqliteEngine implements Engine {
  readonly #path: string
  readonly #db: DatabaseSync
  readonly #statements = new Map<string, StatementSync>()

  /** @throws AglError store_unavailable, store_schema */
  constructor(path: string) {
    this.#path = path
    this.#db = openFile(path)
  }

  startRollout(request: NewRollout): AttemptedRollout {
    return this.#write(() => {
      this.#start(request)
      const attempt = this.#attempt(request.rolloutId, request.attemptId)
      const row = this.#get('SELECT * FROM rollouts WHERE rollout_id = ?', [request.rolloutId])
      if (row === undefined || attempt === undefined) throw missing(request.rolloutId, request.attemptId)
      return { ...readRollout(row), attempt }
    })
  }

  /** Leaves a rollout or attempt that is there as it is. */
  #start({ rolloutId, attemptId, startTime, status, ...rest }: NewRollout): void {
    this.#run(
      `INSERT INTO rollouts (rollout_id, input, start_time, mode, resources_id, status, config, metadata)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
      [
        rolloutId,
        rest.input,
        startTime,
        rest.mode,
        rest.resourcesId,
        status,
        JSON.stringify(DEFAULT_CONFIG),
        rest.metadata,
      ],
    )
    const attempts = this.#run(
      `INSERT INTO attempts (rollout_id, attempt_id, sequence_id, start_time, status, metadata)
       VALUES (?, ?, (SELECT count(*) + 1 FROM attempts WHERE rollout_id = ?), ?, ?, '{}') ON CONFLICT DO NOTHING`,
      [rolloutId, attemptId, rolloutId, startTime, status],
    )
    if (attempts > 0) this.#run('UPDATE rollouts SET status = ? WHERE rollout_id = ?', [status, rolloutId])
  }

  updateAttempt(rolloutId: string, attemptId: string, update: AttemptUpdate): Attempt {
    return this.#write(() => {
      const latest = this.#attempt(rolloutId, 'latest')
      const attempt = attemptId === 'latest' ? latest : this.#attempt(rolloutId, attemptId)
      if (attempt === undefined) throw missing(rolloutId, attemptId)
      const { endTime = now(), ...changes } = update
      const changed: Attempt = { ...attempt, ...changes }
      if (update.status !== undefined && isFinished(update.status)) changed.endTime = endTime
      this.#run(
        `UPDATE attempts SET status = ?, worker_id = ?, last_heartbeat_time = ?, metadata = ?, end_time = ?
         WHERE rollout_id = ? AND attempt_id = ?`,
        [
          changed.status,
          changed.workerId,
          changed.lastHeartbeatTime,
          JSON.stringify(changed.metadata),
          changed.endTime,
          rolloutId,
          attempt.attemptId,
        ],
      )
      if (update.status !== undefined && attempt.attemptId === latest?.attemptId) {
        const status = rolloutStatus(update.status)
        this.#run('UPDATE rollouts SET status = ?, end_time = coalesce(?, end_time) WHERE rollout_id = ?', [
          status,
          isFinished(status) ? endTime : null,
          rolloutId,
        ])
      }
      return changed
    })
  }

  findRollouts(selection: RolloutSelection): Found {
    return this.#find('rollouts', where(selection), arrange(selection))
  }

  readRollouts(ids: readonly number[]): Rollout[] {
    return this.#read(() =>
      this.#rows('SELECT * FROM rollouts WHERE id = ?', ids).map((row) => {
        const rollout = readRollout(row)
        const attempt = this.#attempt(rollout.rolloutId, 'latest')
        return attempt === undefined ? rollout : { ...rollout, attempt }
      }),
    )
  }

  addSpans(spans: readonly Span[], options: AddSpansOptions): AddedSpans {
    return this.#write(() => {
      const writer = new SpanWriter({
        run: (sql, values) => this.#run(sql, values),
        get: (sql, values) => this.#get(sql, values),
        start: (request) => this.#start(request),
        missing,
      })
      for (const span of spans) writer.add(span, options)
      return writer.finish()
    })
  }

  findSpans(selection: SpanSelection): Found {
    const { rolloutId, attemptId } = selection
    const always: Clause[] = [
      { sql: 'rollout = (SELECT id FROM rollouts WHERE rollout_id = ?)', values: [rolloutId] },
    ]
    if (attemptId === 'latest') {
      always.push({ sql: `attempt = (SELECT id FROM attempts WHERE ${LATEST})`, values: [rolloutId] })
    } else if (attemptId !== undefined) {
      always.push({
        sql: `attempt = (SELECT id FROM attempts WHERE ${GIVEN})`,
        values: [rolloutId, attemptId],
      })
    }
    return this.#find('spans', where(selection, always), arrange(selection))
  }

  readSpans(ids: readonly number[]): string[] {
    return this.#read(() =>
      this.#rows('SELECT data FROM spans WHERE id = ?', ids).map((row) => text(row, 'data')),
    )
  }

  nextSequenceIds(rolloutIds: readonly string[]): number[] {
    const next = `INSERT INTO sequences (rollout_id, last) VALUES (?, 1)
                  ON CONFLICT (rollout_id) DO UPDATE SET last = last + 1 RETURNING last`
    return this.#write(() =>
      rolloutIds.map((rolloutId) => number(this.#get(next, [rolloutId]) ?? {}, 'last')),
    )
  }

  count(): Result<'count'> {
    return this.#read(() => {
      const of = (table: string): number => number(this.#get(`SELECT count(*) AS n FROM ${table}`) ?? {}, 'n')
      return { rollouts: of('rollouts'), attempts: of('attempts'), spans: of('spans') }
    })
  }

  close(): void {
    this.#guard(() => this.#db.close())
  }

  #attempt(rolloutId: string, attemptId: string): Attempt | undefined {
    const row =
      attemptId === 'latest'
        ? this.#get(`SELECT * FROM attempts WHERE ${LATEST}`, [rolloutId])
        : this.#get(`SELECT * FROM attempts WHERE ${GIVEN}`, [rolloutId, attemptId])
    return row && readAttempt(row)
  }

  #find(table: string, filter: Clause, page: Clause): Found {
    return this.#read(() => {
      const total = this.#get(`SELECT count(*) AS n FROM ${table} WHERE ${filter.sql}`, filter.values)
      const rows = this.#statement(`SELECT id FROM ${table} WHERE ${filter.sql} ${page.sql}`).all(
        ...filter.values,
        ...page.values,
      )
      return { total: number(total ?? {}, 'n'), ids: rows.map((row) => number(row, 'id')) }
    })
  }

  #rows(sql: string, ids: readonly number[]): Row[] {
    return ids.map((id) => this.#get(sql, [id])).filter((row) => row !== undefined)
  }

  #statement(sql: string): StatementSync {
    const known = this.#statements.get(sql)
    if (known !== undefined) return known
    const statement = this.#db.prepare(sql)
    this.#statements.set(sql, statement)
    return statement
  }

  #get(sql: string, values: SQLInputValue[] = []): Row | undefined {
    return this.#statement(sql).get(...values)
  }

  /** Returns how many rows changed. */
  #run(sql: string, values: SQLInputValue[] = []): number {
    return Number(this.#statement(sql).run(...values).changes)
  }

  /** Takes the write lock at once: one that is got later can fail where the data was read in between. */
  #write<T>(work: () => T): T {
    return this.#transaction('BEGIN IMMEDIATE', work)
  }

  /** Sees one state of the file, whatever other processes write meanwhile. */
  #read<T>(work: () => T): T {
    return this.#transaction('BEGIN', work)
  }

  #transaction<T>(begin: string, work: () => T): T {
    return this.#guard(() => {
      this.#run(begin)
      try {
        const result = work()
        this.#run('COMMIT')
        return result
      } finally {
        // SQLite has rolled back by itself after some errors, such as a full disk.
        if (this.#db.isTransaction) this.#run('ROLLBACK')
      }
    })
  }

  #guard<T>(work: () => T): T {
    try {
      return work()
    } catch (error) {
      throw storeError(error, this.#path)
    }
  }
}

function missing(rolloutId: string, attemptId: string): AglError {
  return new AglError(
    'not_found',
    `The store has no attempt "${attemptId}" of a rollout "${rolloutId}"; start it first.`,
  )
}
