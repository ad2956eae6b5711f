import { setTimeout as sleep } from 'node:timers/promises'
import { AglError, type Span } from '@agl/core'
import {
  attemptFromJSON,
  attemptedRolloutFromJSON,
  namedResourcesToJSON,
  resourcesFromJSON,
  rolloutFromJSON,
  workerFromJSON,
} from '../json.ts'
import { selectAttempts, selectResources, selectRollouts, selectSpans, selectWorkers } from '../query.ts'
import {
  attemptUpdate,
  heartbeatStats,
  namedResources,
  newRollout,
  rolloutUpdate,
  startedRollout,
  text,
  worker,
} from '../requests.ts'
import type { NamedResourcesInput, ResourcesUpdate } from '../resources.ts'
import type { Store } from '../store.ts'
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
} from '../types.ts'
import { Caller } from './caller.ts'
import type { Address } from './address.ts'
import { listOf, maybe, pageOf, statisticsOf } from './from-json.ts'
import { nextSequenceId, readSpans, sendSpans } from './spans.ts'
import { attemptUpdateText, queryJSON, queryURL, rolloutText, rolloutUpdateText } from './to-json.ts'
import { startThere } from './start.ts'
import { dequeue, waitFor } from './waits.ts'

/**
 * A store that somebody else serves: Agent Lightning v0.3's own server in Python, or ours.
 *
 * The other server's ways apply: Python's issues its own ids, knows no time of an end but its own, and looks after
 * ailing attempts as it likes.
 */
export class HttpStore implements Store {
  readonly url: string
  readonly #caller: Caller
  readonly #closing = new AbortController()
  readonly #running = new Set<Promise<unknown>>()
  #closed: Promise<void> | undefined

  constructor(address: Address) {
    this.url = address.shown
    this.#caller = new Caller(address)
  }

