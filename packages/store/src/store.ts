import type { Span } from '@agl/core'
import type { NamedResourcesInput, ResourcesUpdate } from './resources.ts'
import type {
  AddSpansOptions,
  AddedSpans,
  Attempt,
  AttemptQuery,
  AttemptUpdate,
  AttemptedRollout,
  DequeueOptions,
  EnqueueRollout,
  Page,
  ResourcesQuery,
  Rollout,
  RolloutQuery,
  RolloutUpdate,
  SpanQuery,
  StartAttempt,
  StartRollout,
  StoreStatistics,
  WaitOptions,
  Worker,
  WorkerQuery,
  WorkerUpdate,
} from './types.ts'

/**
 * Where rollouts, attempts, spans, resources and workers live: Agent Lightning v0.3's store, with its names in
 * camelCase.
 *
 * Every method rejects with an `AglError` when the store cannot do it: `store_unavailable` where trying again can
 * help, `value_invalid`, `value_unserializable` or `not_found` where it cannot. What was acknowledged is stored.
 *
 * Attempts that take too long or give no sign of life are found by the way: most calls look for them first, at most
 * once per `watchdogInterval`, and so do those that wait.
 */
export interface Store extends AsyncDisposable {
  readonly url: string

  /** Queues rollouts, to be taken in this order. */
  enqueueRollouts(requests: readonly EnqueueRollout[]): Promise<Rollout[]>
  /** Takes rollouts from the queue, the longest waiting first, each with a new attempt; nobody else gets them. */
  dequeueRollouts(options?: DequeueOptions): Promise<AttemptedRollout[]>
  /**
   * Starts a rollout and its first attempt, past the queue. With the ids of an attempt that is there already it
   * changes nothing and returns that one, so that it can be repeated; with a new attempt id it adds an attempt.
   */
  startRollout(request?: StartRollout): Promise<AttemptedRollout>
  /** Changes a rollout. `queuing` and `requeuing` put it into the queue. Returns it without its attempt. */
  updateRollout(rolloutId: string, update: RolloutUpdate): Promise<Rollout>
  getRollout(rolloutId: string): Promise<Rollout | undefined>
  queryRollouts(query?: RolloutQuery): Promise<Page<Rollout>>
  /**
   * Resolves when all of the rollouts are finished (failed, succeeded or cancelled) or the time is over, to those that
   * are finished, in the order of the ids and without their attempts. Unknown ids are not waited for.
   */
  waitForRollouts(rolloutIds: readonly string[], options?: WaitOptions): Promise<Rollout[]>

  /** Adds an attempt whatever the rollout's limits and status; a finished rollout is open again. */
  startAttempt(rolloutId: string, options?: StartAttempt): Promise<AttemptedRollout>
  /**
   * Changes an attempt, by its id or `latest`. The latest attempt's status goes on to its rollout, which is queued
   * again where its config asks for a retry, and to its worker.
   */
  updateAttempt(rolloutId: string, attemptId: string, update: AttemptUpdate): Promise<Attempt>
  queryAttempts(rolloutId: string, query?: AttemptQuery): Promise<Page<Attempt>>
  getLatestAttempt(rolloutId: string): Promise<Attempt | undefined>

  /**
   * Stores spans, in this order, and issues their sequence ids. A span that is there already is left as it is, so
   * that a batch can be sent again. When it rejects, a part of the batch may be stored.
   */
  addSpans(spans: readonly Span[], options?: AddSpansOptions): Promise<AddedSpans>
  /** Token ids come back as plain lists. */
  querySpans(query: SpanQuery): Promise<Page<Span>>
  /** Reserves one sequence id per request; known rollout or not. */
  nextSequenceIds(requests: readonly { rolloutId: string; attemptId: string }[]): Promise<number[]>

  /** Stores resources under a new id. They are the latest then, which new rollouts get. */
  addResources(resources: NamedResourcesInput): Promise<ResourcesUpdate>
  /** Replaces the resources of an id, or adds them under an id that is new. They are the latest then. */
  updateResources(resourcesId: string, resources: NamedResourcesInput): Promise<ResourcesUpdate>
  getResources(resourcesId: string): Promise<ResourcesUpdate | undefined>
  latestResources(): Promise<ResourcesUpdate | undefined>
  queryResources(query?: ResourcesQuery): Promise<Page<ResourcesUpdate>>

  /** Notes that a worker is there, known or not, and what it says about itself. */
  updateWorker(workerId: string, update?: WorkerUpdate): Promise<Worker>
  getWorker(workerId: string): Promise<Worker | undefined>
  queryWorkers(query?: WorkerQuery): Promise<Page<Worker>>

  statistics(): Promise<StoreStatistics>
  /** Finishes what was asked for, ends what waits, and lets go of the store. Further calls reject. */
  close(): Promise<void>
}

export interface StoreOptions {
  /**
   * Seconds between two looks for attempts that take too long or give no sign of life; 0 looks at every call.
   * @default 10
   */
  watchdogInterval?: number
  /**
   * What the server of an `http:` store asks for; a password in the URL comes first.
   * @default the environment's AGL_STORE_TOKEN
   */
  token?: string | undefined
}
