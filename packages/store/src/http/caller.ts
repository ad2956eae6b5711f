import { setTimeout as sleep } from 'node:timers/promises'
import { AglError } from '@agl/core'
import { SERVER_NAME } from '../server/name.ts'
import type { Address } from './address.ts'
import { type Answer, type Call, Connection, NoAnswer } from './connection.ts'
import { isNotFound, toError, uncertain, unreachable } from './errors.ts'

export interface CallOptions {
  /** JSON text. */
  body?: string
  /** Whether to do it twice would count twice, so that it must not be sent again once the server may have seen it. */
  once?: boolean
  /** Milliseconds that the server may take beyond the usual, since it was asked to wait. */
  patience?: number
  signal?: AbortSignal | undefined
  /** Ends the tries: a request that is under way is waited for, but no other follows. */
  until?: AbortSignal | undefined
}

/** Seconds before each further try, and between looks whether the server is well: Agent Lightning's own. */
const RETRIES = [1, 2, 5]
const HEALTH = [0.1, 0.2, 0.5]
/** Further looks, at a server that has answered before: it may be about to be restarted. About a minute in all. */
const RESTART = [1, 2, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5]
const REQUEST_TIMEOUT = 30_000
const HEALTH_PATH = '/v1/agl/health'

/**
 * Calls to a store's server, with the retry rules of Agent Lightning's own client: what the server refused is final;
 * where it failed or did not answer, it is tried again as soon as the server says that it is well.
 */
export class Caller {
  readonly shown: string
  readonly #connection: Connection
  readonly #closing = new AbortController()
  #isOurs: boolean | undefined
  /** Seconds by which the server's clock is ahead, to the second. */
  #ahead = 0

  constructor(address: Address) {
    this.shown = address.shown
    this.#connection = new Connection(address)
  }

  /** The server's clock as far as its answers show it, in Unix seconds. */
  get now(): number {
    return Date.now() / 1000 + this.#ahead
  }

  /** Whether the server is one of ours, which can do more. */
  async isOurs(): Promise<boolean> {
    if (this.#isOurs === undefined) await this.call('GET', '/health')
    return this.#isOurs === true
  }

  /** The JSON of the answer to a call of the API. @throws AglError */
  async call(method: 'GET' | 'POST', path: string, options: CallOptions = {}): Promise<unknown> {
    const { body, once = false, patience = 0, signal, until } = options
    const timeout = REQUEST_TIMEOUT + patience
    const answer = await this.send(
      { method, path: `/v1/agl${path}`, timeout, signal, ...(body !== undefined && { body }) },
      once,
      [],
      until,
    )
    return this.json(answer)
  }

  /** @throws AglError store_unavailable where the answer has none */
  json({ body }: Answer): unknown {
    try {
      return JSON.parse(body.toString())
    } catch (cause) {
      const message = `The server at ${this.shown} answered with what is no JSON; is it a store of Agent Lightning v0.3?`
      throw new AglError('store_unavailable', message, { cause })
    }
  }

  /** The answer, which is a success or has one of the `wanted` statuses. @throws AglError */
  async send(
    call: Call,
    once: boolean,
    wanted: readonly number[] = [],
    until: AbortSignal | undefined = call.signal,
  ): Promise<Answer> {
    for (const delay of [...RETRIES, undefined]) {
      const result = await this.#try(call)
      if (!(result instanceof Error)) {
        if (result.status < 300 || wanted.includes(result.status)) return result
        if (isFinal(result)) throw toError(result, this.shown)
      }
      const end = AbortSignal.any([this.#closing.signal, ...(until === undefined ? [] : [until])])
      const isKnown = this.#isOurs !== undefined
      const error = result instanceof Error ? unreachable(this.shown, result) : toError(result, this.shown)
      if (end.aborted) throw error
      if (once && (!(result instanceof NoAnswer) || result.sent)) {
        throw result instanceof Error ? uncertain(this.shown, result) : error
      }
      if (
        delay === undefined ||
        !(await this.#becomesWell(isKnown ? [...HEALTH, ...RESTART] : HEALTH, end))
      ) {
        throw error
      }
      // One that could not be reached at all is not overburdened.
      if (!(result instanceof Error)) await pause(delay, end)
    }
    throw unreachable(this.shown, new Error('it was tried often enough'))
  }

  close(): void {
    this.#closing.abort()
    this.#connection.close()
  }

  async #try(call: Call): Promise<Answer | NoAnswer> {
    try {
      const answer = await this.#connection.send(call)
      // A proxy answers for a server that is away.
      const isOurs = answer.headers['server'] === SERVER_NAME
      if (isOurs || answer.status < 500) this.#isOurs = isOurs
      this.#hear(String(answer.headers['date'] ?? ''))
      return answer
    } catch (error) {
      if (error instanceof NoAnswer) return error
      throw error
    }
  }

  #hear(date: string): void {
    const ahead = (Date.parse(date) + 500 - Date.now()) / 1000
    // The header knows whole seconds only.
    this.#ahead = Math.abs(ahead) > 2 ? ahead : 0
  }

  async #becomesWell(pauses: readonly number[], end: AbortSignal): Promise<boolean> {
    for (const seconds of [...pauses, 0]) {
      const answer = await this.#try({ method: 'GET', path: HEALTH_PATH, timeout: 5000 })
      if (!(answer instanceof Error) && answer.status === 200) return true
      if (end.aborted) return false
      if (seconds > 0) await pause(seconds, end)
    }
    return false
  }
}

async function pause(seconds: number, end: AbortSignal): Promise<void> {
  await sleep(seconds * 1000, undefined, { signal: end }).catch(() => undefined)
}

function isFinal(answer: Answer): boolean {
  return (answer.status < 500 && answer.status !== 408) || isNotFound(answer)
}
