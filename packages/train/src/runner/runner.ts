import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { AglError, type Lightning, type Span } from '@agl/core'
import type { AttemptedRollout, NamedResourcesInput, Rollout, RolloutMode, Store } from '@agl/store'
import type { RolloutAgent } from './agent.ts'
import { runAttempt, type Workshop } from './attempt.ts'
import type { Hooks } from './hooks.ts'
import { heartbeatStats } from './stats.ts'
import { milliseconds } from '../time.ts'

export interface RunnerOptions<Task> {
  lightning: Lightning
  store: Store
  agent: RolloutAgent<Task>
  /** Most attempts that run at once. @default 1 */
  concurrency?: number
  /** How the store knows this runner; one that runs several attempts at once is several workers. @default host name and process id */
  workerId?: string
  hooks?: Hooks
  /** Seconds that one look into an empty queue waits. @default 5 */
  pollInterval?: number
  /** Seconds between two signs of life of each running attempt. @default 10, and a third of what the rollout allows at most */
  heartbeatInterval?: number
  /**
   * Seconds that running attempts have after `signal` before theirs aborts; who does not listen to it is left to itself a
   * second later. @default 30
   */
  grace?: number
}

export interface RunOptions {
  /** Ends the run: nothing more is taken from the queue, and what runs has `grace` seconds to end. */
  signal?: AbortSignal
  /** Most rollouts to take. @default no limit */
  maxRollouts?: number
}

export interface RunSummary {
  succeeded: number
  failed: number
}

const PAUSE_FIRST = 1
const PAUSE_MOST = 10

/** Warnings that one runner prints; each only once. */
const MOST_LINES = 100

/**
 * Takes rollouts from a store's queue and runs an agent on each, in a trace of the attempt's ids.
 *
 * An attempt succeeds when the agent has returned and the store has acknowledged its spans. An agent that throws fails its
 * attempt and nothing else.
 */
export class Runner<Task = unknown> {
  readonly #options: RunnerOptions<Task>
  readonly #shop: Workshop
  readonly #workerId: string