  enqueueRollouts(requests: readonly EnqueueRollout[]): Promise<Rollout[]> {
    return this.#run(async () => {
      const texts = requests.map((request) => rolloutText(newRollout(request)))
      const body = `{"rollouts":[${texts.join(',')}]}`
      const answer = await this.#caller.call('POST', '/queues/rollouts/enqueue', { body, once: true })
      return listOf(answer, rolloutFromJSON)
    })
  }

  dequeueRollouts(options: DequeueOptions = {}): Promise<AttemptedRollout[]> {
    return this.#run(() => dequeue(this.#caller, options, this.#closing.signal))
  }

  startRollout(request: StartRollout = {}): Promise<AttemptedRollout> {
    return this.#run(async () => {
      const started = startedRollout(request)
      if (!(await this.#caller.isOurs())) return startThere(this, this.#caller, request)
      const { rolloutId, attemptId, workerId, startTime, status } = started
      const rest = {
        rollout_id: rolloutId,
        attempt_id: attemptId,
        worker_id: workerId,
        start_time: startTime,
        status,
      }
      // The ids make it the same rollout, however often it is sent.
      const answer = await this.#caller.call('POST', '/rollouts', { body: rolloutText(started, rest) })
      return attemptedRolloutFromJSON(answer)
    })
  }

  updateRollout(rolloutId: string, update: RolloutUpdate): Promise<Rollout> {
    return this.#run(async () => {
      const change = rolloutUpdate(update)
      const once = change.status === 'queuing' || change.status === 'requeuing'
      const body = rolloutUpdateText(change)
      return rolloutFromJSON(await this.#caller.call('POST', `/rollouts/${id(rolloutId)}`, { body, once }))
    })
  }

  async getRollout(rolloutId: string): Promise<Rollout | undefined> {
    const { items } = await this.queryRollouts({ rolloutIdIn: [rolloutId] })
    return items[0]
  }

  queryRollouts(query: RolloutQuery = {}): Promise<Page<Rollout>> {
    return this.#run(async () => {
      selectRollouts(query)
      return pageOf(await this.#search('/rollouts/search', query), rolloutFromJSON)
    })
  }

  waitForRollouts(rolloutIds: readonly string[], options: WaitOptions = {}): Promise<Rollout[]> {
    return this.#run(() => waitFor(this.#caller, rolloutIds, options, this.#closing.signal))
  }

  startAttempt(rolloutId: string, options: StartAttempt = {}): Promise<AttemptedRollout> {
    return this.#run(async () => {
      const { attemptId } = options
      const body = JSON.stringify({
        worker_id: worker(options.workerId),
        ...(attemptId !== undefined && { attempt_id: text('attemptId', attemptId) }),
      })
      const path = `/rollouts/${id(rolloutId)}/attempts`
      return attemptedRolloutFromJSON(await this.#caller.call('POST', path, { body, once: true }))
    })
  }

  updateAttempt(rolloutId: string, attemptId: string, update: AttemptUpdate): Promise<Attempt> {
    return this.#run(async () => {
      const change = attemptUpdate(update)
      if (change.lastHeartbeatTime === 'now' && !(await this.#caller.isOurs())) {
        change.lastHeartbeatTime = this.#caller.now
      }
      const path = `/rollouts/${id(rolloutId)}/attempts/${id(attemptId)}`
      return attemptFromJSON(await this.#caller.call('POST', path, { body: attemptUpdateText(change) }))
    })
  }

  queryAttempts(rolloutId: string, query: AttemptQuery = {}): Promise<Page<Attempt>> {
    return this.#run(async () => {
      selectAttempts(rolloutId, query)
      return pageOf(await this.#search(`/rollouts/${id(rolloutId)}/attempts/search`, query), attemptFromJSON)
    })
  }

  getLatestAttempt(rolloutId: string): Promise<Attempt | undefined> {
    return this.#run(async () =>
      maybe(await this.#caller.call('GET', `/rollouts/${id(rolloutId)}/attempts/latest`), attemptFromJSON),
    )
  }

  addSpans(spans: readonly Span[], options: AddSpansOptions = {}): Promise<AddedSpans> {
    const attemptsOf = async (rolloutId: string): Promise<Attempt[]> =>
      pageOf(await this.#search(`/rollouts/${id(rolloutId)}/attempts/search`, {}), attemptFromJSON).items
    return this.#run(() => sendSpans(this.#caller, spans, options, attemptsOf))
  }

  querySpans(query: SpanQuery): Promise<Page<Span>> {
    return this.#run(async () => readSpans(this.#caller, queryJSON(query), selectSpans(query)))
  }

  nextSequenceIds(requests: readonly { rolloutId: string; attemptId: string }[]): Promise<number[]> {
    return this.#run(async () => {
      const ids: number[] = []
      for (const { rolloutId, attemptId } of requests) {
        ids.push(await nextSequenceId(this.#caller, text('rolloutId', rolloutId, true), attemptId))
      }
      return ids
    })
  }

  addResources(resources: NamedResourcesInput): Promise<ResourcesUpdate> {
    return this.#run(() => this.#putResources('/resources', resources))
  }

  updateResources(resourcesId: string, resources: NamedResourcesInput): Promise<ResourcesUpdate> {
    return this.#run(async () =>
      this.#putResources(`/resources/${id(text('resourcesId', resourcesId))}`, resources),
    )
  }

  getResources(resourcesId: string): Promise<ResourcesUpdate | undefined> {
    // By a query: an id may be `latest`.
    return this.#run(async () => {
      const answer = await this.#caller.call('GET', `/resources?${queryURL({ resourcesId, limit: 1 })}`)
      return pageOf(answer, resourcesFromJSON).items[0]
    })
  }

  latestResources(): Promise<ResourcesUpdate | undefined> {
    return this.#run(async () =>
      maybe(await this.#caller.call('GET', '/resources/latest'), resourcesFromJSON),
    )
  }

  queryResources(query: ResourcesQuery = {}): Promise<Page<ResourcesUpdate>> {
    return this.#run(async () => {
      selectResources(query)
      return pageOf(await this.#caller.call('GET', `/resources?${queryURL(query)}`), resourcesFromJSON)
    })
  }

  updateWorker(workerId: string, update: WorkerUpdate = {}): Promise<Worker> {
    return this.#run(async () => {
      const body = JSON.stringify({ heartbeat_stats: heartbeatStats(update) })
      const path = `/workers/${id(text('workerId', workerId))}`
      return workerFromJSON(await this.#caller.call('POST', path, { body }))
    })
  }

  getWorker(workerId: string): Promise<Worker | undefined> {
    return this.#run(async () =>
      maybe(await this.#caller.call('GET', `/workers/${id(workerId)}`), workerFromJSON),
    )
  }

  queryWorkers(query: WorkerQuery = {}): Promise<Page<Worker>> {
    return this.#run(async () => {
      selectWorkers(query)
      return pageOf(await this.#search('/workers/search', query), workerFromJSON)
    })
  }

  statistics(): Promise<StoreStatistics> {
    return this.#run(async () => statisticsOf(await this.#caller.call('GET', '/statistics'), this.url))
  }

  close(): Promise<void> {
    this.#closing.abort()
    return (this.#closed ??= this.#end())
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #end(): Promise<void> {
    const running = Promise.allSettled(this.#running)
    // What cannot be finished since the server is away is not waited for any longer.
    const late = new AbortController()
    await Promise.race([running, sleep(GRACE, undefined, { signal: late.signal }).catch(() => undefined)])
    late.abort()
    this.#caller.close()
    await running
  }

  #search(path: string, query: object): Promise<unknown> {
    return this.#caller.call('POST', path, { body: JSON.stringify(queryJSON(query)) })
  }

  async #putResources(path: string, resources: NamedResourcesInput): Promise<ResourcesUpdate> {
    const body = JSON.stringify(namedResourcesToJSON(namedResources(resources)))
    return resourcesFromJSON(await this.#caller.call('POST', path, { body, once: true }))
  }

  /** Keeps count of what is going on, for `close` to wait for. */
  #run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closed !== undefined) {
      const message = `The store "${this.url}" is closed; open it again with openStore().`
      return Promise.reject(new AglError('store_unavailable', message))
    }
    const running = work().finally(() => this.#running.delete(running))
    this.#running.add(running)
    return running
  }
}

/** Milliseconds for what is going on when the store is closed. */
const GRACE = 5000

/** An id as a part of a path. */
function id(text: string): string {
  return encodeURIComponent(text)
}
