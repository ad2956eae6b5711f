import { once } from 'node:events'
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http'
import { type Socket, isIP } from 'node:net'
import { AglError } from '@agl/core'
import type { Store } from '../store.ts'
import { type Access, authorize, isAllowed } from './access.ts'
import { readJSON } from './body.ts'
import { SERVER_NAME, TOKEN } from './name.ts'
import { HttpError } from './problems.ts'
import { type Reply, failure, send } from './reply.ts'
import { type Route, routes } from './routes.ts'
import { receiveTraces } from './traces.ts'

export interface ServeOptions {
  /** 0 is any that is free. @default 4747 */
  port?: number
  /** The address to listen on. Only this machine reaches the default. @default '127.0.0.1' */
  host?: string
  /**
   * What clients have to show, as a bearer token or as the password of their URL. Without one everybody who reaches
   * the server can read and change the store.
   */
  token?: string | undefined
  /** Origins of web pages that may use the server, such as `http://localhost:3000`; `*` is all. @default none */
  cors?: readonly string[]
  /** Most bytes of a request's body, also when inflated; more is answered with 413. @default 64 MB */
  maxBodyBytes?: number
  /** Milliseconds that requests which are being answered get when the server closes. @default 10000 */
  grace?: number
  /** Milliseconds after which a client that does not read its answer is given up. @default 60000 */
  patience?: number
  /** Hears of what went wrong that is no client's fault. */
  onError?: (error: unknown) => void
}

/** A store that is being served. */
export interface StoreServer extends AsyncDisposable {
  /** Where clients reach it, as in `http://127.0.0.1:4747`. */
  readonly url: string
  /** Answers what has been asked and ends what waits; the store stays open. */
  close(): Promise<void>
}

const PREFIX = '/v1/agl/'
const NOT_IMPLEMENTED = ['/v1/metrics', '/v1/logs', '/v1/development/profiles']
const MEBIBYTE = 1024 * 1024

export async function serve(store: Store, options: ServeOptions = {}): Promise<StoreServer> {
  const { port = 4747, host = '127.0.0.1', token, cors = [], maxBodyBytes = 64 * MEBIBYTE } = options
  const { grace = 10_000, patience = 60_000, onError } = options
  if (token === '') throw new AglError('usage', 'The token is empty; give one, or none at all.')
  if (token !== undefined && !TOKEN.test(token)) {
    throw new AglError('usage', 'The token cannot be sent in a header; take letters, digits and punctuation.')
  }
  const access: Access = { token, isLocal: isLoopback(host), cors }
  /** Of the requests that are being answered. */
  const waiting = new Set<AbortController>()
  const sockets = new Set<Socket>()

  const server = createServer(
    {
      // A client gets this long for its headers and for all of its request; what it waits for may take longer.
      headersTimeout: 15_000,
      requestTimeout: 120_000,
      connectionsCheckingInterval: 5000,
      // Longer than clients keep idle connections, so that none is closed in the moment of being used again.
      keepAliveTimeout: 75_000,
      // So that a machine that is gone without a word is noticed though it was only waited for.
      keepAlive: true,
      keepAliveInitialDelay: 30_000,
    },
    (request, response) => {
      const controller = new AbortController()
      waiting.add(controller)
      response.once('close', () => {
        waiting.delete(controller)
        if (!response.writableFinished) controller.abort()
        // Its connection was none to close when the server began to.
        if (closing !== undefined) setImmediate(() => server.closeIdleConnections())
      })
      void answer(request, response, controller.signal)
    },
  )
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })

  async function answer(
    request: IncomingMessage,
    response: ServerResponse,
    signal: AbortSignal,
  ): Promise<void> {
    response.setHeader('server', SERVER_NAME)
    try {
      const allowed = allowOrigin(request, response, cors)
      if (request.method === 'OPTIONS' && allowed) return void response.end()
      const reply = await respond(request, signal)
      if ('undo' in reply) whenLost(response, reply.undo, onError)
      if (!response.destroyed) await answerWith(reply)
    } catch (error) {
      if (response.destroyed) return
      if (response.headersSent) return void response.destroy()
      const { reply, headers } = failure(error)
      if (reply.status >= 500 && !isTheirs(error)) onError?.(error)
      response.setHeaders(new Headers(headers))
      await answerWith(reply).catch(() => response.destroy())
    }
    function answerWith(reply: Reply): Promise<void> {
      if (closing !== undefined) response.setHeader('connection', 'close')
      return send(request, response, reply, patience)
    }
  }

  async function respond(request: IncomingMessage, signal: AbortSignal): Promise<Reply> {
    // Not by the URL class, for which an id of two dots would be the folder above.
    const [, pathname = '/', search = ''] = /^([^?]*)\??(.*)$/s.exec(request.url ?? '/') ?? []
    const query = new URLSearchParams(search)
    const isTraces = pathname === '/v1/traces'
    const { route, ids } = isTraces ? { route: undefined, ids: [] } : find(request.method, pathname)
    if (pathname !== `${PREFIX}health`) authorize(request, access)
    if (isTraces) {
      if (request.method !== 'POST') throw new HttpError(405, 'Method Not Allowed', { allow: 'POST' })
      return receiveTraces(request, query, store, maxBodyBytes)
    }
    if (route === undefined) {
      return { status: 501, contentType: 'text/plain', body: Buffer.alloc(0) }
    }
    const body = request.method === 'POST' ? await readJSON(request, maxBodyBytes) : undefined
    return route.handle({ store, ids, body, query, signal })
  }

  let closing: Promise<void> | undefined
  const close = async (): Promise<void> => {
    const closed = once(server, 'close')
    server.close()
    server.closeIdleConnections()
    // Connections that were only made, as browsers do, do not count as idle.
    for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy()
    for (const controller of waiting) controller.abort()
    const late = setTimeout(() => server.closeAllConnections(), grace)
    await closed
    clearTimeout(late)
  }

  server.listen(port, host)
  try {
    await once(server, 'listening')
  } catch (cause) {
    const message = `The store cannot be served at ${host}:${port} (${String(cause)}); choose another port or host.`
    throw new AglError('usage', message, { cause })
  }
  server.on('error', (error) => onError?.(error))
  const address = server.address()
  const actual = typeof address === 'object' && address !== null ? address.port : port
  const name = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : isIP(host) === 6 ? `[${host}]` : host
  return {
    url: `http://${name}:${actual}`,
    close: () => (closing ??= close()),
    [Symbol.asyncDispose]: () => (closing ??= close()),
  }
}

