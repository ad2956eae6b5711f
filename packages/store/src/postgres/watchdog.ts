import type { Turn } from '../engine.ts'
import { ailment } from '../lifecycle.ts'
import { number, readAttempt, text } from '../sql/records.ts'
import type { Value } from '../sql/select.ts'
import type { Attempt } from '../types.ts'
import type { Connection, Database } from './database.ts'
import { changeAttempt, lockRollout } from './rollouts.ts'

/** The latest attempts that take too long or give no sign of life by the database's clock, of one rollout or of all. */
async function findAiling(
  from: Pick<Connection, 'all'>,
  rolloutId?: string,
): Promise<Pick<Attempt, 'rolloutId' | 'attemptId' | 'status'>[]> {
  const values: Value[] = rolloutId === undefined ? [] : [rolloutId]
  const rows = await from.all(
    `SELECT attempts.*, rollouts.config, extract(epoch FROM clock_timestamp())::float8 AS now
     FROM {rollouts} AS rollouts JOIN {attempts} AS attempts ON attempts.rollout_id = rollouts.rollout_id
     WHERE rollouts.limited = 1 AND rollouts.status IN ('preparing', 'running')
       ${rolloutId === undefined ? '' : 'AND rollouts.rollout_id = ?'}
       AND attempts.sequence_id =
         (SELECT max(sequence_id) FROM {attempts} AS other WHERE other.rollout_id = rollouts.rollout_id)`,
    ...values,
  )
  return rows.flatMap((row) => {
    const attempt = readAttempt(row)
    const status = ailment(attempt, JSON.parse(text(row, 'config')), number(row, 'now'))
    return status === undefined ? [] : [{ ...attempt, status }]
  })
}

export async function watch(database: Database): Promise<Turn[]> {
  const turns: Turn[] = []
  for (const { rolloutId } of await findAiling(database)) {
    const turn = await database.transaction(async (connection) => {
      // Somebody else may have looked at the same time, or the attempt given a sign of life.
      await lockRollout(connection, rolloutId)
      const [ailing] = await findAiling(connection, rolloutId)
      if (ailing === undefined) return undefined
      const { attemptId, status } = ailing
      return (await changeAttempt(connection, rolloutId, attemptId, { status })).turn
    })
    if (turn !== undefined) turns.push(turn)
  }
  return turns
}
