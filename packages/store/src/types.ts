export type RolloutStatus =
  | 'queuing'
  | 'preparing'
  | 'running'
  | 'failed'
  | 'succeeded'
  | 'cancelled'
  | 'requeuing'

export type AttemptStatus = 'preparing' | 'running' | 'failed' | 'succeeded' | 'unresponsive' | 'timeout'

export type RolloutMode = 'train' | 'val' | 'test'

export type WorkerStatus = 'idle' | 'busy' | 'unknown'

/** How long an attempt may take, and when another one is made. */
export interface RolloutConfig {
  /** From the start of an attempt; null is no limit. */
  timeoutSeconds: number | null
  /** Since the last sign of life of an attempt: a span, or an update of its `lastHeartbeatTime`; null is no limit. */
  unresponsiveSeconds: number | null
  /** At least 1. */
  maxAttempts: number
  /** Statuses of an attempt after which another one is made. */
  retryCondition: AttemptStatus[]
}

/** One try at a rollout. Times are Unix seconds. */
export interface Attempt {
  rolloutId: string
  attemptId: string
  /** Position among the attempts of the rollout, from 1. */
  sequenceId: number
  startTime: number
  endTime: number | null
  status: AttemptStatus
  workerId: string | null
  /** The last sign of life: when the store last got a span of this attempt, or what an update said. */
  lastHeartbeatTime: number | null
  metadata: Record<string, unknown> | null
}

/** One piece of work for an agent, as Agent Lightning v0.3 has it. Times are Unix seconds. */
export interface Rollout {
  rolloutId: string
  input: unknown
  startTime: number
  endTime: number | null
  mode: RolloutMode | null
  resourcesId: string | null
  status: RolloutStatus
  config: RolloutConfig
  metadata: Record<string, unknown> | null
  /** The latest attempt; absent while there is none. */
  attempt?: Attempt
}

export interface AttemptedRollout extends Rollout {
  attempt: Attempt
}

/** Who works on rollouts, as far as the store knows. Times are Unix seconds by the store's clock. */
export interface Worker {
  workerId: string
  status: WorkerStatus
  heartbeatStats: Record<string, unknown> | null
  lastHeartbeatTime: number | null
  lastDequeueTime: number | null
  lastBusyTime: number | null
  lastIdleTime: number | null
  currentRolloutId: string | null
  currentAttemptId: string | null
}

export interface EnqueueRollout {
  /** What the agent is to work on; anything that JSON can say. */
  input: unknown
  mode?: RolloutMode | null
  /** @default that of the latest resources at this moment */
  resourcesId?: string | null
  /** What is left out has its default: no limits, one attempt. */
  config?: Partial<RolloutConfig> | null
  /** Anything that JSON can say. @default {} */
  metadata?: Record<string, unknown> | null
}

export interface StartRollout extends Partial<EnqueueRollout> {
  workerId?: string | null
  /** Ids have at most 1,024 bytes and no NUL characters. @default made by the store */
  rolloutId?: string
  /** Not `latest`, which stands for one. @default made by the store */
  attemptId?: string
  /** Unix seconds. @default now, by the store's clock */
  startTime?: number
  /** @default 'preparing', which the first span turns into 'running' */
  status?: 'preparing' | 'running'
}

export interface StartAttempt {
  workerId?: string | null
  /** Made by the store when left out. */
  attemptId?: string
}

/** What to change of a rollout: what is left out (or undefined) stays, and null is a value. */
export interface RolloutUpdate {
  input?: unknown
  mode?: RolloutMode | null
  resourcesId?: string | null
  status?: RolloutStatus
  /** Replaces the whole: what is left out of it has its default. */
  config?: Partial<RolloutConfig>
  metadata?: Record<string, unknown> | null
}

/** What to change of an attempt: what is left out (or undefined) stays. */
export interface AttemptUpdate {
  status?: AttemptStatus
  workerId?: string
  /**
   * Unix seconds, or 'now': the moment by the store's clock, which is the one that decides whether an attempt is
   * unresponsive.
   */
  lastHeartbeatTime?: number | 'now'
  metadata?: Record<string, unknown>
  /** Unix seconds; used where `status` ends the attempt. @default now, by the store's clock */
  endTime?: number
}

export interface WorkerUpdate {
  heartbeatStats?: Record<string, unknown>
}