  /** @throws AglError `value_invalid` for numbers that make no sense */
  constructor(options: RunnerOptions<Task>) {
    const { concurrency = 1, pollInterval = 5, heartbeatInterval = 10, grace = 30 } = options
    if (!Number.isInteger(concurrency) || concurrency < 1)
      throw invalid('concurrency', 'a whole number from 1')
    for (const [name, value] of Object.entries({ pollInterval, heartbeatInterval, grace }))
      if (!(value >= 0)) throw invalid(name, 'a number of seconds')
    if (heartbeatInterval === 0) throw invalid('heartbeatInterval', 'more than 0 seconds')
    this.#options = options
    this.#workerId = options.workerId ?? `${hostname()}-${process.pid}`
    const { lightning, store, agent, hooks = {} } = options
    const said = new Set<string>()
    const warn = (message: string, cause?: unknown): void => {
      const line = `[agl:train] ${message}${cause instanceof Error ? ` ${cause.message}` : ''}`
      if (said.has(line) || said.size >= MOST_LINES) return
      said.add(line)
      console.warn(line)
    }
    this.#shop = {
      lightning,
      store,
      // What is queued is the algorithm's choice: that it is a task of this agent is the caller's word.
      agent: (input, context) => agent.runRollout(input as Task, context),
      warn,
      heartbeatInterval,
      async hooks(name, rollout, spans = []) {
        try {
          await hooks[name]?.({ rollout, store, lightning, spans })
        } catch (error) {
          warn(`The hook ${name} failed; the attempt goes on without it.`, error)
        }
      },
    }
  }

  /**
   * Works until `signal` aborts or `maxRollouts` have been taken; an empty queue is waited at. A store that is away is
   * asked again with growing pauses.
   *
   * @throws AglError where the store refuses the runner for good, once what runs has ended
   */
  async run(options: RunOptions = {}): Promise<RunSummary> {
    const { concurrency = 1, grace = 30 } = this.#options
    const summary: RunSummary = { succeeded: 0, failed: 0 }
    const hard = new AbortController()
    const enough = new AbortController()
    const stop = AbortSignal.any([enough.signal, ...(options.signal === undefined ? [] : [options.signal])])
    let timer: ReturnType<typeof setTimeout> | undefined
    const giveUp = (): void => {
      timer = setTimeout(
        () => hard.abort(new AglError('not_found', 'The runner was stopped.')),
        milliseconds(grace),
      )
    }
    if (options.signal?.aborted === true) return summary
    options.signal?.addEventListener('abort', giveUp)
    let left = options.maxRollouts ?? Number.POSITIVE_INFINITY
    const take = async (workerId: string): Promise<AttemptedRollout | undefined> => {
      left--
      const taken = await this.#dequeue(workerId, stop).catch((error: unknown) => {
        enough.abort()
        throw error
      })
      if (taken === undefined) left++
      return taken
    }
    const work = async (workerId: string): Promise<void> => {
      while (!stop.aborted && left > 0) {
        const rollout = await take(workerId)
        if (rollout === undefined) continue
        const { succeeded, error } = await runAttempt(this.#shop, rollout, hard.signal)
        if (succeeded) summary.succeeded++
        else {
          summary.failed++
          this.#shop.warn("An attempt failed; each one's error is in its metadata in the store.", error)
        }
      }
    }
    const workers = Array.from({ length: concurrency }, (_, i) =>
      concurrency === 1 ? this.#workerId : `${this.#workerId}-${i}`,
    )
    const alive = this.#keepAlive(workers)
    const slots = workers.map(work)
    try {
      const ended = await Promise.allSettled(slots)
      for (const slot of ended) if (slot.status === 'rejected') throw slot.reason
      return summary
    } finally {
      clearInterval(alive)
      clearTimeout(timer)
      options.signal?.removeEventListener('abort', giveUp)
    }
  }

  /**
   * Runs the agent once on `input`, past the queue, and returns the finished rollout.
   *
   * @throws what the agent throws, after the attempt was reported as failed
   */
  async step(
    input: Task,
    options: { resources?: NamedResourcesInput; mode?: RolloutMode; signal?: AbortSignal } = {},
  ): Promise<Rollout & { spans: readonly Span[] }> {
    const { store } = this.#options
    const resources =
      options.resources === undefined ? undefined : await store.addResources(options.resources)
    const started = await store.startRollout({
      input,
      workerId: this.#workerId,
      mode: options.mode ?? null,
      ...(resources === undefined ? {} : { resourcesId: resources.resourcesId }),
    })
    const alive = this.#keepAlive([this.#workerId])
    try {
      const stop = options.signal ?? new AbortController().signal
      const { succeeded, error, spans } = await runAttempt(this.#shop, started, stop)
      if (!succeeded) throw error
      const finished = await store.getRollout(started.rolloutId)
      return { ...(finished ?? started), spans }
    } finally {
      clearInterval(alive)
    }
  }

  #keepAlive(workers: readonly string[]): ReturnType<typeof setInterval> {
    const tell = async (workerId: string): Promise<void> => {
      try {
        await this.#options.store.updateWorker(workerId, { heartbeatStats: heartbeatStats() })
      } catch (error) {
        this.#shop.warn('A sign of life did not reach the store.', error)
      }
    }
    const all = (): void => void Promise.all(workers.map(tell))
    all()
    return setInterval(all, milliseconds(this.#options.heartbeatInterval ?? 10))
  }

  /** One rollout, or undefined where there is none yet. */
  async #dequeue(workerId: string, signal: AbortSignal): Promise<AttemptedRollout | undefined> {
    const { store, pollInterval = 5 } = this.#options
    for (let pause = PAUSE_FIRST; !signal.aborted; pause = Math.min(pause * 2, PAUSE_MOST)) {
      try {
        const [rollout] = await store.dequeueRollouts({ limit: 1, workerId, timeout: pollInterval, signal })
        return rollout
      } catch (error) {
        if (!AglError.is(error) || error.code !== 'store_unavailable') throw error
        this.#shop.warn(`The store does not answer; it is asked again in ${pause} s.`, error)
        await pauseFor(pause, signal)
      }
    }
    return undefined
  }
}

async function pauseFor(seconds: number, signal: AbortSignal): Promise<void> {
  await sleep(milliseconds(seconds), undefined, { signal }).catch(() => undefined)
}

function invalid(name: string, what: string): AglError {
  return new AglError('value_invalid', `The runner's option ${name} must be ${what}.`)
}
