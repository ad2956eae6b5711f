import { AglError, type Span, type SpanJSON, spanFromJSON } from '@agl/core'
import { type Arguments, type Operation, type Result, type Transport, newId, now } from './engine.ts'
import { isFinished } from './lifecycle.ts'
import { Pace, pipeline, readAhead, steps } from './pace.ts'
import {
  selectAttempts,
  selectOne,
  selectResources,
  selectRollouts,
  selectSpans,
  selectWorkers,
} from './query.ts'
import {
  attemptUpdate,
  heartbeatStats,
  name,
  namedResources,
  newAttemptId,
  newRollout,
  rolloutUpdate,
  seconds,
  startedRollout,
  text,
  worker,
} from './requests.ts'
import type { NamedResourcesInput, ResourcesUpdate } from './resources.ts'
import { type Portion, portions } from './row.ts'
import type { Store, StoreOptions } from './store.ts'
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
import { Waits } from './waits.ts'

export interface SpanLists extends Omit<Page<never>, 'items'> {
  /** JSON lists without their brackets, none of them empty. */
  lists: AsyncIterable<Uint8Array>
}

/** A store that has an engine: checks what comes in, takes large work to the engine step by step, and lets callers wait. */
export class LocalStore implements Store {
  readonly url: string
  readonly transport: Transport
  readonly #opened = now()
  readonly #running = new Set<Promise<unknown>>()
  readonly #watchdogInterval: number
  readonly #waits: Waits
  #watched = -Infinity
  #closing: Promise<void> | undefined

  constructor(url: string, transport: Transport, { watchdogInterval = 10 }: StoreOptions = {}) {
    this.url = url
    this.transport = transport
    this.#watchdogInterval = seconds('watchdogInterval', watchdogInterval) * 1000
    this.#waits = new Waits(transport, this.#watchdogInterval)
  }

