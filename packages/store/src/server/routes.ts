import { setImmediate } from 'node:timers/promises'
import { spanToJSON } from '@agl/core'
import { attemptToJSON, resourcesToJSON, rolloutToJSON, workerToJSON } from '../json.ts'
import { LocalStore } from '../local.ts'
import { steps } from '../pace.ts'
import { encodeList } from '../row.ts'
import type { Store } from '../store.ts'
import type { Page, SpanQuery, StoreStatistics } from '../types.ts'
import {
  readAttemptUpdate,
  readDequeue,
  readEnqueue,
  readNextSequenceId,
  readResources,
  readRolloutUpdate,
  readStart,
  readStartAttempt,
  readWait,
  readWorkerUpdate,
} from './bodies.ts'
import { checked, type Fields } from './fields.ts'
import {
  readAttemptQuery,
  readResourcesQuery,
  readRolloutQuery,
  readSpanQuery,
  readWorkerQuery,
} from './queries.ts'
import { HttpError } from './problems.ts'
import { internal, type Reply } from './reply.ts'
import { readSpan } from './span-body.ts'

/** One request to the store's API, its body parsed. */
interface ApiRequest {
  store: Store
  /** What stands in the place of each `:` of the route, decoded. */
  ids: readonly string[]
  body: unknown
  query: URLSearchParams
  /** Aborted when nobody waits for the answer any more, or the server is closing. */
  signal: AbortSignal
}

type Handler = (request: ApiRequest) => Promise<Reply>

export interface Route {
  method: 'GET' | 'POST'
  /** After `/v1/agl/`; `:` is any one segment. */
  path: readonly string[]
  handle: Handler
}

/** The store's API of Agent Lightning v0.3. The first that fits is taken. */
export const routes: readonly Route[] = [
  get('health', async () => ok({ status: 'ok' })),
  get('statistics', async ({ store }) => ok(statisticsToJSON(await store.statistics()))),

  post('queues/rollouts/enqueue', async ({ store, body }) => {
    const rollouts = await store.enqueueRollouts(checked(body, 'body', readEnqueue))
    return created(rollouts.map(rolloutToJSON))
  }),
  post('queues/rollouts/dequeue', dequeue),

  post('rollouts', async ({ store, body }) =>
    created(rolloutToJSON(await store.startRollout(checked(body, 'body', readStart)))),
  ),
  get('rollouts', async ({ store, query }) =>
    page(await store.queryRollouts(checked(fromURL(query), 'query', readRolloutQuery)), rolloutToJSON),
  ),
  post('rollouts/search', async ({ store, body }) =>
    page(await store.queryRollouts(checked(body, 'body', readRolloutQuery)), rolloutToJSON),
  ),
  get('rollouts/:', async ({ store, ids: [rolloutId = ''] }) => {
    const rollout = await store.getRollout(rolloutId)
    // Not null, as of everything else that is not there: Agent Lightning fails at its own check of what it answers.
    return rollout === undefined
      ? internal('ResponseValidationError', `There is no rollout "${rolloutId}".`).reply
      : ok(rolloutToJSON(rollout))
  }),
  post('rollouts/:', async ({ store, ids: [rolloutId = ''], body }) => {
    const { attempt: _, ...rollout } = await store.updateRollout(
      rolloutId,
      checked(body, 'body', readRolloutUpdate),
    )
    return ok(rolloutToJSON(rollout))
  }),

  post('rollouts/:/attempts', async ({ store, ids: [rolloutId = ''], body }) =>
    created(rolloutToJSON(await store.startAttempt(rolloutId, optional(body, readStartAttempt)))),
  ),
  get('rollouts/:/attempts', async ({ store, ids: [rolloutId = ''], query }) =>
    page(
      await store.queryAttempts(rolloutId, checked(fromURL(query), 'query', readAttemptQuery)),
      attemptToJSON,
    ),
  ),
  post('rollouts/:/attempts/search', async ({ store, ids: [rolloutId = ''], body }) =>
    page(await store.queryAttempts(rolloutId, checked(body, 'body', readAttemptQuery)), attemptToJSON),
  ),
  get('rollouts/:/attempts/latest', async ({ store, ids: [rolloutId = ''] }) => {
    const attempt = await store.getLatestAttempt(rolloutId)
    return ok(attempt === undefined ? null : attemptToJSON(attempt))
  }),
  post('rollouts/:/attempts/:', async ({ store, ids: [rolloutId = '', attemptId = ''], body }) =>
    ok(
      attemptToJSON(
        await store.updateAttempt(rolloutId, attemptId, checked(body, 'body', readAttemptUpdate)),
      ),
    ),
  ),

  get('workers', async ({ store, query }) =>
    page(await store.queryWorkers(checked(fromURL(query), 'query', readWorkerQuery)), workerToJSON),
  ),
  post('workers/search', async ({ store, body }) =>
    page(await store.queryWorkers(checked(body, 'body', readWorkerQuery)), workerToJSON),
  ),
  get('workers/:', async ({ store, ids: [workerId = ''] }) => {
    const worker = await store.getWorker(workerId)
    return ok(worker === undefined ? null : workerToJSON(worker))
  }),
  post('workers/:', async ({ store, ids: [workerId = ''], body }) =>
    ok(workerToJSON(await store.updateWorker(workerId, optional(body, readWorkerUpdate)))),
  ),

  get('resources', async ({ store, query }) =>
    page(await store.queryResources(checked(fromURL(query), 'query', readResourcesQuery)), resourcesToJSON),
  ),
  post('resources', async ({ store, body }) =>
    created(resourcesToJSON(await store.addResources(checked(body, 'body', readResources)))),
  ),
  get('resources/latest', async ({ store }) => {
    const latest = await store.latestResources()
    return ok(latest === undefined ? null : resourcesToJSON(latest))
  }),
  get('resources/:', async ({ store, ids: [resourcesId = ''] }) => {
    const resources = await store.getResources(resourcesId)
    return ok(resources === undefined ? null : resourcesToJSON(resources))
  }),
  post('resources/:', async ({ store, ids: [resourcesId = ''], body }) => {
    const resources = checked(body, 'body', readResources)
    return ok(resourcesToJSON(await store.updateResources(resourcesId, resources)))
  }),

  post('spans', addSpan),
  get('spans', async ({ store, query }) => spanPage(store, checked(fromURL(query), 'query', readSpanQuery))),
  post('spans/search', async ({ store, body }) => spanPage(store, checked(body, 'body', readSpanQuery))),
  post('spans/next', async ({ store, body }) => {
    const [next] = await store.nextSequenceIds([checked(body, 'body', readNextSequenceId)])
    return ok({ sequence_id: next })
  }),

  post('waits/rollouts', async ({ store, body, signal }) => {
    const { rolloutIds, timeout } = checked(body, 'body', readWait)
    const finished = await store.waitForRollouts(rolloutIds, { timeout, signal })
    // Else it would look as if the time were over.
    if (signal.aborted) throw new HttpError(503, 'The server is closing; ask again.', { 'retry-after': '1' })
    return ok(finished.map(rolloutToJSON))
  }),
]

