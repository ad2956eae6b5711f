import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { answer, answerFault, answersAlone, requestOf, Script } from './answer.ts'
import type { Asked, Maker } from './make-call.ts'
import { sendBody, type Exchange } from './deliver.ts'
import { dialectOf, familyOf } from './dialects/index.ts'
import { errorReply, unauthorized } from './errors.ts'
import { record, text } from './json.ts'
import { isGuarded, modelRoute, serviceReply } from './routes.ts'
import { loadTokenizer } from './tokenizer.ts'
import type { ModelServer, ModelServerOptions, RecordedRequest } from './types.ts'
import { refuse } from './validate.ts'

const SECRET = /^(authorization|proxy-authorization|cookie|api-key|x-api-key)$/

/**
 * Starts a model server on 127.0.0.1 that answers by script or rule, in the wire format of its `flavor`.
 *
 * @throws when the port is taken
 */
export async function startModelServer(options: ModelServerOptions = {}): Promise<ModelServer> {
  const tokenizer = await loadTokenizer()
  const handler = new Handler(options, { options, tokenizer, next: counter() })
  const server = createServer((request, response) => void handler.handle(request, response))
  // A benchmark's idle connections must not be closed under it.
  server.keepAliveTimeout = 60_000
  await listen(server, options.port ?? 0)
  const { port } = addressOf(server)
  const url = `http://127.0.0.1:${port}`
  let closing: Promise<void> | undefined
  const close = (): Promise<void> =>
    (closing ??= new Promise((resolve) => {
      handler.stop()
      server.close(() => resolve())
      server.closeAllConnections()
    }))
  return {
    baseURL: `${url}/v1`,
    url,
    port,
    requests: handler.requests,
    idle: () => handler.idle(),
    clear: () => void handler.requests.splice(0),
    close,
    [Symbol.asyncDispose]: close,
  }
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => {
      server.off('error', reject)
      resolve()
    })
  })
}

function addressOf(server: Server): AddressInfo {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new TypeError('The server has no port.')
  return address
}

function counter(): () => number {
  let count = 0
  return () => ++count
}

class Handler {
  readonly requests: RecordedRequest[] = []
  readonly #options: ModelServerOptions
  readonly #maker: Maker
  readonly #script: Script
  readonly #open = new Set<AbortController>()
  #asked = 0
  #waiting: (() => void)[] = []

  constructor(options: ModelServerOptions, maker: Maker) {
    this.#options = options
    this.#maker = maker
    this.#script = new Script(options)
  }

  stop(): void {
    for (const gone of this.#open) gone.abort()
  }

  idle(): Promise<void> {
    if (this.#open.size === 0) return Promise.resolve()
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const entry = entryOf(request)
    if (this.#options.record !== false) this.requests.push(entry)
    const gone = new AbortController()
    this.#open.add(gone)
    let ours = false
    response.once('close', () => {
      entry.aborted = !response.writableFinished && !ours && !gone.signal.aborted
      // Aborting builds an error with its stack, which answers that went out need not pay for.
      if (!response.writableFinished) gone.abort()
      this.#open.delete(gone)
      if (this.#open.size === 0) for (const resolve of this.#waiting.splice(0)) resolve()
    })
    const exchange: Exchange = {
      response,
      entry,
      flavor: this.#options.flavor ?? 'openai',
      fault: {},
      headers: this.#headers(),
      signal: gone.signal,
      cut: () => {
        ours = true
        response.destroy()
      },
    }
    try {
      await readBody(request, entry)
      await this.#answer(exchange, request)
    } catch (error) {
      if (response.destroyed) return
      if (response.headersSent) return exchange.cut()
      exchange.fault = {}
      const reason = error instanceof Error ? error.message : String(error)
      await sendBody(exchange, errorReply(exchange.flavor, 400, `The reply could not be sent: ${reason}`))
    }
  }

  async #answer(exchange: Exchange, request: IncomingMessage): Promise<void> {
    const { flavor, entry } = exchange
    const options = this.#options
    const { pathname } = new URL(entry.path, 'http://127.0.0.1')
    if (isGuarded(pathname) && !this.#mayEnter(request)) return sendBody(exchange, unauthorized(flavor))
    const route = entry.method === 'POST' ? modelRoute(pathname) : undefined
    if (route === undefined) {
      const reply = serviceReply(entry.method, pathname, entry.body, options, this.#maker.tokenizer)
      return sendBody(exchange, reply)
    }
    const body = record(entry.body)
    const requestId = familyOf(flavor) === 'vllm' ? text(request.headers['x-request-id']) : undefined
    const asked: Asked = { ...route, body, requestId, headers: entry.headers }
    const about = { index: this.#asked++, path: entry.path, headers: entry.headers }
    const seen = requestOf(asked, this.#maker.tokenizer, about)
    exchange.fault = this.#script.fault(seen)
    if (answersAlone(exchange.fault)) return answerFault(exchange)
    const model = text(body['model']) ?? route.deployment
    const refusal = refuse(route.endpoint, entry.body, flavor, options.strictFields === true)
    if (refusal !== undefined) return sendBody(exchange, refusal)
    if (options.models !== undefined && (model === undefined || !options.models.includes(model))) {
      const detail = { param: 'model', code: 'model_not_found' }
      return sendBody(exchange, errorReply(flavor, 404, `The model '${model}' does not exist.`, detail))
    }
    return answer(exchange, this.#maker, asked, await this.#script.reply(seen))
  }

  #mayEnter({ headers }: IncomingMessage): boolean {
    const { apiKey } = this.#options
    return (
      apiKey === undefined || headers.authorization === `Bearer ${apiKey}` || headers['api-key'] === apiKey
    )
  }

  /** vLLM and its like name requests only when they are told to. */
  #headers(): Record<string, string> {
    const { flavor, deterministic } = this.#options
    if (familyOf(flavor) === 'vllm' && flavor !== 'litellm') return {}
    const id = deterministic === true ? String(this.#maker.next()) : crypto.randomUUID()
    if (flavor === 'litellm')
      return { 'x-litellm-call-id': id, 'x-litellm-version': dialectOf(flavor).version }
    return { 'x-request-id': `req_${id.replaceAll('-', '').padStart(32, '0')}` }
  }
}

function entryOf(request: IncomingMessage): RecordedRequest {
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(request.headers)) {
    if (value !== undefined) headers[name] = SECRET.test(name) ? '[hidden]' : String(value)
  }
  const { method = 'GET', url = '/' } = request
  return { method, path: url, headers, body: undefined, rawBody: '', status: undefined, aborted: false }
}

async function readBody(request: IncomingMessage, entry: RecordedRequest): Promise<void> {
  const parts: Buffer[] = []
  for await (const part of request) parts.push(Buffer.from(part))
  entry.rawBody = Buffer.concat(parts).toString('utf8')
  try {
    entry.body = JSON.parse(entry.rawBody)
  } catch {
    entry.body = undefined
  }
}
