import { Agent, type ClientRequest, type IncomingMessage, request as httpRequest } from 'node:http'
import { Agent as SecureAgent, request as httpsRequest } from 'node:https'
import type { Address } from './address.ts'

/** A request that got no answer, or only a part of one. */
export class NoAnswer extends Error {
  /** Whether the server may have seen it. */
  readonly sent: boolean

  constructor(message: string, sent: boolean, cause?: unknown) {
    super(message, { cause })
    this.sent = sent
  }
}

export interface Answer {
  status: number
  /** By names in lower case. */
  headers: Readonly<Record<string, string | string[] | undefined>>
  body: Buffer
}

export interface Call {
  method: 'GET' | 'POST'
  /** After the server's root. */
  path: string
  body?: Uint8Array | string
  contentType?: string
  /** Milliseconds from the beginning to the last byte of the answer. */
  timeout: number
  signal?: AbortSignal | undefined
}

/** Milliseconds that making a connection may take, as in Agent Lightning's own client. */
const CONNECT_TIMEOUT = 5000
/** Milliseconds after which an idle connection is not used again: Python's servers close theirs after 5 s. */
const IDLE = 4000

/** Requests to one server over connections that are kept open for a while. */
export class Connection {
  readonly #address: Address
  readonly #agent: Agent

  constructor(address: Address) {
    this.#address = address
    const options = { keepAlive: true, timeout: IDLE }
    this.#agent = address.secure ? new SecureAgent(options) : new Agent(options)
  }

  /** @throws NoAnswer where none came */
  send(call: Call): Promise<Answer> {
    const { secure, hostname, port, prefix, token } = this.#address
    const { method, body } = call
    const headers: Record<string, string | number> = {}
    if (token !== undefined) headers['authorization'] = `Bearer ${token}`
    if (body !== undefined) {
      headers['content-type'] = call.contentType ?? 'application/json'
      headers['content-length'] = Buffer.byteLength(body)
    }
    const make = secure ? httpsRequest : httpRequest
    const request = make({ agent: this.#agent, hostname, port, path: prefix + call.path, method, headers })
    return new Promise((resolve, reject) => {
      let sent = false
      const fail = (message: string, cause?: unknown): void => {
        reject(new NoAnswer(message, sent, cause))
        request.destroy()
      }
      const late = setTimeout(() => fail(`no answer after ${call.timeout / 1000} s`), call.timeout)
      const gaveUp = (): void => fail('the caller gave up')
      if (call.signal?.aborted === true) gaveUp()
      call.signal?.addEventListener('abort', gaveUp)
      request.once('close', () => {
        clearTimeout(late)
        call.signal?.removeEventListener('abort', gaveUp)
      })
      onConnected(request, CONNECT_TIMEOUT, fail, () => (sent = true))
      request.once('error', (error) => fail(error.message, error))
      request.once('response', (response) => {
        read(response).then(resolve, (error: unknown) => fail('the answer was cut off', error))
      })
      request.end(body)
    })
  }

  close(): void {
    this.#agent.destroy()
  }
}

function onConnected(
  request: ClientRequest,
  timeout: number,
  fail: (message: string) => void,
  connected: () => void,
): void {
  request.once('socket', (socket) => {
    if (!socket.connecting) return connected()
    const late = setTimeout(() => fail(`no connection after ${timeout / 1000} s`), timeout)
    socket.once('connect', connected)
    for (const event of ['connect', 'close'] as const) socket.once(event, () => clearTimeout(late))
  })
}

async function read(response: IncomingMessage): Promise<Answer> {
  const chunks: Buffer[] = []
  for await (const chunk of response) if (Buffer.isBuffer(chunk)) chunks.push(chunk)
  const { statusCode: status = 0, headers } = response
  return { status, headers, body: chunks.length === 1 ? (chunks[0] ?? EMPTY) : Buffer.concat(chunks) }
}

const EMPTY = Buffer.alloc(0)