/** Routes by the number of their segments. */
const byLength = new Map<number, Route[]>()
for (const route of routes)
  byLength.set(route.path.length, [...(byLength.get(route.path.length) ?? []), route])

/** @throws HttpError 404, 405 */
function find(method: string | undefined, pathname: string): { route: Route | undefined; ids: string[] } {
  if (NOT_IMPLEMENTED.includes(pathname) && method === 'POST') return { route: undefined, ids: [] }
  const path = pathname.startsWith(PREFIX) ? pathname.slice(PREFIX.length).replace(/(.)\/$/, '$1') : ''
  const segments = path.split('/')
  const methods = new Set<string>()
  for (const route of byLength.get(segments.length) ?? []) {
    if (!fits(route, segments)) continue
    if (route.method === method) {
      return { route, ids: segments.filter((_, i) => route.path[i] === ':').map(decode) }
    }
    methods.add(route.method)
  }
  if (methods.size === 0) throw new HttpError(404, 'Not Found')
  throw new HttpError(405, 'Method Not Allowed', { allow: [...methods].join(', ') })
}

function fits({ path }: Route, segments: readonly string[]): boolean {
  return path.every((part, i) => (part === ':' ? segments[i] !== '' : part === segments[i]))
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    throw new HttpError(404, 'Not Found')
  }
}

/** Calls `undo` where the client is gone before it can have its answer. */
function whenLost(
  response: ServerResponse,
  undo: () => Promise<unknown>,
  onError: ServeOptions['onError'],
): void {
  const look = (): void => {
    if (!response.writableFinished) undo().catch((error: unknown) => onError?.(error))
  }
  if (response.destroyed) look()
  else response.once('close', look)
}

/** Errors that the client is told of, and that are not the server's. */
function isTheirs(error: unknown): boolean {
  return error instanceof HttpError || (AglError.is(error) && error.code === 'not_found')
}

/** Says whether the page that asks may read the answer. */
function allowOrigin(request: IncomingMessage, response: ServerResponse, cors: readonly string[]): boolean {
  const { origin } = request.headers
  if (origin === undefined || !isAllowed(origin, cors)) return false
  response.setHeader('vary', 'origin')
  response.setHeader('access-control-allow-origin', origin)
  response.setHeader('access-control-allow-credentials', 'true')
  response.setHeader('access-control-allow-methods', 'GET, POST, OPTIONS')
  const asked = request.headers['access-control-request-headers']
  if (asked !== undefined) response.setHeader('access-control-allow-headers', asked)
  return true
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.')
}
