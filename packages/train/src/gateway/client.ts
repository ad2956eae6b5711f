import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { AglError } from '@agl/core'
import { Http, segment, type Call, type HttpOptions } from '../http.ts'
import { Fields, readList } from '../json.ts'
import { milliseconds } from '../time.ts'
import {
  enqueueToJSON,
  eventFromJSON,
  modelFromJSON,
  proxyStateFromJSON,
  rolloutFromJSON,
  statusToJSON,
  terminalFromJSON,
  tripletFromJSON,
} from './records.ts'
import type {
  EnqueueInput,
  GatewayEvent,
  GatewayModel,
  GatewayRollout,
  GatewayState,
  PauseOptions,
  ProxyState,
  StatusPatch,
  TerminalPage,
  TerminalRollout,
  TripletEvent,
} from './types.ts'

export type GatewayClientOptions = Pick<HttpOptions, 'url' | 'key' | 'timeout' | 'retries'>

export interface TerminalOptions {
  /** The cursor to go on from. @default 0, all since the gateway was started */
  after?: number
  /** Rollouts per request. @default 1000 */
  limit?: number
  /** Go on with those that end later, until `signal` aborts. @default false */
  follow?: boolean
  /** Seconds between two looks. @default 1 */
  pollInterval?: number
  signal?: AbortSignal
}

/** The attempt whose events the gateway shows. */
export const ATTEMPT_ID = '0'

/**
 * A client of Agent Lightning's gateway (version 1.0).
 *
 * Requests that may be repeated are, when the gateway is away for a moment; all others only where they have not arrived.
 * Every method rejects with an `AglError`: `store_unavailable` where the gateway does not answer or cannot now,
 * `not_found`, `conflict`, `config_invalid` for the key, `value_invalid` for what it does not accept.
 */
export class GatewayClient {
  readonly #http: Http

  /** @throws AglError `value_invalid` for a URL or numbers that make no sense */
  constructor(options: GatewayClientOptions) {
    this.#http = new Http('gateway', options)
  }

  get url(): string {
    return this.#http.url
  }

  /** Resolves if a gateway answers there; the key is not looked at. */
  async health(): Promise<void> {
    const answer = await this.#http.send({ method: 'GET', path: '/healthz', repeatable: true })
    new Fields('health', answer).text('status')
  }

  /** Adds rollouts to the end of the queue and returns them in the same order. */
  async enqueue(rollouts: readonly EnqueueInput[]): Promise<GatewayRollout[]> {
    // With ids of ours, sending them twice adds them once.
    const named = rollouts.map((one) => ({
      ...one,
      rolloutId: one.rolloutId ?? randomUUID().replaceAll('-', ''),
    }))
    for (const { rolloutId } of named) segment(rolloutId)
    const body = named.map(enqueueToJSON)
    const answer = await this.#http.send({ method: 'POST', path: '/api/rollouts', body, repeatable: true })
    return readList('rollouts', answer, rolloutFromJSON)
  }

