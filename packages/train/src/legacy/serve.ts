import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { AglError } from '@agl/core'
import type { NamedResourcesInput, RolloutMode } from '@agl/store'
import { toJSON } from '../http.ts'
import { namedResources, resourcesToJSON, rolloutFromJSON, taskToJSON } from './records.ts'
import type { LegacyResources, LegacyRollout, LegacyTask } from './types.ts'

export interface ServeLegacyOptions {
  /** @default 8000; 0 is a free one */
  port?: number
  /** @default 127.0.0.1; there is no authentication */
  host?: string
  /** Seconds after which a task that nobody has answered is given out again. @default 300 */
  taskTimeout?: number
  /** Most bytes of one rollout. @default 64 MiB */
  maxBody?: number
}

/** A server that Agent Lightning's `AgentLightningClient` and `LegacyClient` work with. All is in memory. */
export interface LegacyServer extends AsyncDisposable {
  readonly url: string
  /**
   * Adds a task to the end of the queue and returns the id of its rollout.
   *
   * @throws AglError `value_unserializable` for an input that JSON does not keep
   */
  queueTask(
    input: unknown,
    options?: { mode?: RolloutMode; resourcesId?: string; metadata?: Record<string, unknown> },
  ): string
  /** Makes these the latest resources and returns their id. @throws AglError `value_unserializable` */
  updateResources(resources: NamedResourcesInput): string
  /** Takes out what came of a task; undefined where nothing has come yet. */
  takeRollout(rolloutId: string): LegacyRollout | undefined
  /** The same, waited for; undefined after `timeout` seconds or once `signal` aborts. */
  waitForRollout(
    rolloutId: string,
    options?: { timeout?: number; signal?: AbortSignal },
  ): Promise<LegacyRollout | undefined>
  /** Takes out all that has come. */
  takeRollouts(): LegacyRollout[]
  close(): Promise<void>
}

interface Answer {
  status: number
  body: unknown
}

const WAIT = 100