function get(path: string, handle: Handler): Route {
  return { method: 'GET', path: path.split('/'), handle }
}

function post(path: string, handle: Handler): Route {
  return { method: 'POST', path: path.split('/'), handle }
}

function ok(json: unknown): Reply {
  return { status: 200, json }
}

function created(json: unknown): Reply {
  return { status: 201, json }
}

function page<Item>({ items, ...rest }: Page<Item>, toJSON: (item: Item) => unknown): Reply {
  return ok({ items: items.map(toJSON), ...rest })
}

/** Of a body that may be left out. */
function optional<Read>(body: unknown, read: (fields: Fields) => Read): Read {
  return checked(body ?? {}, 'body', read)
}

/** A query with its lists, which are repeated keys, as the object that a body would be. */
function fromURL(query: URLSearchParams): Record<string, unknown> {
  const lists = new Set(['status_in', 'rollout_id_in'])
  return Object.fromEntries(
    [...new Set(query.keys())].map((key): [string, unknown] => {
      const values = query.getAll(key)
      return [key, lists.has(key) ? values : values.at(-1)]
    }),
  )
}

async function dequeue({ store, body, signal }: ApiRequest): Promise<Reply> {
  const options = optional(body, readDequeue)
  if ((options.limit ?? 1) <= 0) return ok([])
  const taken = await store.dequeueRollouts({ ...options, signal })
  if (taken.length === 0) return ok([])
  // That the client is gone may be known to the system by now, but not yet to this thread.
  await setImmediate()
  // Nobody would work on what does not arrive.
  const undo = (): Promise<unknown> =>
    Promise.all(taken.map(({ rolloutId }) => store.updateRollout(rolloutId, { status: 'queuing' })))
  return { status: 200, json: taken.map(rolloutToJSON), undo }
}

async function addSpan({ store, body, query }: ApiRequest): Promise<Reply> {
  const span = checked(body, 'body', (fields) => readSpan(fields, Date.now() / 1000))
  const { added, refused } = await store.addSpans([span], {
    keepSequenceIds: true,
    // Ours.
    createMissing: query.get('create_missing') === 'true',
  })
  const [refusal] = refused
  if (refusal !== undefined) {
    const problem = {
      type: 'value_error',
      loc: ['body'],
      msg: `The span cannot be stored: ${refusal.reason}`,
    }
    return { status: 422, json: { detail: [{ ...problem, input: span.spanId }] } }
  }
  if (added === 0) return created(null)
  if (span.sequenceId >= 0) return created(spanToJSON(span))
  const { rolloutId, attemptId, spanId } = span
  const { items } = await store.querySpans({ rolloutId, attemptId, spanId })
  return created(items[0] === undefined ? null : spanToJSON(items[0]))
}

async function spanPage(store: Store, query: SpanQuery): Promise<Reply> {
  if (store instanceof LocalStore) {
    const { lists, ...rest } = await store.spanLists(query)
    return { status: 200, pieces: pageOf(lists, rest) }
  }
  const { items, ...rest } = await store.querySpans(query)
  async function* lists(): AsyncGenerator<Uint8Array> {
    for (const step of steps(items)) yield encodeList(step.map((span) => JSON.stringify(spanToJSON(span))))
  }
  return { status: 200, pieces: pageOf(lists(), rest) }
}

/** The page's JSON as it is put together, however many spans there are. */
async function* pageOf(
  lists: AsyncIterable<Uint8Array>,
  { limit, offset, total }: Omit<Page<unknown>, 'items'>,
): AsyncGenerator<Uint8Array> {
  let parts: Uint8Array[] = [Buffer.from('{"items":[')]
  for await (const list of lists) {
    if (parts.length > 1) {
      yield Buffer.concat(parts)
      parts = [Buffer.from(',')]
    }
    parts.push(list)
  }
  parts.push(Buffer.from(`],"limit":${limit},"offset":${offset},"total":${total}}`))
  yield Buffer.concat(parts)
}

function statisticsToJSON(statistics: StoreStatistics): Record<string, unknown> {
  return {
    name: statistics.name,
    total_rollouts: statistics.totalRollouts,
    total_attempts: statistics.totalAttempts,
    total_spans: statistics.totalSpans,
    total_resources: statistics.totalResources,
    total_workers: statistics.totalWorkers,
    uptime: statistics.uptime,
  }
}