export interface DequeueOptions {
  /** Most rollouts to take. @default 1 */
  limit?: number
  workerId?: string | null
  /** Seconds to wait for a first rollout where none is queued. @default 0 */
  timeout?: number
  /** Ends the waiting: the call resolves then, with what it has taken. */
  signal?: AbortSignal
}

export interface WaitOptions {
  /** Seconds to wait at most; null is without end. @default null */
  timeout?: number | null
  /** Ends the waiting: the call resolves then, with what is finished. */
  signal?: AbortSignal
}

export interface AddSpansOptions {
  /**
   * Keep the spans' own sequence ids, got from `nextSequenceIds`, instead of issuing new ones. The store's counter
   * goes on after the highest. A negative one asks for a new one. @default false
   */
  keepSequenceIds?: boolean
  /** Start rollouts and attempts that the store does not have, instead of rejecting with `not_found`. @default false */
  createMissing?: boolean
}

export interface AddedSpans {
  added: number
  /** Spans that the store had already: same rollout, attempt and span id. */
  duplicates: number
  /** Spans that can never be stored, and why. */
  refused: { spanId: string; reason: string }[]
}

export interface Paging<Field extends string> {
  /** Most items to return; -1 is all. @default -1 */
  limit?: number
  /** @default 0 */
  offset?: number
  sortBy?: Field
  /** @default 'asc' */
  sortOrder?: 'asc' | 'desc'
}

export interface Page<Item> {
  items: Item[]
  limit: number
  offset: number
  /** How many matched, before paging. */
  total: number
}

export type RolloutField = 'rolloutId' | 'startTime' | 'endTime' | 'mode' | 'resourcesId' | 'status'

/**
 * Sorted by arrival when `sortBy` is left out. As in Agent Lightning, a time that is null sorts as the latest, and any
 * other null as the smallest.
 */
export interface RolloutQuery extends Paging<RolloutField> {
  statusIn?: readonly RolloutStatus[]
  rolloutIdIn?: readonly string[]
  /** A case-sensitive part, as in all `…Contains`. */
  rolloutIdContains?: string
  /** Whether all given filters must match or any of them. @default 'and' */
  filterLogic?: 'and' | 'or'
}

export type AttemptField =
  | 'attemptId'
  | 'sequenceId'
  | 'startTime'
  | 'endTime'
  | 'status'
  | 'workerId'
  | 'lastHeartbeatTime'

/** Sorted by `sequenceId` when `sortBy` is left out. */
export type AttemptQuery = Paging<AttemptField>

export type WorkerField =
  | 'workerId'
  | 'status'
  | 'lastHeartbeatTime'
  | 'lastDequeueTime'
  | 'lastBusyTime'
  | 'lastIdleTime'
  | 'currentRolloutId'
  | 'currentAttemptId'

/** Sorted by arrival when `sortBy` is left out. */
export interface WorkerQuery extends Paging<WorkerField> {
  statusIn?: readonly WorkerStatus[]
  workerIdContains?: string
  /** @default 'and' */
  filterLogic?: 'and' | 'or'
}

export type ResourcesField = 'resourcesId' | 'createTime' | 'updateTime' | 'version'

/** Sorted by arrival when `sortBy` is left out. */
export interface ResourcesQuery extends Paging<ResourcesField> {
  resourcesId?: string
  resourcesIdContains?: string
}

export type SpanField =
  | 'sequenceId'
  | 'attemptId'
  | 'traceId'
  | 'spanId'
  | 'parentId'
  | 'name'
  | 'startTime'
  | 'endTime'

/** Sorted by sequence id when `sortBy` is left out; equal ones by arrival. */
export interface SpanQuery extends Paging<SpanField> {
  rolloutId: string
  /** An id, or `latest`; all attempts when left out. */
  attemptId?: string
  traceId?: string
  traceIdContains?: string
  spanId?: string
  spanIdContains?: string
  parentId?: string
  parentIdContains?: string
  name?: string
  nameContains?: string
  /** Whether all given filters on the four fields above must match, or any of them. @default 'and' */
  filterLogic?: 'and' | 'or'
}

export interface StoreStatistics {
  /** The store's URL. */
  name: string
  totalRollouts: number
  totalAttempts: number
  totalSpans: number
  totalResources: number
  totalWorkers: number
  /** Seconds since this store was opened here. */
  uptime: number
}
