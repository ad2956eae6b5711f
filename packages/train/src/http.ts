import { setTimeout as sleep } from 'node:timers/promises'
import { AglError } from '@agl/core'
import { isObject } from './json.ts'

export interface HttpOptions {
  /** Where the server is. */
  url: string
  /** Sent as a bearer token; never part of a message. */
  key?: string
  headers?: Readonly<Record<string, string>>
  /** Seconds that one request may take. @default 30 */
  timeout?: number
  /** How often a request is sent again that may be sent again. @default 4 */
  retries?: number
}

export interface Call {
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE'
  path: string
  query?: URLSearchParams
  body?: unknown
  /** A body that is JSON already. */
  json?: string
  /** Whether doing it twice is the same as once. If not, it is sent again only where it has not arrived. */
  repeatable: boolean
  signal?: AbortSignal
}

const FIRST_PAUSE = 0.25
const LONGEST_PAUSE = 30
const MOST_DETAIL = 500
/** What says that no connection was made, so that nothing has happened. */
const NOT_CONNECTED = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
])

class Unanswered extends AglError {
  readonly arrived: boolean
  readonly retryAfter: number

  constructor(message: string, options: { arrived: boolean; retryAfter?: number; cause?: unknown }) {
    super('store_unavailable', message, { cause: options.cause })
    this.arrived = options.arrived
    this.retryAfter = options.retryAfter ?? 0
  }
}

/** JSON over HTTP, with what every client needs: time-outs, repetition where that is safe, errors of one sentence. */
export class Http {
  /** Without a slash at its end. */
  readonly url: string
  readonly #server: string
  readonly #key: string
  readonly #headers: Record<string, string>
  readonly #timeout: number
  readonly #retries: number

  /**
   * @param server what it is called in messages: `gateway`
   * @throws AglError `value_invalid` for a URL or numbers that make no sense
   */
  constructor(server: string, { url, key = '', headers = {}, timeout = 30, retries = 4 }: HttpOptions) {
    this.#server = server
    this.url = checkedURL(server, url)
    if (!(timeout > 0 && timeout <= 2_000_000))
      throw invalid(server, 'timeout', 'a number of seconds above 0')
    if (!(Number.isInteger(retries) && retries >= 0))
      throw invalid(server, 'retries', 'a whole number from 0')
    if (/[^\x21-\x7e]/.test(key)) throw invalid(server, 'key', 'of printable ASCII characters')
    this.#key = key
    this.#headers = { ...headers, ...(key === '' ? {} : { authorization: `Bearer ${key}` }) }
    this.#timeout = timeout
    this.#retries = retries
  }

  get key(): string {
    return this.#key
  }

