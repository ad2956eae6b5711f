import type { Span } from '@agl/core'

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

/** How a rollout is retried. */
export interface RolloutConfig {
  timeoutSeconds: number | null
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
  /** When the store last got a span of this attempt. */
  lastHeartbeatTime: number | null
  metadata: Record<string, unknown>
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
  metadata: Record<string, unknown>
  /** The latest attempt; absent while there is none. */
  attempt?: Attempt
}

export interface AttemptedRollout extends Rollout {
  attempt: Attempt
}

export interface StartRollout {
  /** What the agent is to work on; anything that JSON can say. @default null */
  input?: unknown
  mode?: RolloutMode | null
  resourcesId?: string | null
  /** Anything that JSON can say. @default {} */
  metadata?: Record<string, unknown>
  /** Made by the store when left out. */
  rolloutId?: string
  attemptId?: string
  /** Unix seconds. @default now */
  startTime?: number
  /** @default 'preparing', which the first span turns into 'running' */
  status?: 'preparing' | 'running'
}

export interface AttemptUpdate {
  status?: AttemptStatus
  workerId?: string
  /** Unix seconds. */
  lastHeartbeatTime?: number
  metadata?: Record<string, unknown>
  /** Unix seconds; used where `status` ends the attempt. @default now */
  endTime?: number
}

export interface AddSpansOptions {
  /**
   * Keep the spans' own sequence ids, got from `nextSequenceIds`, instead of issuing new ones. The store's counter
   * goes on after the highest. @default false
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

/** Sorted by arrival when `sortBy` is left out. */
export interface RolloutQuery extends Paging<RolloutField> {
  statusIn?: readonly RolloutStatus[]
  rolloutIdIn?: readonly string[]
  /** A case-sensitive part, as in all `…Contains`. */
  rolloutIdContains?: string
  /** Whether all given filters must match or any of them. @default 'and' */
  filterLogic?: 'and' | 'or'
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
  /** Seconds since this store was opened here. */
  uptime: number
}

/**
 * Where rollouts, attempts and spans live: Agent Lightning v0.3's store, with its names in camelCase.
 *
 * Every method rejects with an `AglError` when the store cannot do it: `store_unavailable` where trying again can
 * help, `value_invalid`, `value_unserializable` or `not_found` where it cannot. What was acknowledged is stored.
 */
export interface Store extends AsyncDisposable {
  readonly url: string
  /**
   * Starts a rollout and its first attempt. With the ids of an attempt that is there already it changes nothing and
   * returns that one, so that it can be repeated; with a new attempt id it adds an attempt.
   */
  startRollout(request?: StartRollout): Promise<AttemptedRollout>
  /** Changes an attempt, by its id or `latest`; the latest attempt's status goes on to its rollout. */
  updateAttempt(rolloutId: string, attemptId: string, update: AttemptUpdate): Promise<Attempt>
  getRollout(rolloutId: string): Promise<Rollout | undefined>
  queryRollouts(query?: RolloutQuery): Promise<Page<Rollout>>
  /**
   * Stores spans, in this order, and issues their sequence ids. A span that is there already is left as it is, so
   * that a batch can be sent again. When it rejects, a part of the batch may be stored.
   */
  addSpans(spans: readonly Span[], options?: AddSpansOptions): Promise<AddedSpans>
  /** Token ids come back as plain lists. */
  querySpans(query: SpanQuery): Promise<Page<Span>>
  /** Reserves one sequence id per request; known rollout or not. */
  nextSequenceIds(requests: readonly { rolloutId: string; attemptId: string }[]): Promise<number[]>
  statistics(): Promise<StoreStatistics>
  /** Finishes what was asked for and lets go of the store. Further calls reject. */
  close(): Promise<void>
}
