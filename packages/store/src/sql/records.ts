import { AglError } from '@agl/core'
import {
  ATTEMPT_STATUSES,
  MODES,
  ROLLOUT_STATUSES,
  WORKER_STATUSES,
  namedResourcesFromJSON,
} from '../json.ts'
import type { RolloutState } from '../lifecycle.ts'
import type { ResourcesUpdate } from '../resources.ts'
import type { Attempt, Rollout, Worker } from '../types.ts'

export type Row = Record<string, unknown>

/** What `readState` needs. */
export const STATE = 'rollout_id, status, end_time, config'

export function readState(row: Row): RolloutState {
  return {
    rolloutId: text(row, 'rollout_id'),
    endTime: optionalNumber(row, 'end_time'),
    status: oneOf(ROLLOUT_STATUSES, text(row, 'status')),
    config: JSON.parse(text(row, 'config')),
  }
}

export function readRollout(row: Row): Rollout {
  const mode = optionalText(row, 'mode')
  return {
    ...readState(row),
    input: JSON.parse(text(row, 'input')),
    startTime: number(row, 'start_time'),
    mode: mode === null ? null : oneOf(MODES, mode),
    resourcesId: optionalText(row, 'resources_id'),
    metadata: JSON.parse(text(row, 'metadata')),
  }
}

export function readAttempt(row: Row): Attempt {
  return {
    rolloutId: text(row, 'rollout_id'),
    attemptId: text(row, 'attempt_id'),
    sequenceId: number(row, 'sequence_id'),
    startTime: number(row, 'start_time'),
    endTime: optionalNumber(row, 'end_time'),
    status: oneOf(ATTEMPT_STATUSES, text(row, 'status')),
    workerId: optionalText(row, 'worker_id'),
    lastHeartbeatTime: optionalNumber(row, 'last_heartbeat_time'),
    metadata: JSON.parse(text(row, 'metadata')),
  }
}

export function readResources(row: Row): ResourcesUpdate {
  return {
    resourcesId: text(row, 'resources_id'),
    createTime: number(row, 'create_time'),
    updateTime: number(row, 'update_time'),
    version: number(row, 'version'),
    resources: namedResourcesFromJSON(JSON.parse(text(row, 'resources'))),
  }
}

export function readWorker(row: Row): Worker {
  return {
    workerId: text(row, 'worker_id'),
    status: oneOf(WORKER_STATUSES, text(row, 'status')),
    heartbeatStats: JSON.parse(text(row, 'heartbeat_stats')),
    lastHeartbeatTime: optionalNumber(row, 'last_heartbeat_time'),
    lastDequeueTime: optionalNumber(row, 'last_dequeue_time'),
    lastBusyTime: optionalNumber(row, 'last_busy_time'),
    lastIdleTime: optionalNumber(row, 'last_idle_time'),
    currentRolloutId: optionalText(row, 'current_rollout_id'),
    currentAttemptId: optionalText(row, 'current_attempt_id'),
  }
}

export function text(row: Row, column: string): string {
  return optionalText(row, column) ?? unreadable(column)
}

export function bytes(row: Row, column: string): Uint8Array {
  const value = row[column]
  return value instanceof Uint8Array ? value : unreadable(column)
}

export function number(row: Row, column: string): number {
  return optionalNumber(row, column) ?? unreadable(column)
}

function optionalText(row: Row, column: string): string | null {
  const value = row[column]
  return value === null || typeof value === 'string' ? value : unreadable(column)
}

function optionalNumber(row: Row, column: string): number | null {
  const value = row[column]
  return value === null || typeof value === 'number' ? value : unreadable(column)
}

function oneOf<Known extends string>(known: readonly Known[], value: string): Known {
  return known.find((candidate) => candidate === value) ?? unreadable(value)
}

function unreadable(what: string): never {
  throw new AglError(
    'store_unavailable',
    `The store holds something unexpected under "${what}"; restore a copy, or choose another store.`,
  )
}