  /**
   * What the server answers, parsed.
   *
   * @throws AglError `store_unavailable` where trying again later can help; `not_found`, `conflict`, `config_invalid`
   *   (the key), `value_invalid` (what was sent), `value_unserializable`, `body_invalid` (the answer)
   */
  async send(call: Call): Promise<unknown> {
    const body = call.body === undefined ? call.json : toJSON(call.body)
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#once(call, body)
      } catch (error) {
        const again = error instanceof Unanswered && (call.repeatable || !error.arrived)
        if (!again || attempt >= this.#retries) throw error
        const pause = Math.max(FIRST_PAUSE * 2 ** attempt, error.retryAfter)
        await sleep(Math.min(pause, LONGEST_PAUSE) * 1000, undefined, { signal: call.signal })
      }
    }
  }

  async #once({ method, path, query, signal }: Call, body: string | undefined): Promise<unknown> {
    const url = `${this.url}${path}${query === undefined ? '' : `?${query.toString()}`}`
    const late = AbortSignal.timeout(this.#timeout * 1000)
    let response: Response
    let text: string
    try {
      response = await fetch(url, {
        method,
        headers: { ...this.#headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
        ...(body === undefined ? {} : { body }),
        // A key must not follow a redirection, and a POST would become a GET.
        redirect: 'manual',
        signal: signal === undefined ? late : AbortSignal.any([signal, late]),
      })
      text = await response.text()
    } catch (cause) {
      if (signal?.aborted === true) throw signal.reason
      throw this.#unanswered(cause, late.aborted)
    }
    if (!response.ok) throw this.#refused(response, text, `${method} ${path}`)
    if (text === '') return undefined
    try {
      return JSON.parse(text)
    } catch (cause) {
      const message = `The ${this.#server} at ${this.url} answers ${method} ${path} with what is no JSON; check its url.`
      throw new AglError('body_invalid', message, { cause })
    }
  }

  #unanswered(cause: unknown, late: boolean): Unanswered {
    const code = late ? '' : codeOf(cause)
    const why = late ? `within ${this.#timeout} s` : code === '' ? '' : `(${code})`
    const message = `The ${this.#server} at ${this.url} does not answer${why && ` ${why}`}; check that it runs there.`
    return new Unanswered(message, { arrived: !NOT_CONNECTED.has(code), cause })
  }

  #refused({ status, headers }: Response, text: string, what: string): AglError {
    const detail = this.#withoutKey(detailOf(text))
    const said = `The ${this.#server} answers ${what.trim()} with ${status}${detail === '' ? '' : `: ${detail}`}`
    if (status === 429 || status === 408 || status >= 500) {
      const retryAfter = Number(headers.get('retry-after') ?? 0)
      return new Unanswered(`${said}; try again later.`, {
        arrived: status !== 429,
        retryAfter: retryAfter > 0 ? retryAfter : 0,
      })
    }
    if (status === 401 || status === 403)
      return new AglError(
        'config_invalid',
        `The ${this.#server} at ${this.url} refuses the key (${status}); give the one that it was started with.`,
      )
    if (status === 404) return new AglError('not_found', `${said}; check the id and the url.`)
    if (status === 409) return new AglError('conflict', `${said}; ask for its present state.`)
    if (status < 400) return new AglError('value_invalid', `${said}, a redirection; give its final url.`)
    return new AglError('value_invalid', `${said}; correct what is sent.`)
  }

  #withoutKey(text: string): string {
    return this.#key === '' ? text : text.replaceAll(this.#key, '[key]')
  }
}

/** A part of a path. @throws AglError `value_invalid` for what cannot be one */
export function segment(id: string): string {
  if (id === '' || id === '.' || id === '..')
    throw new AglError('value_invalid', `"${id}" is no id; give that of a rollout.`)
  return encodeURIComponent(id)
}

/**
 * JSON of what is sent. NaN and infinities, of which JSON would make null without a word, are refused.
 *
 * @throws AglError `value_unserializable`
 */
export function toJSON(body: unknown): string {
  try {
    return JSON.stringify(body, (name, value: unknown) => {
      if (typeof value !== 'number' || Number.isFinite(value)) return value
      throw new TypeError(`${name} is ${value}`)
    })
  } catch (cause) {
    const why = cause instanceof Error ? cause.message.split('\n', 1)[0] : String(cause)
    throw new AglError('value_unserializable', `What is sent cannot be JSON (${why}); leave it out.`, {
      cause,
    })
  }
}

function checkedURL(server: string, text: string): string {
  const url = URL.parse(text)
  if (url === null || !/^https?:$/.test(url.protocol))
    throw invalid(server, 'url', 'like http://127.0.0.1:8080')
  if (url.username !== '' || url.password !== '')
    throw new AglError('value_invalid', `The ${server}'s url must not hold a password; give it as key.`)
  return `${url.origin}${url.pathname}`.replace(/\/+$/, '')
}

/** What a FastAPI server says: `{"detail": …}`, or the text itself. */
function detailOf(text: string): string {
  let said: unknown = text
  try {
    const body: unknown = JSON.parse(text)
    if (isObject(body) && 'detail' in body) said = body['detail']
  } catch {
    // Not every server answers JSON when it refuses.
  }
  const detail = typeof said === 'string' ? said : JSON.stringify(said)
  return detail.replaceAll(/\s+/g, ' ').trim().slice(0, MOST_DETAIL)
}

/** The system's name of what went wrong below `fetch`. */
function codeOf(error: unknown): string {
  for (let cause = error; cause instanceof Error; cause = cause.cause)
    if ('code' in cause && typeof cause.code === 'string') return cause.code
  return ''
}

function invalid(server: string, name: string, what: string): AglError {
  return new AglError('value_invalid', `The ${server}'s ${name} must be ${what}.`)
}