/** @throws AglError `store_unavailable` where the port cannot be had */
export async function serveLegacy(options: ServeLegacyOptions = {}): Promise<LegacyServer> {
  const { port = 8000, host = '127.0.0.1', taskTimeout = 300, maxBody = 64 * 1024 ** 2 } = options
  const books = new Books(taskTimeout)
  const server = createServer((request, response) => {
    answer(books, request, maxBody)
      .then((given) => send(response, given))
      .catch((error: unknown) => send(response, refusal(error)))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(
        new AglError(
          'store_unavailable',
          `The port ${port} cannot be had (${cause.message}); choose another.`,
          { cause },
        ),
      ),
    )
    server.listen(port, host, resolve)
  })
  const address = server.address()
  const bound = typeof address === 'object' && address !== null ? address.port : port
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}`,
    queueTask: (input, more) => books.queueTask(input, more),
    updateResources: (resources) => books.updateResources(resources),
    takeRollout: (rolloutId) => books.takeRollout(rolloutId),
    async waitForRollout(rolloutId, { timeout = Infinity, signal } = {}) {
      const end = performance.now() + timeout * 1000
      for (;;) {
        const found = books.takeRollout(rolloutId)
        if (found !== undefined || performance.now() >= end || signal?.aborted === true) return found
        await sleep(WAIT)
      }
    },
    takeRollouts: () => books.takeRollouts(),
    close,
    [Symbol.asyncDispose]: close,
  }
}

/** Tasks, resources and rollouts. */
class Books {
  readonly #taskTimeout: number
  #queue: LegacyTask[] = []
  readonly #claimed = new Map<string, LegacyTask & { lastClaimTime: number }>()
  readonly #rollouts = new Map<string, LegacyRollout>()
  readonly #resources = new Map<string, LegacyResources>()
  #latest: LegacyResources | undefined

  constructor(taskTimeout: number) {
    this.#taskTimeout = taskTimeout
  }

  queueTask(
    input: unknown,
    options: { mode?: RolloutMode; resourcesId?: string; metadata?: Record<string, unknown> } = {},
  ): string {
    const { mode = null, resourcesId = null, metadata = {} } = options
    const rolloutId = `rollout-${randomUUID()}`
    const claims = { createTime: now(), lastClaimTime: null, numClaims: 0 }
    toJSON({ input, metadata })
    this.#queue.push({ rolloutId, input: input ?? null, mode, resourcesId, metadata, ...claims })
    return rolloutId
  }

  nextTask(): LegacyTask | undefined {
    for (const task of this.#claimed.values()) {
      if (now() - task.lastClaimTime <= this.#taskTimeout) continue
      this.#claimed.delete(task.rolloutId)
      this.#queue.push(task)
    }
    const task = this.#queue.shift()
    if (task === undefined) return undefined
    const claimed = { ...task, lastClaimTime: now(), numClaims: (task.numClaims ?? 0) + 1 }
    this.#claimed.set(task.rolloutId, claimed)
    return claimed
  }

  updateResources(resources: NamedResourcesInput): string {
    const time = { createTime: now(), updateTime: now(), version: 1 }
    const update = { resourcesId: `res-${randomUUID()}`, resources: namedResources(resources), ...time }
    toJSON(update)
    this.#resources.set(update.resourcesId, update)
    this.#latest = update
    return update.resourcesId
  }

  getResources(resourcesId: string): LegacyResources | undefined {
    return resourcesId === 'latest' ? this.#latest : this.#resources.get(resourcesId)
  }

  addRollout(rollout: LegacyRollout): void {
    const { rolloutId } = rollout
    this.#claimed.delete(rolloutId)
    // Given back after the time-out, but before somebody else has got it.
    this.#queue = this.#queue.filter((task) => task.rolloutId !== rolloutId)
    this.#rollouts.set(rolloutId, rollout)
  }

  takeRollout(rolloutId: string): LegacyRollout | undefined {
    const found = this.#rollouts.get(rolloutId)
    this.#rollouts.delete(rolloutId)
    return found
  }

  takeRollouts(): LegacyRollout[] {
    const all = [...this.#rollouts.values()]
    this.#rollouts.clear()
    return all
  }
}

async function answer(books: Books, request: IncomingMessage, maxBody: number): Promise<Answer> {
  const { pathname } = new URL(request.url ?? '/', 'http://localhost')
  const route = `${request.method} ${pathname}`
  // There is no key: a web page that somebody opens beside it must not get tasks or give rewards.
  const { origin, 'sec-fetch-site': site } = request.headers
  if (origin !== undefined || site !== undefined) return problem(403, 'Web pages are not served.')
  if (route === 'GET /task') {
    const task = books.nextTask()
    return {
      status: 200,
      body: { is_available: task !== undefined, task: task === undefined ? null : taskToJSON(task) },
    }
  }
  const [, part] = /^GET \/resources\/([^/]+)$/.exec(route) ?? []
  if (part !== undefined) {
    const resourcesId = decodeURIComponent(part)
    const found = books.getResources(resourcesId)
    if (found !== undefined) return { status: 200, body: resourcesToJSON(found) }
    const none = resourcesId === 'latest' ? 'No resources have been set on the server.' : undefined
    return problem(404, none ?? `Resource ID '${resourcesId}' not found.`)
  }
  if (route === 'POST /rollout') {
    const rollout = rolloutFromJSON(await readJSON(request, maxBody))
    books.addRollout(rollout)
    const message = `Rollout ${rollout.rolloutId} received and stored.`
    return { status: 200, body: { status: 'ok', message, data: null } }
  }
  const known = pathname === '/task' || pathname === '/rollout' || /^\/resources\/[^/]+$/.test(pathname)
  return known ? problem(405, 'Method Not Allowed') : problem(404, 'Not Found')
}

/** @throws AglError `body_invalid`, `body_too_large` */
async function readJSON(request: IncomingMessage, maxBody: number): Promise<unknown> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request) {
    const bytes = Buffer.from(chunk)
    size += bytes.length
    if (size > maxBody)
      throw new AglError('body_too_large', `The body is larger than ${maxBody} bytes; send less.`)
    chunks.push(bytes)
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString())
  } catch (cause) {
    throw new AglError('body_invalid', 'The body is no JSON.', { cause })
  }
}

function refusal(error: unknown): Answer {
  const message = error instanceof Error ? error.message : String(error)
  if (AglError.is(error) && error.code === 'body_too_large') return problem(413, message)
  if (AglError.is(error) || error instanceof URIError) return problem(422, message)
  return problem(500, message)
}

function problem(status: number, detail: string): Answer {
  return { status, body: { detail } }
}

function send(response: ServerResponse, { status, body }: Answer): void {
  const json = toJSON(body)
  // What is left of a body that is too large is not read.
  const close = status === 413 ? { connection: 'close' } : {}
  response.writeHead(status, { 'content-type': 'application/json', ...close })
  response.end(json)
}

function now(): number {
  return Date.now() / 1000
}
