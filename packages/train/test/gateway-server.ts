import { spawn } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

/** An answer that is not a success, with FastAPI's body. */
class Refused extends Error {
  readonly status: number
  readonly detail: unknown

  constructor(status: number, detail: unknown) {
    super(String(detail))
    this.status = status
    this.detail = detail
  }
}

type Json = Record<string, unknown>

interface Rollout extends Json {
  rollout_id: string
  input: unknown
  is_train: boolean
  status: Json & { state: string; version: number }
}

interface Event {
  event_type: string
  rollout_id: string
  attempt_id: string
  timestamp: number
  data: Json
}

const TRANSITIONS: Record<string, readonly string[]> = {
  queuing: ['running', 'failed'],
  running: ['succeeded', 'failed'],
  succeeded: [],
  failed: [],
}
const STATUS_FIELDS = new Set(['state', 'k8s_job_name', 'last_attempt_id', 'error_message'])

export interface GatewayServer extends AsyncDisposable {
  url: string
}

/**
 * `AGL_GATEWAY_COMMAND` runs the tests against a real gateway: a program that is started with a port and a key, such as one
 * that runs `agentlightning.server.app` with the model name `scripted`.
 */
export function startGatewayServer(options: { key?: string; port?: number } = {}): Promise<GatewayServer> {
  const command = process.env['AGL_GATEWAY_COMMAND']
  return command === undefined ? startOurs(options) : startReal(command, options)
}

async function startReal(
  command: string,
  { key = '', port = 20_000 + Math.floor(Math.random() * 10_000) }: { key?: string; port?: number },
): Promise<GatewayServer> {
  const [file = '', ...args] = command.split(' ')
  const child = spawn(file, [...args, String(port), key], { stdio: ['ignore', 'ignore', 'inherit'] })
  const exited = once(child, 'exit')
  const url = `http://127.0.0.1:${port}`
  while (
    !(await fetch(`${url}/healthz`).then(
      ({ ok }) => ok,
      () => false,
    ))
  ) {
    if (child.exitCode !== null) throw new Error(`${command} ended with ${child.exitCode}`)
    await sleep(100)
  }
  return {
    url,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await exited
    },
  }
}

/**
 * A gateway as Agent Lightning 1.0's: the same paths, answers, refusals and states, with what it keeps of model calls; the
 * proxy tries its model server once only.
 */