  /** The oldest rollouts that are in one of these states. */
  async list(
    states: readonly GatewayState[],
    options: { limit?: number; signal?: AbortSignal } = {},
  ): Promise<GatewayRollout[]> {
    const { limit = 500, signal } = options
    if (states.length === 0) return []
    const query = new URLSearchParams({ limit: String(limit) })
    for (const state of states) query.append('state_in', state)
    const answer = await this.#http.send({
      method: 'GET',
      path: '/api/rollouts',
      query,
      repeatable: true,
      ...(signal === undefined ? {} : { signal }),
    })
    return readList('rollouts', answer, rolloutFromJSON)
  }

  /** One page of the rollouts that have ended, in the order in which they did. */
  async terminalPage(
    options: Pick<TerminalOptions, 'after' | 'limit' | 'signal'> = {},
  ): Promise<TerminalPage> {
    const { after = 0, limit = 1000, signal } = options
    const query = new URLSearchParams({ after: String(after), limit: String(limit) })
    const path = '/api/rollouts/terminal'
    const send = { method: 'GET', path, query, repeatable: true } as const
    const answer = await this.#http.send(signal === undefined ? send : { ...send, signal })
    return terminalFromJSON(answer)
  }

  /**
   * The rollouts that have ended, each once, in the order in which they did; deleted ones are passed over.
   *
   * @throws AglError `conflict` when the gateway was started anew and knows fewer than were read
   */
  async *terminal(options: TerminalOptions = {}): AsyncGenerator<TerminalRollout, void> {
    const { limit = 1000, follow = false, pollInterval = 1, signal } = options
    let after = options.after ?? 0
    const stopped = (): boolean => signal?.aborted === true
    while (!stopped()) {
      try {
        const page = await this.terminalPage(
          signal === undefined ? { after, limit } : { after, limit, signal },
        )
        if (page.totalTerminal < after)
          throw new AglError(
            'conflict',
            `The gateway knows ${page.totalTerminal} ended rollouts and not the ${after} that were read: it was started anew; begin with after 0.`,
          )
        yield* page.items
        after = page.nextAfter
        if (after < page.totalTerminal) continue
        if (!follow) return
        await sleep(milliseconds(pollInterval), undefined, signal === undefined ? {} : { signal })
      } catch (error) {
        if (stopped()) return
        throw error
      }
    }
  }

  /** The rollout, and the attempts of which there are events. */
  async get(rolloutId: string): Promise<{ rollout: GatewayRollout; attempts: string[] }> {
    const path = `/api/rollouts/${segment(rolloutId)}`
    const json = new Fields('answer', await this.#http.send({ method: 'GET', path, repeatable: true }))
    return { rollout: rolloutFromJSON(json.object['rollout']), attempts: json.list('attempts', String) }
  }

  /**
   * Changes what is given of the status: from `queuing` to `running` or `failed`, from there to `succeeded` or `failed`.
   *
   * @throws AglError `conflict` for every other change of state, to the present one too
   */
  async patchStatus(rolloutId: string, status: StatusPatch): Promise<GatewayRollout> {
    const path = `/api/rollouts/${segment(rolloutId)}`
    const body = { status: statusToJSON(status) }
    return rolloutFromJSON(await this.#http.send({ method: 'PATCH', path, body, repeatable: false }))
  }

  /** Removes a rollout and its events; one that does not exist is no error. */
  async delete(rolloutId: string): Promise<void> {
    await this.#http.send({
      method: 'DELETE',
      path: `/api/rollouts/${segment(rolloutId)}`,
      repeatable: true,
    })
  }

  /** Adds an event to an attempt of the rollout; the gateway shows those of its last attempt. */
  async sendEvent(
    rolloutId: string,
    eventType: string,
    data: Readonly<Record<string, unknown>> = {},
    attemptId: string = ATTEMPT_ID,
  ): Promise<GatewayEvent> {
    const path = `/api/rollouts/${segment(rolloutId)}/attempt/${segment(attemptId)}/events`
    const body = { event_type: eventType, data }
    return eventFromJSON(await this.#http.send({ method: 'POST', path, body, repeatable: false }))
  }

  /**
   * What happened in the rollout's last attempt, in order. The format `triplet` gives what training needs: ids and
   * log probabilities of each call, the last of those with the same prompt, and rewards.
   */
  events(rolloutId: string, options: { eventType?: string; format: 'triplet' }): Promise<TripletEvent[]>
  events(rolloutId: string, options?: { eventType?: string }): Promise<GatewayEvent[]>
  async events(
    rolloutId: string,
    { eventType, format }: { eventType?: string; format?: 'triplet' } = {},
  ): Promise<GatewayEvent[] | TripletEvent[]> {
    const query = new URLSearchParams()
    if (eventType !== undefined) query.set('event_type', eventType)
    if (format !== undefined) query.set('format', format)
    const path = `/api/rollouts/${segment(rolloutId)}/events`
    const answer = await this.#http.send({ method: 'GET', path, query, repeatable: true })
    return format === 'triplet'
      ? readList('events', answer, tripletFromJSON)
      : readList('events', answer, eventFromJSON)
  }

  /** Adds model servers, or renews the version of those that are known. */
  async registerModels(models: readonly GatewayModel[]): Promise<Required<GatewayModel>[]> {
    const answer = await this.#http.send({
      method: 'POST',
      path: '/api/models',
      body: models,
      repeatable: true,
    })
    return readList('models', answer, modelFromJSON)
  }

  /** Forgets all model servers. */
  async removeModels(): Promise<void> {
    await this.#http.send({ method: 'DELETE', path: '/api/models', repeatable: true })
  }

  /**
   * Lets no further model call through, such as while the servers load new weights: agents are answered with 429 and are
   * told when to come again. Calls that are under way go on; `proxyState` counts them.
   *
   * @throws AglError `value_invalid` where `retryAfterSeconds` is no whole number from 0
   */
  async pauseProxy({ retryAfterSeconds = 5, reason }: PauseOptions = {}): Promise<ProxyState> {
    if (!Number.isInteger(retryAfterSeconds) || retryAfterSeconds < 0)
      throw new AglError('value_invalid', 'retryAfterSeconds must be a whole number of seconds from 0.')
    const body = { retry_after_seconds: retryAfterSeconds, reason: reason ?? null }
    return this.#proxy({ method: 'POST', path: '/proxy/pause', body, repeatable: true })
  }

  /** Lets model calls through again; no error where they were. */
  async resumeProxy(): Promise<ProxyState> {
    return this.#proxy({ method: 'POST', path: '/proxy/resume', repeatable: true })
  }

  async proxyState(): Promise<ProxyState> {
    return this.#proxy({ method: 'GET', path: '/proxy/state', repeatable: true })
  }

  async #proxy(call: Call): Promise<ProxyState> {
    return proxyStateFromJSON(await this.#http.send(call))
  }

  /**
   * The environment variables by which an agent finds its model and where to send its rewards. They hold the key.
   *
   * @param url where the agent reaches the gateway, if not where this client does
   */
  agentEnvironment(
    { rolloutId, isTrain }: Pick<GatewayRollout, 'rolloutId' | 'isTrain'>,
    url: string = this.url,
  ): Record<'AGL_OPENAI_BASE_URL' | 'AGL_EVENT_URL' | 'AGL_KEY', string> {
    const id = segment(rolloutId)
    const base = url.replace(/\/+$/, '')
    const mode = isTrain ? 'train' : 'val'
    return {
      AGL_OPENAI_BASE_URL: `${base}/proxy/rollout/${id}/attempt/${ATTEMPT_ID}/mode/${mode}/openai/v1`,
      AGL_EVENT_URL: `${base}/api/rollouts/${id}/attempt/${ATTEMPT_ID}/events`,
      AGL_KEY: this.#http.key,
    }
  }
}
