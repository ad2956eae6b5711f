import type { RolloutState, WorkerChange } from '../lifecycle.ts'
import { isLimited, isQueued, newWorker } from '../lifecycle.ts'
import { namedResourcesToJSON } from '../json.ts'
import type { ResourcesUpdate } from '../resources.ts'
import type { Attempt, Rollout, Worker } from '../types.ts'
import type { Clause, Dialect, Value } from './select.ts'

/*
 * The statements that write, for databases of all kinds: `{name}` is a table, and `?` a value.
 */

/** A rollout whose input and metadata are JSON texts already. */
export type RolloutRow = Omit<Rollout, 'input' | 'metadata' | 'attempt'> & { input: string; metadata: string }

const ROLLOUT_COLUMNS =
  'rollout_id, input, start_time, end_time, mode, resources_id, status, config, metadata, limited, queued'

/** Does nothing about those that are there already. */
export function insertRollout(rollouts: readonly RolloutRow[], { nextPlace }: Dialect): Clause {
  const rows = rollouts.map(
    ({ status }) => `(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ${isQueued(status) ? nextPlace : 'NULL'})`,
  )
  return {
    sql: `INSERT INTO {rollouts} (${ROLLOUT_COLUMNS}) VALUES ${rows.join(', ')} ON CONFLICT (rollout_id) DO NOTHING`,
    values: rollouts.flatMap((rollout) => [
      rollout.rolloutId,
      rollout.input,
      rollout.startTime,
      rollout.endTime,
      rollout.mode,
      rollout.resourcesId,
      rollout.status,
      JSON.stringify(rollout.config),
      rollout.metadata,
      limited(rollout),
    ]),
  }
}

/** Writes what an update may have changed. `turned` where it gave the status. */
export function saveRollout(rollout: Rollout, turned: boolean, dialect: Dialect): Clause {
  return {
    sql: `UPDATE {rollouts} SET input = ?, end_time = ?, mode = ?, resources_id = ?, status = ?, config = ?,
            metadata = ?, limited = ?${turned ? queue(rollout, dialect) : ''} WHERE rollout_id = ?`,
    values: [
      JSON.stringify(rollout.input),
      rollout.endTime,
      rollout.mode,
      rollout.resourcesId,
      rollout.status,
      JSON.stringify(rollout.config),
      JSON.stringify(rollout.metadata),
      limited(rollout),
      rollout.rolloutId,
    ],
  }
}

/** Writes what an attempt has made of its rollout. */
export function turnRollout(rollout: RolloutState, dialect: Dialect): Clause {
  return {
    sql: `UPDATE {rollouts} SET status = ?, end_time = ?${queue(rollout, dialect)} WHERE rollout_id = ?`,
    values: [rollout.status, rollout.endTime, rollout.rolloutId],
  }
}

/** What is in the queue keeps its place. */
function queue({ status }: RolloutState, { nextPlace }: Dialect): string {
  return isQueued(status) ? `, queued = coalesce(queued, ${nextPlace})` : ''
}

function limited({ config }: Pick<Rollout, 'config'>): number {
  return isLimited(config) ? 1 : 0
}

export function insertAttempt(attempts: readonly Attempt[]): Clause {
  return {
    sql: `INSERT INTO {attempts} (rollout_id, attempt_id, sequence_id, start_time, end_time, status, worker_id,
            last_heartbeat_time, metadata) VALUES ${attempts.map(() => '(?, ?, ?, ?, ?, ?, ?, ?, ?)').join(', ')}`,
    values: attempts.flatMap((attempt) => [
      attempt.rolloutId,
      attempt.attemptId,
      attempt.sequenceId,
      attempt.startTime,
      attempt.endTime,
      attempt.status,
      attempt.workerId,
      attempt.lastHeartbeatTime,
      JSON.stringify(attempt.metadata),
    ]),
  }
}

export function saveAttempt(attempt: Attempt): Clause {
  return {
    sql: `UPDATE {attempts} SET status = ?, worker_id = ?, last_heartbeat_time = ?, metadata = ?, end_time = ?
          WHERE rollout_id = ? AND attempt_id = ?`,
    values: [
      attempt.status,
      attempt.workerId,
      attempt.lastHeartbeatTime,
      JSON.stringify(attempt.metadata),
      attempt.endTime,
      attempt.rolloutId,
      attempt.attemptId,
    ],
  }
}

const WORKER_COLUMNS = {
  status: 'status',
  heartbeatStats: 'heartbeat_stats',
  lastHeartbeatTime: 'last_heartbeat_time',
  lastDequeueTime: 'last_dequeue_time',
  lastBusyTime: 'last_busy_time',
  lastIdleTime: 'last_idle_time',
  currentRolloutId: 'current_rollout_id',
  currentAttemptId: 'current_attempt_id',
} as const satisfies Partial<Record<keyof Worker, string>>

/** Changes the given fields, of a new worker where it is not there. */
export function saveWorker(change: WorkerChange): Clause {
  const worker: Worker = { ...newWorker(change.workerId), ...change }
  const columns = Object.values(WORKER_COLUMNS)
  const changed = Object.entries(WORKER_COLUMNS).flatMap(([field, column]) =>
    field in change ? [column] : [],
  )
  const values: Value[] = [
    worker.workerId,
    worker.status,
    JSON.stringify(worker.heartbeatStats),
    worker.lastHeartbeatTime,
    worker.lastDequeueTime,
    worker.lastBusyTime,
    worker.lastIdleTime,
    worker.currentRolloutId,
    worker.currentAttemptId,
  ]
  return {
    sql: `INSERT INTO {workers} (worker_id, ${columns.join(', ')}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
          ON CONFLICT (worker_id) DO UPDATE SET ${changed.map((column) => `${column} = excluded.${column}`).join(', ')}`,
    values,
  }
}

/** One version more where they are there already; the latest in any case. */
export function putResources(
  { resourcesId, updateTime, resources }: Pick<ResourcesUpdate, 'resourcesId' | 'updateTime' | 'resources'>,
  { nextPlace }: Pick<Dialect, 'nextPlace'>,
): Clause {
  return {
    sql: `INSERT INTO {resources} AS resources (resources_id, create_time, update_time, version, resources, place)
          VALUES (?, ?, ?, 1, ?, ${nextPlace})
          ON CONFLICT (resources_id) DO UPDATE SET update_time = excluded.update_time,
            version = resources.version + 1, resources = excluded.resources, place = excluded.place
          RETURNING resources_id, create_time, update_time, version, resources`,
    values: [resourcesId, updateTime, updateTime, JSON.stringify(namedResourcesToJSON(resources))],
  }
}
