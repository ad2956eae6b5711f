import { AglError, type Span } from '@agl/core'
import { DEFAULT_CONFIG } from './lifecycle.ts'
import type {
  AttemptSelection,
  ResourcesSelection,
  RolloutSelection,
  SpanSelection,
  WorkerSelection,
} from './query.ts'
import type { NamedResources, ResourcesUpdate } from './resources.ts'
import type {
  AddSpansOptions,
  AddedSpans,
  Attempt,
  AttemptUpdate,
  AttemptedRollout,
  Rollout,
  RolloutConfig,
  RolloutMode,
  RolloutStatus,
  RolloutUpdate,
  Worker,
} from './types.ts'

/** A rollout to make, checked, with its defaults; `input` and `metadata` as JSON text. */
export interface NewRollout {
  rolloutId: string
  input: string
  metadata: string
  mode: RolloutMode | null
  /** Null is that of the latest resources. */
  resourcesId: string | null
  config: RolloutConfig
}

/** One that begins at once with an attempt. */
export interface StartedRollout extends NewRollout {
  attemptId: string
  workerId: string | null
  /** Undefined is now. */
  startTime: number | undefined
  status: 'preparing' | 'running'
}

/** Items that matched, by the engine's own ids, in order; rows of spans never change once written. */
export interface Found {
  total: number
  ids: number[]
}

export interface Listed<Item> {
  total: number
  items: Item[]
}

export interface Counts {
  rollouts: number
  attempts: number
  spans: number
  resources: number
  workers: number
}

/** A rollout that got another status by the way, for those who wait for that. */
export interface Turn {
  rolloutId: string
  status: RolloutStatus
}

export interface UpdatedAttempt {
  attempt: Attempt
  turn: Turn | undefined
}

/**
 * What every backend does, each in a transaction of its own. `LocalStore` calls it, directly or in another thread, so
 * arguments and results are all structured-cloneable.
 */
interface Operations {
  enqueueRollouts: { args: [requests: readonly NewRollout[]]; result: Rollout[] }
  dequeueRollouts: { args: [limit: number, workerId: string | null]; result: AttemptedRollout[] }
  /** Rollouts in the queue, counted up to `limit`; one that is passed over when it is taken may be among them. */
  countQueued: { args: [limit: number]; result: number }
  startRollout: { args: [request: StartedRollout]; result: AttemptedRollout }
  startAttempt: {
    args: [rolloutId: string, attemptId: string, workerId: string | null]
    result: AttemptedRollout
  }
  updateRollout: { args: [rolloutId: string, update: RolloutUpdate]; result: Rollout }
  updateAttempt: {
    args: [rolloutId: string, attemptId: string, update: AttemptUpdate]
    result: UpdatedAttempt
  }
  /** Ends attempts that took too long or gave no sign of life. */
  watch: { args: []; result: Turn[] }
  /** Null for a rollout that is not there. */
  readStatuses: { args: [rolloutIds: readonly string[]]; result: (RolloutStatus | null)[] }
  findRollouts: { args: [selection: RolloutSelection]; result: Found }
  readRollouts: { args: [ids: readonly number[]]; result: Rollout[] }
  listAttempts: { args: [selection: AttemptSelection]; result: Listed<Attempt> }
  addSpans: { args: [spans: readonly Span[], options: AddSpansOptions]; result: AddedSpans }
  findSpans: { args: [selection: SpanSelection]; result: Found }
  /** The spans as JSON texts. */
  readSpans: { args: [ids: readonly number[]]; result: string[] }
  /** The spans as the bytes of a JSON list, without its brackets: for whoever only hands them on. */
  readSpanList: { args: [ids: readonly number[]]; result: Uint8Array<ArrayBuffer> }
  nextSequenceIds: { args: [rolloutIds: readonly string[]]; result: number[] }
  /** Replaces those that are there under the id. */
  putResources: { args: [resourcesId: string, resources: NamedResources]; result: ResourcesUpdate }
  latestResources: { args: []; result: ResourcesUpdate | undefined }
  listResources: { args: [selection: ResourcesSelection]; result: Listed<ResourcesUpdate> }
  /** Statistics that are undefined stay as they are. */
  updateWorker: {
    args: [workerId: string, heartbeatStats: Worker['heartbeatStats'] | undefined]
    result: Worker
  }
  listWorkers: { args: [selection: WorkerSelection]; result: Listed<Worker> }
  count: { args: []; result: Counts }
  close: { args: []; result: void }
}

export type Operation = keyof Operations
export type Arguments<Op extends Operation> = Operations[Op]['args']
export type Result<Op extends Operation> = Operations[Op]['result']

export type Engine = { [Op in Operation]: (...args: Arguments<Op>) => Result<Op> }

export type AsyncEngine = { [Op in Operation]: (...args: Arguments<Op>) => Promise<Result<Op>> }

/** What somebody else has done to the store. */
export type News = { queued: number } | { finished: readonly string[] }

/** How a store reaches its engine. */
export interface Transport {
  call<Op extends Operation>(operation: Op, ...args: Arguments<Op>): Promise<Result<Op>>
  /** For the moment in which nothing asynchronous runs any more; absent where there is no way. */
  sync?<T>(work: (engine: Engine) => T): T
  /** Whether calls are done in the order in which they are made, so that several may be on their way at once. */
  readonly ordered: boolean
  /**
   * Milliseconds after which those who wait look again by themselves, since others may have written; undefined where
   * nobody else can.
   */
  readonly poll: number | undefined
  /** Hears what others do, where the backend can tell. */
  listen?(listener: (news: News) => void): void
  close(): Promise<void>
}

export function now(): number {
  return Date.now() / 1000
}

/** Ids look as Agent Lightning's do: a prefix and random hex digits. */
export function newId(prefix: 'ro' | 'at' | 'rs'): string {
  return `${prefix}-${crypto
    .randomUUID()
    .replaceAll('-', '')
    .slice(prefix === 'at' ? -8 : -12)}`
}

/** The rollout that spans make necessary which came without one. */
export function impliedRollout(rolloutId: string, attemptId: string, startTime: number): StartedRollout {
  const nothing = { input: 'null', metadata: '{}', mode: null, resourcesId: null, workerId: null }
  return { rolloutId, attemptId, startTime, status: 'running', config: DEFAULT_CONFIG, ...nothing }
}

export function missing(rolloutId: string, attemptId?: string): AglError {
  const what = attemptId === undefined ? 'rollout' : `attempt "${attemptId}" of a rollout`
  return new AglError('not_found', `The store has no ${what} "${rolloutId}"; start it first.`)
}