async function startOurs(options: { key?: string; port?: number } = {}): Promise<GatewayServer> {
  const { key = '', port = 0 } = options
  const books = new Books()
  const server = createServer((request, response) => {
    void (async () => {
      const { status, body } = await answer(books, key, request).catch((error: unknown) => {
        if (error instanceof Refused) return { status: error.status, body: { detail: error.detail } }
        return { status: 500, body: { detail: String(error) } }
      })
      const { paused, retry_after_seconds: after } = books.proxy
      const later = status === 429 && paused ? { 'retry-after': String(after), 'x-agl-paused': 'true' } : {}
      response.writeHead(status, { 'content-type': 'application/json', ...later })
      response.end(body === undefined ? '' : JSON.stringify(body))
    })()
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  const address = server.address()
  const bound = typeof address === 'object' && address !== null ? address.port : 0
  return {
    url: `http://127.0.0.1:${bound}`,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

class Books {
  readonly rollouts = new Map<string, Rollout>()
  readonly events = new Map<string, Map<string, Event[]>>()
  readonly models = new Map<string, Json & { model: string; endpoint: string }>()
  readonly terminal: string[] = []
  readonly proxy: Json & { inflight: number } = {
    paused: false,
    retry_after_seconds: 5,
    reason: null,
    inflight: 0,
  }

  rollout(id: string): Rollout {
    const found = this.rollouts.get(id)
    if (found === undefined) throw new Refused(404, `Rollout not found: ${id}`)
    return found
  }

  record(rolloutId: string, attemptId: string, type: string, data: Json): Event {
    this.rollout(rolloutId)
    const [rollout_id, attempt_id] = [rolloutId, attemptId]
    const event = { event_type: type, rollout_id, attempt_id, timestamp: Date.now() / 1000, data }
    const attempts = this.events.get(rolloutId) ?? new Map<string, Event[]>()
    this.events.set(rolloutId, attempts.set(attemptId, [...(attempts.get(attemptId) ?? []), event]))
    return event
  }
}

interface Answer {
  status: number
  body: unknown
}

async function answer(books: Books, key: string, request: IncomingMessage): Promise<Answer> {
  const { pathname, searchParams: query } = new URL(request.url ?? '/', 'http://localhost')
  const path = pathname.split('/').slice(1).map(decodeURIComponent)
  const body = await readBody(request)
  const ok = (given: unknown, status = 200): Answer => ({ status, body: given })
  if (pathname === '/healthz') return ok({ status: 'ok' })
  const { authorization, 'x-api-key': apiKey } = request.headers
  if (key !== '' && authorization !== `Bearer ${key}` && apiKey !== key)
    throw new Refused(401, 'Invalid or missing API key')
  const [, , rolloutId = '', word = '', attemptId = '0'] = path
  switch (`${request.method} /${path.slice(0, 2).join('/')} ${path.length}`) {
    case 'POST /api/rollouts 2':
      return ok(
        listOf(body).map((one) => enqueue(books, one)),
        201,
      )
    case 'GET /api/rollouts 2':
      return ok(listRollouts(books, query))
    case 'GET /api/rollouts 3':
      return ok(rolloutId === 'terminal' ? terminalPage(books, query) : detail(books, rolloutId))
    case 'PATCH /api/rollouts 3':
      return ok(patch(books, rolloutId, objectOf(objectOf(body)['status'] ?? {})))
    case 'DELETE /api/rollouts 3':
      books.rollouts.delete(rolloutId)
      books.events.delete(rolloutId)
      return ok(undefined, 204)
    case 'POST /api/rollouts 6':
      return ok(books.record(rolloutId, attemptId, text(objectOf(body), 'event_type'), dataOf(body)))
    case 'GET /api/rollouts 4':
      if (word !== 'events') break
      return ok(shownEvents(books, rolloutId, query))
    case 'POST /api/models 2':
      return ok(
        listOf(body).map((one) => addModel(books, one)),
        201,
      )
    case 'DELETE /api/models 2':
      books.models.clear()
      return ok({ status: 'ok' })
    case 'POST /proxy/pause 2': {
      const { retry_after_seconds = 5, reason = null } = objectOf(body)
      return ok(Object.assign(books.proxy, { paused: true, retry_after_seconds, reason }))
    }
    case 'POST /proxy/resume 2':
      return ok(Object.assign(books.proxy, { paused: false, reason: null }))
    case 'GET /proxy/state 2':
      return ok(books.proxy)
    case 'POST /proxy/rollout 11':
    case 'POST /proxy/rollout 10':
      return proxy(books, path, body)
  }
  throw new Refused(404, 'Not Found')
}

function enqueue(books: Books, body: Json): Rollout {
  if (!('input' in body)) throw new Refused(422, [{ type: 'missing', loc: ['body', 0, 'input'] }])
  const { rollout_id: given, input, is_train = true, config = {}, metadata = {} } = body
  const known = typeof given === 'string' ? books.rollouts.get(given) : undefined
  if (known !== undefined) return known
  const now = Date.now() / 1000
  const { timeout_seconds = 3600, local, k8s } = objectOf(config)
  const rollout: Rollout = {
    rollout_id: typeof given === 'string' && given !== '' ? given : randomUUID().replaceAll('-', ''),
    input,
    is_train: is_train === true,
    config: {
      timeout_seconds,
      local: local === undefined ? null : { agent_class: null, env_map: {}, ...objectOf(local) },
      k8s: k8s === undefined ? null : { job_template: null, ...objectOf(k8s) },
    },
    metadata: { batch_idx: null, sample_idx_in_batch: null, ...objectOf(metadata) },
    status: {
      state: 'queuing',
      k8s_job_name: null,
      last_attempt_id: null,
      error_message: null,
      version: 1,
      created_at: now,
      updated_at: now,
    },
  }
  books.rollouts.set(rollout.rollout_id, rollout)
  return rollout
}

function listRollouts(books: Books, query: URLSearchParams): Rollout[] {
  const states = query.getAll('state_in')
  if (states.length === 0) throw new Refused(422, [{ type: 'missing', loc: ['query', 'state_in'] }])
  const found = [...books.rollouts.values()].filter(({ status }) => states.includes(status.state))
  return found.slice(0, Number(query.get('limit') ?? 500))
}

function terminalPage(books: Books, query: URLSearchParams): Json {
  const after = Math.max(0, Number(query.get('after') ?? 0))
  const ids = books.terminal.slice(after, after + Math.max(1, Number(query.get('limit') ?? 1000)))
  const items = ids.flatMap((id) => {
    const rollout = books.rollouts.get(id)
    if (rollout === undefined) return []
    const { data_id, instance_id } = { data_id: '', instance_id: '', ...(rollout.input as Json | null) }
    const { is_train, status } = rollout
    return [{ rollout_id: id, state: status.state, data_id: String(data_id || instance_id), is_train }]
  })
  return { items, next_after: after + ids.length, total_terminal: books.terminal.length }
}

function detail(books: Books, id: string): Json {
  return { rollout: books.rollout(id), attempts: [...(books.events.get(id)?.keys() ?? [])] }
}

function patch(books: Books, id: string, changes: Json): Rollout {
  const rollout = books.rollout(id)
  const { state } = rollout.status
  const unknown = Object.keys(changes).find((name) => !STATUS_FIELDS.has(name))
  if (unknown !== undefined)
    throw new Refused(422, [{ type: 'extra_forbidden', loc: ['body', 'status', unknown] }])
  if (Object.keys(changes).length === 0) return rollout
  const next = 'state' in changes ? text(changes, 'state') : undefined
  if (next !== undefined && !(next in TRANSITIONS))
    throw new Refused(422, [{ type: 'enum', loc: ['body', 'status', 'state'] }])
  if (next !== undefined && !TRANSITIONS[state]?.includes(next))
    throw new Refused(409, `Rollout ${id}: cannot transition ${state} -> ${next}`)
  const status = {
    ...rollout.status,
    ...changes,
    version: rollout.status.version + 1,
    updated_at: Date.now() / 1000,
  }
  books.rollouts.set(id, { ...rollout, status })
  if (next === 'succeeded' || next === 'failed') books.terminal.push(id)
  return books.rollout(id)
}

function shownEvents(books: Books, id: string, query: URLSearchParams): Event[] {
  const { last_attempt_id } = books.rollout(id).status
  const attempt = typeof last_attempt_id === 'string' ? last_attempt_id : '0'
  const type = query.get('event_type')
  const events = (books.events.get(id)?.get(attempt) ?? []).filter(
    (one) => type === null || one.event_type === type,
  )
  if (query.get('format') !== 'triplet') return events
  const trimmed = events.map((event) => ({ ...event, data: trim(event) }))
  const last = new Map(
    trimmed.flatMap((event, i) =>
      event.event_type === 'model_request' ? [[JSON.stringify(event.data['prompt_token_ids']), i]] : [],
    ),
  )
  const kept = new Set(last.values())
  return trimmed.filter((event, i) => event.event_type !== 'model_request' || kept.has(i))
}

function trim({ event_type: type, data }: Event): Json {
  if (type === 'reward') {
    const { message: _, ...reward }: Json = { value: null, ...data }
    return reward
  }
  if (type !== 'model_request') return data
  const response = objectOf(data['response'])
  const choices: unknown = response['choices']
  const choice = Array.isArray(choices) ? objectOf(choices[0]) : {}
  const { model, version } = objectOf(data['server'])
  return {
    prompt_token_ids: response['prompt_token_ids'] ?? choice['prompt_token_ids'] ?? [],
    response_token_ids: choice['token_ids'] ?? [],
    response_log_probs: logProbsOf(objectOf(choice['logprobs'] ?? {})['content']),
    server: { model, version },
    http_status: data['http_status'],
    status: data['status'],
    ...('error' in response ? { error: response['error'] } : {}),
  }
}

function logProbsOf(content: unknown): unknown {
  if (!Array.isArray(content)) return null
  const values = content.map((item) => objectOf(item)['logprob'])
  return values.every((value) => Number.isFinite(value)) ? values : null
}

function addModel(books: Books, body: Json): Json {
  const model = { version: 0, ...body, model: text(body, 'model'), endpoint: text(body, 'endpoint') }
  books.models.set(`${model.model} ${model.endpoint}`, model)
  return model
}

async function proxy(books: Books, path: readonly string[], body: unknown): Promise<Answer> {
  const [, , rolloutId = '', , attemptId = '', , mode = '', , , ...rest] = path
  const upstream = rest.join('/')
  if (mode !== 'train' && mode !== 'val') throw new Refused(404, `Unsupported proxy mode: ${mode}`)
  if (upstream !== 'chat/completions' && upstream !== 'completions')
    throw new Refused(404, `Unsupported upstream path: ${upstream}`)
  books.rollout(rolloutId)
  const pool = [...books.models.values()].toSorted((a, b) => (a.endpoint < b.endpoint ? -1 : 1))
  const digest = createHash('sha256').update(rolloutId).digest().readBigUInt64BE()
  const server = pool.length === 0 ? undefined : pool[Number(digest % BigInt(pool.length))]
  if (server === undefined) throw new Refused(503, "No servers available for model 'scripted'")
  const { paused, reason } = books.proxy
  if (paused === true) return { status: 429, body: { error: 'gateway paused', reason } }
  const asked = objectOf(body)
  const prepared: Json = {
    ...asked,
    model: server.model,
    temperature: mode === 'train' ? 1 : 0.7,
    return_token_ids: true,
    ...(mode === 'train' ? { logprobs: true } : {}),
  }
  if (asked['stream'] === true) throw new Refused(400, 'Streaming responses are not supported')
  const started = performance.now()
  books.proxy.inflight++
  const response = await fetch(`${server.endpoint.replace(/\/$/, '')}/${upstream}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(prepared),
  }).finally(() => books.proxy.inflight--)
  const answered = objectOf(await response.json())
  books.record(rolloutId, attemptId, 'model_request', {
    model: server.model,
    model_version: server['version'],
    request: prepared,
    response: answered,
    server,
    latency_ms: performance.now() - started,
    http_status: response.status,
    status: response.ok ? 'ok' : 'error',
    retry_count: 0,
    usage: answered['usage'] ?? null,
  })
  return { status: response.status, body: answered }
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  const body = (await bytesOf(request)).toString()
  try {
    return body === '' ? undefined : JSON.parse(body)
  } catch {
    throw new Refused(422, [{ type: 'json_invalid', loc: ['body', 0] }])
  }
}

function listOf(body: unknown): Json[] {
  if (!Array.isArray(body)) throw new Refused(422, [{ type: 'list_type', loc: ['body'] }])
  return body.map(objectOf)
}

function objectOf(value: unknown): Json {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value }
  throw new Refused(422, [{ type: 'dict_type', loc: ['body'] }])
}

function dataOf(body: unknown): Json {
  return objectOf(objectOf(body)['data'] ?? {})
}

function text(body: Json, name: string): string {
  const value = body[name]
  if (typeof value === 'string') return value
  throw new Refused(422, [{ type: 'missing', loc: ['body', name] }])
}

/** How a request is treated on its way. */
type Fault = 'lost answer' | 'busy' | 'late'

/** Passes requests on to a server, but for those that a fault waits for. */
export interface Relay extends AsyncDisposable {
  url: string
  /** For the next requests, one each. */
  faults: Fault[]
  /** The methods and paths that have come. */
  seen: string[]
  /** Decides for a request, such as `PATCH /api/rollouts/r`, where no fault waits. */
  judge: (request: string) => Fault | undefined
}

export async function startRelay(target: string): Promise<Relay> {
  const faults: Fault[] = []
  const seen: string[] = []
  const relay = { judge: (_request: string): Fault | undefined => undefined }
  const server = createServer((request, response) => {
    void (async () => {
      const line = `${request.method} ${request.url}`
      seen.push(line)
      const fault = faults.shift() ?? relay.judge(line)
      const body = await bytesOf(request)
      if (fault === 'busy') return void response.writeHead(503).end('no workers')
      if (fault === 'late') return
      const passed = await fetch(`${target}${request.url}`, {
        method: request.method ?? 'GET',
        headers: {
          'content-type': 'application/json',
          ...(request.headers.authorization === undefined
            ? {}
            : { authorization: request.headers.authorization }),
        },
        ...(body.length === 0 ? {} : { body }),
      })
      const answered = Buffer.from(await passed.arrayBuffer())
      if (fault === 'lost answer') return void response.destroy()
      response.writeHead(passed.status, { 'content-type': 'application/json' }).end(answered)
    })().catch(() => response.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  return Object.assign(relay, {
    url: `http://127.0.0.1:${port}`,
    faults,
    seen,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  })
}

async function bytesOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks)
}
