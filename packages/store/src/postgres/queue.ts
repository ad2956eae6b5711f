import { newId } from '../engine.ts'
import { isQueued, newAttempt } from '../lifecycle.ts'
import { number, readRollout, text } from '../sql/records.ts'
import { insertAttempt } from '../sql/statements.ts'
import type { AttemptedRollout } from '../types.ts'
import type { Connection } from './database.ts'

/** Undefined where the queue is empty; rollouts that have another status by now are passed over. */
export async function take(
  connection: Connection,
  limit: number,
  workerId: string | null,
): Promise<AttemptedRollout[] | undefined> {
  const rows = await connection.all(
    'SELECT * FROM {rollouts} WHERE queued IS NOT NULL ORDER BY queued LIMIT ? FOR UPDATE SKIP LOCKED',
    limit,
  )
  if (rows.length === 0) return undefined
  const waiting = rows.map(readRollout).filter(({ status }) => isQueued(status))
  const ids = waiting.map(({ rolloutId }) => rolloutId)
  const counts = await connection.all(
    'SELECT rollout_id, count(*) AS n FROM {attempts} WHERE rollout_id = ANY(?) GROUP BY rollout_id',
    ids,
  )
  const attempts = new Map(counts.map((row) => [text(row, 'rollout_id'), number(row, 'n')]))
  const taken = waiting.map((rollout): AttemptedRollout => {
    const { rolloutId } = rollout
    const given = { rolloutId, attemptId: newId('at'), workerId, startTime: connection.now }
    const attempt = newAttempt(given, attempts.get(rolloutId) ?? 0)
    return { ...rollout, status: 'preparing', attempt }
  })
  if (taken.length > 0) await connection.run(insertAttempt(taken.map(({ attempt }) => attempt)))
  await connection.run({
    sql: `UPDATE {rollouts} SET queued = NULL,
            status = CASE WHEN status IN ('queuing', 'requeuing') THEN 'preparing' ELSE status END
          WHERE id = ANY(?)`,
    values: [rows.map((row) => number(row, 'id'))],
  })
  return taken
}
