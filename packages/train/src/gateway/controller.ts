import { AglError, type AglErrorCode } from '@agl/core'
import { milliseconds } from '../time.ts'
import { INPUT_VARIABLE } from './agent.ts'
import { attend, type Attended, type Workshop } from './attend.ts'
import type { GatewayClient } from './client.ts'
import type { Command } from './process.ts'
import { startReaper } from './reaper.ts'
import type { GatewayRollout } from './types.ts'

export interface ControllerOptions {
  client: GatewayClient
  /** The agent's program and its arguments, or what chooses them, such as by `config.local.agentClass`. */
  command: Command | ((rollout: GatewayRollout) => Command)
  /** Most agents that run at once. @default 1 */
  concurrency?: number
  /** Seconds between two looks at the gateway. @default 1 */
  pollInterval?: number
  /** Seconds that running agents have after `signal` before they are killed. @default 30 */
  grace?: number
  /** The environment of agents, below what a rollout sets. @default that of this process */
  env?: Readonly<Record<string, string | undefined>>
  /** Variables from the input for rollouts that have no `env_map` of their own. @default AGL_INPUT is the input */
  envMap?: Readonly<Record<string, string>>
  /** @default that of this process */
  cwd?: string
  /** Whether what agents print is printed here. @default inherit */
  output?: 'inherit' | 'ignore'
  /** Where agents reach the gateway. @default where the client does */
  agentURL?: string
  /**
   * Tells several controllers of one gateway apart: each fails only those rollouts without a process that carry its name.
   * Must be the same when it is started again. @default there is one controller
   */
  name?: string
}

export interface ControllerRunOptions {
  /** Ends the run: nothing more is started, and what runs has `grace` seconds to end. */
  signal?: AbortSignal
  /** Most rollouts to take. @default no limit */
  maxRollouts?: number
}

export interface ControllerSummary {
  succeeded: number
  failed: number
}

/** Running rollouts in one look; more of them are looked at one by one. */
const RUNNING = 1000
/** Seconds for the last reports after the agents were killed. */
const LAST_WORDS = 10
const PAUSE_MOST = 30

/**
 * Runs agents for Agent Lightning's gateway (version 1.0): each rollout in a process of its own, which finds its model and
 * its task in environment variables.
 *
 * A rollout succeeds when its process ends with exit code 0. It fails with another one, after its time-out, and when its
 * process is gone because the controller was killed. No rollout gets two processes.
 */
export class Controller {
  readonly #options: ControllerOptions

  /** @throws AglError `value_invalid` for options that make no sense */
  constructor(options: ControllerOptions) {
    const { concurrency = 1, pollInterval = 1, grace = 30, command } = options
    if (!Number.isInteger(concurrency) || concurrency < 1)
      throw invalid('concurrency', 'a whole number from 1')
    for (const [name, value] of Object.entries({ pollInterval, grace }))
      if (!(value >= 0)) throw invalid(name, 'a number of seconds')
    if (typeof command !== 'function' && !command[0]) throw invalid('command', 'a program and its arguments')
    this.#options = options
  }

  /**
   * Works until `signal` aborts or `maxRollouts` have ended. A gateway that is away is asked again with growing pauses.
   *
   * @throws AglError where the gateway refuses the controller for good, once what runs has ended
   */
  async run({ signal, maxRollouts = Infinity }: ControllerRunOptions = {}): Promise<ControllerSummary> {
    const { pollInterval = 1, grace = 30 } = this.#options
    if (signal?.aborted === true) return { succeeded: 0, failed: 0 }
    const killed = new AbortController()
    const givenUp = new AbortController()
    const reaper = startReaper(warn)
    const shop = this.#workshop({ reaper, killed: killed.signal, givenUp: givenUp.signal })
    const shift = new Shift(shop, this.#options.concurrency ?? 1, maxRollouts)
    const timers: ReturnType<typeof setTimeout>[] = []
    const stop = (): void => {
      shift.wake()
      timers.push(setTimeout(() => killed.abort(), milliseconds(grace)))
      timers.push(setTimeout(() => givenUp.abort(), milliseconds(grace + LAST_WORDS)))
    }
    signal?.addEventListener('abort', stop)
    const isOver = (): boolean => signal?.aborted === true || shift.isDone
    try {
      let pause = pollInterval
      while (!isOver()) {
        pause = (await shift.look(signal)) ? pollInterval : Math.min(Math.max(pause, 0.5) * 2, PAUSE_MOST)
        if (!isOver()) await shift.rest(pause)
      }
    } finally {
      // What runs may end by itself, after a refusal too.
      await shift.end()
      for (const timer of timers) clearTimeout(timer)
      signal?.removeEventListener('abort', stop)
      await reaper.close()
    }
    return shift.summary
  }

  #workshop(parts: Pick<Workshop, 'reaper' | 'killed' | 'givenUp'>): Workshop {
    const { client, command, env = process.env, cwd, output = 'inherit', name } = this.#options
    const { envMap = { [INPUT_VARIABLE]: 'input' }, agentURL = client.url } = this.#options
    const shop = { ...parts, client, command, env, envMap, agentURL, output, name, warn }
    return cwd === undefined ? shop : { ...shop, cwd }
  }
}

