import type { Span } from '@agl/core'
import type {
  AddSpansOptions,
  AddedSpans,
  Attempt,
  AttemptStatus,
  AttemptUpdate,
  AttemptedRollout,
  Rollout,
  RolloutConfig,
  RolloutMode,
  RolloutStatus,
} from './types.ts'
import type { RolloutSelection, SpanSelection } from './query.ts'

/** A rollout to start, all defaults filled in; `input` and `metadata` as JSON text. */
export interface NewRollout {
  rolloutId: string
  attemptId: string
  input: string
  metadata: string
  mode: RolloutMode | null
  resourcesId: string | null
  startTime: number
  status: 'preparing' | 'running'
}

/** Items that matched, by the engine's own ids, in order; rows of spans never change once written. */
export interface Found {
  total: number
  ids: number[]
}

/**
 * What every backend does, in one synchronous step each. `LocalStore` calls it, directly or in another thread, so
 * arguments and results are all structured-cloneable.
 */
interface Operations {
  startRollout: { args: [request: NewRollout]; result: AttemptedRollout }
  updateAttempt: { args: [rolloutId: string, attemptId: string, update: AttemptUpdate]; result: Attempt }
  findRollouts: { args: [selection: RolloutSelection]; result: Found }
  readRollouts: { args: [ids: readonly number[]]; result: Rollout[] }
  addSpans: { args: [spans: readonly Span[], options: AddSpansOptions]; result: AddedSpans }
  findSpans: { args: [selection: SpanSelection]; result: Found }
  /** The spans as JSON texts. */
  readSpans: { args: [ids: readonly number[]]; result: string[] }
  nextSequenceIds: { args: [rolloutIds: readonly string[]]; result: number[] }
  count: { args: []; result: { rollouts: number; attempts: number; spans: number } }
  close: { args: []; result: void }
}

export type Operation = keyof Operations
export type Arguments<Op extends Operation> = Operations[Op]['args']
export type Result<Op extends Operation> = Operations[Op]['result']

export type Engine = { [Op in Operation]: (...args: Arguments<Op>) => Result<Op> }

/** How a store reaches its engine. */
export interface Transport {
  call<Op extends Operation>(operation: Op, ...args: Arguments<Op>): Promise<Result<Op>>
  /** For the moment in which nothing asynchronous runs any more. */
  sync<T>(work: (engine: Engine) => T): T
  close(): Promise<void>
}

export const DEFAULT_CONFIG: RolloutConfig = {
  timeoutSeconds: null,
  unresponsiveSeconds: null,
  maxAttempts: 1,
  retryCondition: [],
}

/** What the latest attempt's status makes of its rollout. */
export function rolloutStatus(attempt: AttemptStatus): RolloutStatus {
  return attempt === 'timeout' || attempt === 'unresponsive' ? 'failed' : attempt
}

export function isFinished(status: RolloutStatus | AttemptStatus): boolean {
  return status === 'succeeded' || status === 'failed' || status === 'cancelled'
}

export function now(): number {
  return Date.now() / 1000
}
