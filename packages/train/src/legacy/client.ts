import { setTimeout as sleep } from 'node:timers/promises'
import { AglError } from '@agl/core'
import { Http, segment } from '../http.ts'
import { Fields } from '../json.ts'
import { milliseconds } from '../time.ts'
import { resourcesFromJSON, rolloutToJSON, taskFromJSON } from './records.ts'
import type { LegacyResources, LegacyRollout, LegacyTask } from './types.ts'

export interface LegacyClientOptions {
  url: string
  /** Seconds between two looks for a task. @default 5 */
  pollInterval?: number
  /** Seconds that one request may take. @default 10 */
  timeout?: number
}

/**
 * A client of an Agent Lightning server of before the store (`AgentLightningServer`, deprecated there): takes tasks, gives
 * back what came of them. Methods reject with an `AglError`, `store_unavailable` where the server does not answer.
 */
export class LegacyClient {
  readonly #http: Http
  readonly #pollInterval: number
  readonly #resources = new Map<string, LegacyResources>()

  /** @throws AglError `value_invalid` for a URL or numbers that make no sense */
  constructor({ url, pollInterval = 5, timeout = 10 }: LegacyClientOptions) {
    if (!(pollInterval >= 0))
      throw new AglError('value_invalid', "The legacy client's pollInterval must be a number of seconds.")
    const headers = { 'x-agentlightning-client': 'true' }
    this.#http = new Http('server', { url, timeout, headers, retries: 2 })
    this.#pollInterval = pollInterval
  }

  /** The next task, waited for as long as it takes, past a server that is away; undefined once `signal` aborts. */
  async nextTask({ signal }: { signal?: AbortSignal } = {}): Promise<LegacyTask | undefined> {
    const given = signal === undefined ? {} : { signal }
    const stopped = (): boolean => signal?.aborted === true
    while (!stopped()) {
      try {
        const task = await this.#task(given)
        if (task !== undefined) return task
      } catch (error) {
        if (stopped()) return undefined
        if (!AglError.is(error) || error.code !== 'store_unavailable') throw error
      }
      await sleep(milliseconds(this.#pollInterval), undefined, given).catch(() => undefined)
    }
    return undefined
  }

  /** A task whose answer is lost is given out again, after the server's time-out. */
  async #task(given: { signal?: AbortSignal }): Promise<LegacyTask | undefined> {
    const answer = await this.#http.send({ method: 'GET', path: '/task', repeatable: false, ...given })
    const json = new Fields('answer', answer)
    const task = json.optionalRecord('task')
    return json.boolean('is_available') && task !== null ? taskFromJSON(task) : undefined
  }

  /** What algorithms have given out last; undefined where there is nothing yet. */
  latestResources(): Promise<LegacyResources | undefined> {
    return this.#fetchResources('latest')
  }

  /** Resources under an id do not change: they are asked for once. */
  async resources(resourcesId: string): Promise<LegacyResources | undefined> {
    return this.#resources.get(resourcesId) ?? (await this.#fetchResources(segment(resourcesId)))
  }

  async #fetchResources(part: string): Promise<LegacyResources | undefined> {
    try {
      const path = `/resources/${part}`
      const found = resourcesFromJSON(await this.#http.send({ method: 'GET', path, repeatable: true }))
      this.#resources.set(found.resourcesId, found)
      return found
    } catch (error) {
      if (AglError.is(error) && error.code === 'not_found') return undefined
      throw error
    }
  }

  /** Resolves when the server has it. */
  async postRollout(rollout: LegacyRollout): Promise<void> {
    const body = rolloutToJSON(rollout)
    await this.#http.send({ method: 'POST', path: '/rollout', body, repeatable: false })
  }
}
