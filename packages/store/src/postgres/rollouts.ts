import { type NewRollout, type StartedRollout, type Turn, type UpdatedAttempt, missing } from '../engine.ts'
import {
  type RolloutState,
  type WorkerChange,
  isFinished,
  isQueued,
  newAttempt,
  updatedAttempt,
} from '../lifecycle.ts'
import { STATE, number, readAttempt, readRollout, readState, readWorker, text } from '../sql/records.ts'
import { LATEST } from '../sql/select.ts'
import { insertAttempt, insertRollout, saveAttempt, saveWorker, turnRollout } from '../sql/statements.ts'
import type { Attempt, AttemptUpdate, Rollout, RolloutStatus, Worker } from '../types.ts'
import { type Connection, dialect } from './database.ts'

/*
 * What operations are made of, inside their transaction.
 */

/** Nobody else changes the rollout or its attempts until the transaction ends. */
export async function lockRollout(
  connection: Connection,
  rolloutId: string,
  attemptId?: string,
): Promise<RolloutState> {
  const row = await connection.get(
    `SELECT ${STATE} FROM {rollouts} WHERE rollout_id = ? FOR UPDATE`,
    rolloutId,
  )
  if (row === undefined) throw missing(rolloutId, attemptId)
  return readState(row)
}

export async function rolloutOf(connection: Connection, rolloutId: string): Promise<Rollout> {
  const row = await connection.get('SELECT * FROM {rollouts} WHERE rollout_id = ?', rolloutId)
  if (row === undefined) throw missing(rolloutId)
  return readRollout(row)
}

export async function findAttempt(
  connection: Connection,
  rolloutId: string,
  attemptId: string,
): Promise<Attempt | undefined> {
  const row =
    attemptId === 'latest'
      ? await connection.get(`SELECT * FROM {attempts} WHERE ${LATEST}`, rolloutId)
      : await connection.get(
          'SELECT * FROM {attempts} WHERE rollout_id = ? AND attempt_id = ?',
          rolloutId,
          attemptId,
        )
  return row && readAttempt(row)
}

/** Leaves those that are there as they are. */
export async function insertRollouts(
  connection: Connection,
  requests: readonly NewRollout[],
  status: RolloutStatus,
  startTime: number = connection.now,
): Promise<void> {
  if (requests.length === 0) return
  const row = await connection.get('SELECT resources_id FROM {resources} ORDER BY place DESC LIMIT 1')
  const latest = row === undefined ? null : text(row, 'resources_id')
  const rollouts = requests.map((request) => ({
    ...request,
    resourcesId: request.resourcesId ?? latest,
    status,
    startTime,
    endTime: null,
  }))
  await connection.run(insertRollout(rollouts, dialect))
}

/** Adds attempts of rollouts that are locked, which are preparing or running then, as they are. */
export async function begin(connection: Connection, attempts: readonly Attempt[]): Promise<void> {
  const [first] = attempts
  if (first === undefined) return
  await connection.run(insertAttempt(attempts))
  await connection.run({
    sql: 'UPDATE {rollouts} SET status = ? WHERE rollout_id = ANY(?)',
    values: [first.status, attempts.map(({ rolloutId }) => rolloutId)],
  })
}

/** Leaves a rollout or attempt that is there as it is. */
export async function start(
  connection: Connection,
  request: StartedRollout,
): Promise<{ attempt: Attempt; isNew: boolean }> {
  const { rolloutId, attemptId, workerId, startTime = connection.now, status } = request
  await insertRollouts(connection, [request], status, startTime)
  await lockRollout(connection, rolloutId)
  const known = await findAttempt(connection, rolloutId, attemptId)
  if (known !== undefined) return { attempt: known, isNew: false }
  const row = await connection.get('SELECT count(*) AS n FROM {attempts} WHERE rollout_id = ?', rolloutId)
  const given = { rolloutId, attemptId, workerId, startTime }
  const attempt = newAttempt(given, number(row ?? {}, 'n'), status)
  await begin(connection, [attempt])
  return { attempt, isNew: true }
}

export async function findWorker(connection: Connection, workerId: string): Promise<Worker | undefined> {
  const row = await connection.get('SELECT * FROM {workers} WHERE worker_id = ?', workerId)
  return row && readWorker(row)
}

export async function note(connection: Connection, change: WorkerChange | undefined): Promise<void> {
  if (change !== undefined) await connection.run(saveWorker(change))
}

export async function changeAttempt(
  connection: Connection,
  rolloutId: string,
  attemptId: string,
  update: AttemptUpdate,
): Promise<UpdatedAttempt> {
  const rollout = await lockRollout(connection, rolloutId, attemptId)
  const latest = await findAttempt(connection, rolloutId, 'latest')
  const isLatest = attemptId === 'latest' || attemptId === latest?.attemptId
  const attempt = isLatest ? latest : await findAttempt(connection, rolloutId, attemptId)
  if (attempt === undefined) throw missing(rolloutId, attemptId)
  const change = updatedAttempt(rollout, attempt, isLatest, update, connection.now)
  await connection.run(saveAttempt(change.attempt))
  if (change.rollout !== undefined) {
    await connection.run(turnRollout(change.rollout, dialect))
    tell(connection, change.rollout)
  }
  await note(connection, change.worker)
  return { attempt: change.attempt, turn: change.rollout && { rolloutId, status: change.rollout.status } }
}

/** Tells those who wait elsewhere. */
export function tell(connection: Connection, { rolloutId, status }: Turn): void {
  if (isQueued(status)) connection.tell({ queued: 1 })
  if (isFinished(status)) connection.tell({ finished: [rolloutId] })
}
