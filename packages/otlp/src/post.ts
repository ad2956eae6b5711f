import { Buffer } from 'node:buffer'
import { promisify } from 'node:util'
import { deflate, gzip } from 'node:zlib'
import { AglError } from '@agl/core'
import { readPartialSuccess } from './response.ts'

export type Compression = 'none' | 'gzip' | 'deflate'
export type HeaderValues = Readonly<Record<string, string>>
export type HeadersOption = HeaderValues | (() => HeaderValues | Promise<HeaderValues>)

/** What became of one request. */
export type Outcome =
  /** The server has the spans, but for those that it says it has not. */
  | { kind: 'taken'; rejected: number; message: string }
  /** Not now: the server is away, busy or too slow. `wait` is what it asked for, in milliseconds. */
  | { kind: 'later'; message: string; wait: number }
  /** Something in the request is wrong: perhaps in one span only. */
  | { kind: 'bad'; message: string; status: number }
  /** No such request will ever be taken: a wrong key, a wrong address. */
  | { kind: 'refused'; message: string; status: number }

export interface PostOptions {
  url: URL
  headers: HeadersOption
  compression: Compression
  timeout: number
  closed: AbortSignal
}

const RETRYABLE: ReadonlySet<number> = new Set([429, 502, 503, 504])
const BAD: ReadonlySet<number> = new Set([400, 413, 422])
/** Nobody waits longer for a server, whatever it asks for. */
const LONGEST_WAIT = 5 * 60_000
/** Read of an answer; the rest says nothing that we understand. */
const MOST_ANSWER = 64 * 1024
const MOST_TEXT = 200

const compressors = { gzip: promisify(gzip), deflate: promisify(deflate) }
export const COMPRESSIONS: readonly Compression[] = ['none', 'gzip', 'deflate']

/** Sends one request. Never rejects, and nothing of what it says holds a header's value. */
export async function post(body: Uint8Array, contentType: string, options: PostOptions): Promise<Outcome> {
  const { compression, timeout, closed } = options
  const signal = AbortSignal.any([closed, AbortSignal.timeout(timeout)])
  let given: HeaderValues = {}
  try {
    given = await headersFrom(options, signal)
    const headers = {
      'user-agent': 'agl-otlp',
      ...lowerCased(given),
      'content-type': contentType,
      ...(compression !== 'none' && { 'content-encoding': compression }),
    }
    checkHeaders(headers)
    const response = await fetch(options.url, {
      method: 'POST',
      headers,
      body: compression === 'none' ? body : await compressors[compression](body),
      // A redirected POST may arrive as a GET, and its page of HTML would pass for success.
      redirect: 'manual',
      signal,
    })
    return outcomeOf(response, await start(response), given)
  } catch (error) {
    return { kind: 'later', message: withoutSecrets(failureText(error, timeout), given), wait: 0 }
  }
}

function outcomeOf(response: Response, answer: Uint8Array, given: HeaderValues): Outcome {
  const { status } = response
  const contentType = response.headers.get('content-type')
  if (response.ok) {
    const { rejected, message } = readPartialSuccess(answer, contentType)
    return { kind: 'taken', rejected, message: withoutSecrets(message.slice(0, MOST_TEXT), given) }
  }
  const said = withoutSecrets(readable(answer), given)
  const message = said === '' ? `it answers ${status}` : `it answers ${status}: ${said}`
  if (RETRYABLE.has(status)) {
    return { kind: 'later', message, wait: waitAskedFor(response.headers.get('retry-after')) }
  }
  if (BAD.has(status) || status === 500) return { kind: 'bad', message, status }
  if (status === 401 || status === 403) {
    return { kind: 'refused', message: `it answers ${status}; check the key in "headers"`, status }
  }
  if (status >= 300 && status < 400) {
    return { kind: 'refused', message: `it answers ${status}, a redirection; give the final "url"`, status }
  }
  return { kind: 'refused', message: `${message}; check the "url"`, status }
}

async function start(response: Response): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let size = 0
  // Leaving the loop early cancels the rest.
  for await (const chunk of response.body ?? []) {
    chunks.push(chunk)
    size += chunk.length
    if (size > MOST_ANSWER) break
  }
  return Buffer.concat(chunks)
}

/** The readable part of an answer, which is text, JSON, or a short protobuf message around a text. */
function readable(answer: Uint8Array): string {
  const text = Buffer.from(answer.subarray(0, MOST_TEXT * 2)).toString()
  return text
    .replace(/[^\x20-\x7e\u00a0-\ufffc]+/g, ' ')
    .trim()
    .slice(0, MOST_TEXT)
}

/** Milliseconds, from seconds or a date. */
function waitAskedFor(header: string | null): number {
  if (header === null) return 0
  const wait = /^\s*\d+\s*$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now()
  return Number.isNaN(wait) ? 0 : Math.min(Math.max(wait, 0), LONGEST_WAIT)
}

function failureText(error: unknown, timeout: number): string {
  if (!(error instanceof Error)) return String(error)
  if (isTimeout(error)) return `it has not answered within ${timeout} ms`
  if (error.name === 'AbortError') return 'the sink was closed'
  const { cause } = error
  const code: unknown = cause instanceof Error && 'code' in cause ? cause.code : undefined
  if (typeof code === 'string') return `it cannot be reached (${code})`
  return cause instanceof Error ? cause.message : error.message
}

function isTimeout(error: unknown): boolean {
  return error instanceof Error && error.name === 'TimeoutError'
}

/** What a program's own function throws may hold the key that it asked for: nothing of it is said but its class. */
async function headersFrom(
  { headers: option, timeout }: PostOptions,
  signal: AbortSignal,
): Promise<HeaderValues> {
  if (typeof option !== 'function') return option
  try {
    signal.throwIfAborted()
    const given: unknown = await Promise.race([option(), abortOf(signal)])
    if (isHeaders(given)) return given
    throw new TypeError('no headers')
  } catch (error) {
    const what = 'the function for "headers"'
    if (signal.aborted && error === signal.reason) {
      throw isTimeout(error) ? new Error(`${what} has not given them within ${timeout} ms`) : error
    }
    const kind = error instanceof Error ? error.constructor.name : typeof error
    throw new Error(`${what} fails (${kind})`)
  }
}

function abortOf(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
}

function isHeaders(value: unknown): value is HeaderValues {
  return typeof value === 'object' && value !== null
}

function lowerCased(headers: HeaderValues): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
}

/** @throws AglError `value_invalid` that names the header; what `fetch` throws would show its value */
export function checkHeaders(headers: HeaderValues): void {
  for (const [name, value] of Object.entries(headers)) {
    try {
      if (typeof value !== 'string') throw new TypeError('no text')
      new Headers([[name, value]])
    } catch {
      throw new AglError(
        'value_invalid',
        `The header "${name.replace(/[^\w-]/g, '?')}" cannot be sent; it must be one line of ASCII.`,
      )
    }
  }
}

/** A server may repeat a key in what it answers. */
function withoutSecrets(text: string, headers: HeaderValues): string {
  let clean = text
  const secrets = Object.values(headers).flatMap((value) => [String(value), ...String(value).split(/\s+/)])
  for (const secret of secrets) if (secret.length > 3) clean = clean.replaceAll(secret, '…')
  return clean
}
