import { type NewRollout, type StartedRollout, type UpdatedAttempt, missing, now } from '../engine.ts'
import { type RolloutState, type WorkerChange, newAttempt, updatedAttempt } from '../lifecycle.ts'
import {
  type Row,
  STATE,
  number,
  readAttempt,
  readRollout,
  readState,
  readWorker,
  text,
} from '../sql/records.ts'
import { LATEST, type Value } from '../sql/select.ts'
import { insertAttempt, insertRollout, saveAttempt, saveWorker, turnRollout } from '../sql/statements.ts'
import type { Attempt, AttemptUpdate, Rollout, RolloutStatus, Worker } from '../types.ts'
import { type Database, dialect } from './database.ts'

/** What operations are made of, inside their transaction. */
export class Rollouts {
  readonly #db: Database

  constructor(db: Database) {
    this.#db = db
  }

  /** Leaves a rollout or attempt that is there as it is. */
  start(request: StartedRollout): { attempt: Attempt; isNew: boolean } {
    const { rolloutId, attemptId, workerId, startTime = now(), status } = request
    this.insert(request, status, startTime)
    const known = this.attempt(rolloutId, attemptId)
    if (known !== undefined) return { attempt: known, isNew: false }
    return { attempt: this.begin(rolloutId, attemptId, workerId, startTime, status), isNew: true }
  }

  insert(request: NewRollout, status: RolloutStatus, startTime: number): void {
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

  begin(
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

  update(rolloutId: string, attemptId: string, update: AttemptUpdate): UpdatedAttempt {
    const rollout = this.state(rolloutId)
    const latest = this.attempt(rolloutId, 'latest')
    const attempt = attemptId === 'latest' ? latest : this.attempt(rolloutId, attemptId)
    if (rollout === undefined || attempt === undefined) throw missing(rolloutId, attemptId)
    const change = updatedAttempt(rollout, attempt, attempt.attemptId === latest?.attemptId, update, now())
    this.#db.run(saveAttempt(change.attempt))
    if (change.rollout !== undefined) this.#db.run(turnRollout(change.rollout, dialect))
    this.note(change.worker)
    return { attempt: change.attempt, turn: change.rollout && { rolloutId, status: change.rollout.status } }
  }

  note(change: WorkerChange | undefined): void {
    if (change !== undefined) this.#db.run(saveWorker(change))
  }

  rollout(rolloutId: string): Rollout {
    const row = this.#get('SELECT * FROM rollouts WHERE rollout_id = ?', rolloutId)
    if (row === undefined) throw missing(rolloutId)
    return readRollout(row)
  }

  state(rolloutId: string): RolloutState | undefined {
    const row = this.#get(`SELECT ${STATE} FROM rollouts WHERE rollout_id = ?`, rolloutId)
    return row && readState(row)
  }

  attempt(rolloutId: string, attemptId: string): Attempt | undefined {
    const row =
      attemptId === 'latest'
        ? this.#get(`SELECT * FROM attempts WHERE ${LATEST}`, rolloutId)
        : this.#get('SELECT * FROM attempts WHERE rollout_id = ? AND attempt_id = ?', rolloutId, attemptId)
    return row && readAttempt(row)
  }

  worker(workerId: string): Worker | undefined {
    const row = this.#get('SELECT * FROM workers WHERE worker_id = ?', workerId)
    return row && readWorker(row)
  }

  #get(sql: string, ...values: Value[]): Row | undefined {
    return this.#db.get({ sql, values })
  }

  #run(sql: string, ...values: Value[]): void {
    this.#db.run({ sql, values })
  }
}
