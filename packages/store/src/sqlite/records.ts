import type { SQLOutputValue } from 'node:sqlite'
import { AglError } from '@agl/core'
import type { Attempt, AttemptStatus, Rollout, RolloutMode, RolloutStatus } from '../types.ts'

export type Row = Record<string, SQLOutputValue>

const ROLLOUT_STATUSES: readonly RolloutStatus[] = [
  'queuing',
  'preparing',
  'running',
  'failed',
  'succeeded',
  'cancelled',
  'requeuing',
]
const ATTEMPT_STATUSES: readonly AttemptStatus[] = [
  'preparing',
  'running',
  'failed',
  'succeeded',
  'unresponsive',
  'timeout',
]
const MODES: readonly RolloutMode[] = ['train', 'val', 'test']

export function readRollout(row: Row): Rollout {
  const mode = optionalText(row, 'mode')
  return {
    rolloutId: text(row, 'rollout_id'),
    input: JSON.parse(text(row, 'input')),
    startTime: number(row, 'start_time'),
    endTime: optionalNumber(row, 'end_time'),
    mode: mode === null ? null : oneOf(MODES, mode),
    resourcesId: optionalText(row, 'resources_id'),
    status: oneOf(ROLLOUT_STATUSES, text(row, 'status')),
    config: JSON.parse(text(row, 'config')),
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

export function text(row: Row, column: string): string {
  return optionalText(row, column) ?? unreadable(column)
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
    `The store file holds something unexpected under "${what}"; restore a copy, or choose another path.`,
  )
}