/** One run of a controller: which rollouts it has, and what became of them. */
class Shift {
  readonly summary: ControllerSummary = { succeeded: 0, failed: 0 }
  readonly #shop: Workshop
  readonly #concurrency: number
  readonly #live = new Map<string, Attended>()
  #left: number
  /** Those that the gateway lists but takes no word about, or has given to another: left alone while it lists them. */
  #refused: ReadonlySet<string> = new Set()
  #wake: () => void = () => {}
  #woken = false

  constructor(shop: Workshop, concurrency: number, maxRollouts: number) {
    this.#shop = shop
    this.#concurrency = concurrency
    this.#left = maxRollouts
  }

  get isDone(): boolean {
    return this.#left <= 0 && this.#live.size === 0
  }

  wake(): void {
    this.#woken = true
    this.#wake()
  }

  /** Waits, but no longer than until a place is free; not at all where one has become free since the last rest. */
  async rest(seconds: number): Promise<void> {
    if (!this.#woken) {
      let timer: ReturnType<typeof setTimeout> | undefined
      await new Promise<void>((resolve) => {
        this.#wake = resolve
        timer = setTimeout(resolve, milliseconds(seconds))
      })
      clearTimeout(timer)
    }
    this.#woken = false
  }

  async end(): Promise<void> {
    await Promise.all([...this.#live.values()].map(({ outcome }) => outcome))
  }

  /** Starts what waits, and ends what has no business to run. False where the gateway does not answer. */
  async look(signal: AbortSignal | undefined): Promise<boolean> {
    const { client } = this.#shop
    const live = [...this.#live]
    const claimed = live.filter(([, attended]) => attended.claimed)
    const free = Math.min(this.#concurrency - live.length, this.#left)
    const unclaimed = live.length - claimed.length
    const given = signal === undefined ? {} : { signal }
    try {
      const [running, waiting] = await Promise.all([
        client.list(['running'], { ...given, limit: RUNNING }),
        free > 0
          ? client.list(['queuing'], { ...given, limit: free + unclaimed + this.#refused.size })
          : undefined,
      ])
      await this.#failOrphans(running)
      await this.#dropEnded(claimed, running)
      if (waiting === undefined) return true
      this.#refused = new Set(waiting.map(keyOf).filter((key) => this.#refused.has(key)))
      for (const rollout of waiting) this.#start(rollout, signal)
      return true
    } catch (error) {
      if (signal?.aborted === true) return true
      if (!isOneOf(error, ['store_unavailable'])) throw error
      this.#shop.warn('The gateway does not answer; it is asked again soon.', error)
      return false
    }
  }

  #start(rollout: GatewayRollout, signal: AbortSignal | undefined): void {
    const { rolloutId } = rollout
    const full = this.#live.size >= this.#concurrency || this.#left <= 0
    if (full || signal?.aborted === true || this.#live.has(rolloutId)) return
    if (this.#refused.has(keyOf(rollout))) return
    const attended = attend(this.#shop, rollout)
    this.#live.set(rolloutId, attended)
    this.#left--
    void attended.outcome.then((outcome) => {
      this.#live.delete(rolloutId)
      if (outcome === 'taken') this.#left++
      else if (outcome === 'succeeded') this.summary.succeeded++
      else this.summary.failed++
      if (outcome === 'taken' || outcome === 'refused')
        this.#refused = new Set([...this.#refused, keyOf(rollout)])
      this.wake()
    })
  }

  /** Rollouts of ours that run nowhere: the controller that ran them was killed, and its agents with it. */
  async #failOrphans(running: readonly GatewayRollout[]): Promise<void> {
    const { name } = this.#shop
    for (const { rolloutId, status } of running) {
      if (this.#live.has(rolloutId)) continue
      if (name !== undefined && status.k8sJobName !== name) continue
      try {
        await this.#shop.client.patchStatus(rolloutId, {
          state: 'failed',
          errorMessage: 'The agent has no process: its controller was killed.',
        })
      } catch (error) {
        if (!isOneOf(error, ['conflict', 'not_found'])) throw error
      }
    }
  }

  /** Agents whose rollout was ended or deleted meanwhile. */
  async #dropEnded(
    claimed: readonly [string, Attended][],
    running: readonly GatewayRollout[],
  ): Promise<void> {
    const found = new Set(running.map(({ rolloutId }) => rolloutId))
    for (const [rolloutId, attended] of claimed) {
      if (found.has(rolloutId) || this.#live.get(rolloutId) !== attended) continue
      if (await this.#hasEnded(rolloutId)) attended.drop()
    }
  }

  async #hasEnded(rolloutId: string): Promise<boolean> {
    try {
      return (await this.#shop.client.get(rolloutId)).rollout.status.state !== 'running'
    } catch (error) {
      if (isOneOf(error, ['not_found'])) return true
      throw error
    }
  }
}

/** A rollout may be deleted and another be added under its id. */
function keyOf({ rolloutId, status }: GatewayRollout): string {
  return `${rolloutId} ${status.createdAt}`
}

function isOneOf(error: unknown, codes: readonly AglErrorCode[]): boolean {
  return AglError.is(error) && codes.includes(error.code)
}

function warn(message: string, cause?: unknown): void {
  console.warn(`[agl:train] ${message}`, ...(cause === undefined ? [] : [cause]))
}

function invalid(name: string, what: string): AglError {
  return new AglError('value_invalid', `The controller's option ${name} must be ${what}.`)
}