  enqueueRollouts(requests: readonly EnqueueRollout[]): Promise<Rollout[]> {
    return this.#run(async () => {
      const rollouts: Rollout[] = []
      for (const step of steps(requests.map((request) => newRollout(request)))) {
        const queued = await this.#call('enqueueRollouts', step)
        this.#waits.turned(queued)
        rollouts.push(...queued)
      }
      return rollouts
    })
  }

  dequeueRollouts(options: DequeueOptions = {}): Promise<AttemptedRollout[]> {
    return this.#run(async () => {
      const { limit = 1, signal } = options
      if (!Number.isSafeInteger(limit)) throw invalidLimit(limit)
      const workerId = worker(options.workerId)
      const patience = seconds('timeout', options.timeout ?? 0)
      // Who wants nothing does not wait for it.
      const timeout = limit > 0 ? patience : 0
      return this.#waits.take({ timeout, signal }, () => this.#call('dequeueRollouts', limit, workerId))
    })
  }

  startRollout(request: StartRollout = {}): Promise<AttemptedRollout> {
    return this.#run(async () => this.#call('startRollout', startedRollout(request)))
  }

  updateRollout(rolloutId: string, update: RolloutUpdate): Promise<Rollout> {
    return this.#run(async () => {
      const rollout = await this.#call('updateRollout', name('rolloutId', rolloutId), rolloutUpdate(update))
      if (update.status !== undefined) this.#waits.turned([rollout])
      return rollout
    })
  }

  async getRollout(rolloutId: string): Promise<Rollout | undefined> {
    const { items } = await this.queryRollouts({ rolloutIdIn: [rolloutId] })
    return items[0]
  }

  queryRollouts(query: RolloutQuery = {}): Promise<Page<Rollout>> {
    return this.#run(async () => {
      const selection = selectRollouts(query)
      const { total, ids } = await this.#call('findRollouts', selection)
      const items: Rollout[] = []
      for (const step of steps(ids)) items.push(...(await this.transport.call('readRollouts', step)))
      return { items, limit: selection.limit, offset: selection.offset, total }
    })
  }

  waitForRollouts(rolloutIds: readonly string[], options: WaitOptions = {}): Promise<Rollout[]> {
    return this.#run(async () => {
      const { timeout = null, signal } = options
      const patience = { timeout: timeout === null ? Infinity : seconds('timeout', timeout), signal }
      const open = await this.#waits.finish(rolloutIds, patience, (ids) => this.#call('readStatuses', ids))
      const found = await this.#finished(rolloutIds.filter((id) => !open.has(id)))
      return rolloutIds.flatMap((id) => found.get(id) ?? [])
    })
  }

  async #finished(rolloutIds: readonly string[]): Promise<Map<string, Rollout>> {
    const selection = selectRollouts({ rolloutIdIn: rolloutIds })
    const { ids } = await this.transport.call('findRollouts', selection)
    const found = new Map<string, Rollout>()
    for (const step of steps(ids)) {
      for (const { attempt: _, ...rollout } of await this.transport.call('readRollouts', step)) {
        if (isFinished(rollout.status)) found.set(rollout.rolloutId, rollout)
      }
    }
    return found
  }

  startAttempt(rolloutId: string, options: StartAttempt = {}): Promise<AttemptedRollout> {
    return this.#run(async () => {
      const attemptId = newAttemptId(options.attemptId)
      return this.#call('startAttempt', name('rolloutId', rolloutId), attemptId, worker(options.workerId))
    })
  }

  updateAttempt(rolloutId: string, attemptId: string, update: AttemptUpdate): Promise<Attempt> {
    return this.#run(async () => {
      const ids = [name('rolloutId', rolloutId), name('attemptId', attemptId)] as const
      const { attempt, turn } = await this.#call('updateAttempt', ...ids, attemptUpdate(update))
      if (turn !== undefined) this.#waits.turned([turn])
      return attempt
    })
  }

  queryAttempts(rolloutId: string, query: AttemptQuery = {}): Promise<Page<Attempt>> {
    return this.#run(async () => {
      const selection = selectAttempts(rolloutId, query)
      return { ...page(selection), ...(await this.#call('listAttempts', selection)) }
    })
  }

  async getLatestAttempt(rolloutId: string): Promise<Attempt | undefined> {
    const { items } = await this.queryAttempts(rolloutId, { sortOrder: 'desc', limit: 1 })
    return items[0]
  }

  addSpans(spans: readonly Span[], options: AddSpansOptions = {}): Promise<AddedSpans> {
    return this.#run(async () => {
      const sum: AddedSpans = { added: 0, duplicates: 0, refused: [] }
      const add = async ({ accepted, refused }: Portion): Promise<void> => {
        sum.refused.push(...refused)
        if (accepted.length === 0) return
        const result = await this.transport.call('addSpans', accepted, options)
        sum.added += result.added
        sum.duplicates += result.duplicates
        sum.refused.push(...result.refused)
      }
      await pipeline(portions(spans, options), add, this.transport.ordered)
      return sum
    })
  }

  querySpans(query: SpanQuery): Promise<Page<Span>> {
    return this.#run(async () => {
      const selection = selectSpans(query)
      const { total, ids } = await this.#call('findSpans', selection)
      const items: Span[] = []
      const pace = new Pace()
      for (const step of steps(ids)) {
        for (const json of await this.transport.call('readSpans', step)) {
          items.push(parse(json))
          await pace.rest()
        }
      }
      return { ...page(selection), items, total }
    })
  }

  /** As `querySpans`, with the spans as the bytes of their JSON and in steps: for whoever only hands them on. */
  spanLists(query: SpanQuery): Promise<SpanLists> {
    return this.#run(async () => {
      const selection = selectSpans(query)
      const { total, ids } = await this.#call('findSpans', selection)
      const lists = readAhead(ids, (step) => this.transport.call('readSpanList', step))
      return { ...page(selection), total, lists }
    })
  }

  nextSequenceIds(requests: readonly { rolloutId: string; attemptId: string }[]): Promise<number[]> {
    return this.#run(async () => {
      const rolloutIds = requests.map(({ rolloutId }) => text('rolloutId', rolloutId, true))
      return this.transport.call('nextSequenceIds', rolloutIds)
    })
  }

  addResources(resources: NamedResourcesInput): Promise<ResourcesUpdate> {
    return this.updateResources(newId('rs'), resources)
  }

  updateResources(resourcesId: string, resources: NamedResourcesInput): Promise<ResourcesUpdate> {
    return this.#run(async () =>
      this.transport.call('putResources', text('resourcesId', resourcesId), namedResources(resources)),
    )
  }

  getResources(resourcesId: string): Promise<ResourcesUpdate | undefined> {
    return this.#run(async () => {
      const { items } = await this.transport.call('listResources', selectOne('resourcesId', resourcesId))
      return items[0]
    })
  }

  latestResources(): Promise<ResourcesUpdate | undefined> {
    return this.#run(async () => this.transport.call('latestResources'))
  }

  queryResources(query: ResourcesQuery = {}): Promise<Page<ResourcesUpdate>> {
    return this.#run(async () => {
      const selection = selectResources(query)
      return { ...page(selection), ...(await this.transport.call('listResources', selection)) }
    })
  }

  updateWorker(workerId: string, update: WorkerUpdate = {}): Promise<Worker> {
    return this.#run(async () =>
      this.transport.call('updateWorker', text('workerId', workerId), heartbeatStats(update)),
    )
  }

  getWorker(workerId: string): Promise<Worker | undefined> {
    return this.#run(async () => {
      const { items } = await this.transport.call('listWorkers', selectOne('workerId', workerId))
      return items[0]
    })
  }

  queryWorkers(query: WorkerQuery = {}): Promise<Page<Worker>> {
    return this.#run(async () => {
      const selection = selectWorkers(query)
      return { ...page(selection), ...(await this.#call('listWorkers', selection)) }
    })
  }

  statistics(): Promise<StoreStatistics> {
    return this.#run(async () => {
      const { rollouts, attempts, spans, resources, workers } = await this.transport.call('count')
      return {
        name: this.url,
        totalRollouts: rollouts,
        totalAttempts: attempts,
        totalSpans: spans,
        totalResources: resources,
        totalWorkers: workers,
        uptime: now() - this.#opened,
      }
    })
  }

  close(): Promise<void> {
    this.#waits.end()
    return (this.#closing ??= Promise.allSettled(this.#running).then(() => this.transport.close()))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Keeps count of what is going on, for `close` to wait for. */
  #run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closing !== undefined) return Promise.reject(closed(this.url))
    const running = work().finally(() => this.#running.delete(running))
    this.#running.add(running)
    return running
  }

  /** Looks for ailing attempts first, where that is due. */
  async #call<Op extends Operation>(operation: Op, ...args: Arguments<Op>): Promise<Result<Op>> {
    const watching = this.#watch()
    // Where calls are done in order, waiting here would let a later one overtake this.
    if (!this.transport.ordered) await watching
    return this.transport.call(operation, ...args)
  }

  async #watch(): Promise<void> {
    if (performance.now() - this.#watched < this.#watchdogInterval) return
    this.#watched = performance.now()
    try {
      this.#waits.turned(await this.transport.call('watch'))
    } catch {
      // Whoever asked for something hears of the store's trouble by that.
    }
  }
}

function page({ limit, offset }: { limit: number; offset: number }): { limit: number; offset: number } {
  return { limit, offset }
}

function closed(url: string): AglError {
  return new AglError('store_unavailable', `The store "${url}" is closed; open it again with openStore().`)
}

function invalidLimit(limit: number): AglError {
  return new AglError('value_invalid', `The limit ${limit} is not possible; give a whole number.`)
}

function parse(json: string): Span {
  const span: SpanJSON = JSON.parse(json)
  return spanFromJSON(span)
}
