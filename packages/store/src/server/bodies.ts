import { ATTEMPT_STATUSES, ENGINES, MODES, ROLLOUT_STATUSES, WORKER_STATUSES } from '../json.ts'
import type { NamedResourcesInput, ResourceInput } from '../resources.ts'
import type {
  AttemptField,
  AttemptQuery,
  AttemptUpdate,
  DequeueOptions,
  EnqueueRollout,
  Paging,
  ResourcesField,
  ResourcesQuery,
  RolloutConfig,
  RolloutField,
  RolloutQuery,
  RolloutUpdate,
  SpanField,
  SpanQuery,
  StartRollout,
  WorkerField,
  WorkerQuery,
  WorkerUpdate,
} from '../types.ts'
import type { Fields } from './fields.ts'
import { HttpError, notAllowedNull } from './problems.ts'

/*
 * What requests carry, in Agent Lightning v0.3's names, as the store takes it. Fields beyond that version, which our
 * own client sends and others ignore, are marked with "Ours".
 */

export function readEnqueue(body: Fields): EnqueueRollout[] {
  return body.inners('rollouts').map(readRequest)
}

function readRequest(body: Fields): EnqueueRollout {
  const input = body.any('input')
  return {
    input,
    mode: body.maybeChoice('mode', MODES) ?? null,
    resourcesId: body.maybeText('resources_id') ?? null,
    config: readConfig(body.maybeInner('config')) ?? null,
    metadata: body.maybeObject('metadata') ?? null,
  }
}

function readConfig(config: Fields | undefined): RolloutConfig | undefined {
  if (config === undefined) return undefined
  const maxAttempts = config.whole('max_attempts', 1)
  if (maxAttempts < 1) {
    const msg = 'Input should be greater than or equal to 1'
    config.refuse('max_attempts', 'greater_than_equal', msg, maxAttempts)
  }
  return {
    timeoutSeconds: config.maybeNumber('timeout_seconds') ?? null,
    unresponsiveSeconds: config.maybeNumber('unresponsive_seconds') ?? null,
    maxAttempts,
    retryCondition: config.maybeChoices('retry_condition', ATTEMPT_STATUSES) ?? [],
  }
}

export function readDequeue(body: Fields): DequeueOptions {
  return {
    limit: body.whole('limit', 1),
    workerId: body.maybeText('worker_id') ?? null,
    // Ours.
    timeout: Math.max(0, body.maybeNumber('timeout') ?? 0),
  }
}

export function readStart(body: Fields): StartRollout {
  const { input, ...request } = readRequest(body)
  // Ours: the ids, the time and the status.
  const [rolloutId, attemptId] = [body.maybeText('rollout_id'), body.maybeText('attempt_id')]
  const startTime = body.maybeNumber('start_time')
  const status = body.maybeChoice('status', ['preparing', 'running'] as const)
  return {
    ...request,
    input,
    workerId: body.maybeText('worker_id') ?? null,
    ...(rolloutId !== undefined && { rolloutId }),
    ...(attemptId !== undefined && { attemptId }),
    ...(startTime !== undefined && { startTime }),
    ...(status !== undefined && { status }),
  }
}

export function readStartAttempt(body: Fields): { workerId: string | null; attemptId?: string } {
  // Ours.
  const attemptId = body.maybeText('attempt_id')
  return { workerId: body.maybeText('worker_id') ?? null, ...(attemptId !== undefined && { attemptId }) }
}

/** @throws HttpError 400 for null where the store keeps none */
export function readRolloutUpdate(body: Fields): RolloutUpdate {
  const mode = body.maybeChoice('mode', MODES) ?? null
  const resourcesId = body.maybeText('resources_id') ?? null
  const metadata = body.maybeObject('metadata') ?? null
  const status = body.maybeChoice('status', ROLLOUT_STATUSES)
  const config = readConfig(body.maybeInner('config'))
  mandatory(body, ['status', 'config'])
  return {
    ...(body.has('input') && { input: body.get('input') }),
    ...(body.has('mode') && { mode }),
    ...(body.has('resources_id') && { resourcesId }),
    ...(body.has('metadata') && { metadata }),
    ...(status !== undefined && { status }),
    ...(config !== undefined && { config }),
  }
}

/** @throws HttpError 400 for null */
export function readAttemptUpdate(body: Fields): AttemptUpdate {
  const status = body.maybeChoice('status', ATTEMPT_STATUSES)
  const workerId = body.maybeText('worker_id')
  const metadata = body.maybeObject('metadata')
  // Ours: "now" by this store's clock, and the time of the end.
  const lastHeartbeatTime =
    body.get('last_heartbeat_time') === 'now' ? 'now' : body.maybeNumber('last_heartbeat_time')
  const endTime = body.maybeNumber('end_time')
  mandatory(body, ['status', 'worker_id', 'last_heartbeat_time', 'metadata'])
  return {
    ...(status !== undefined && { status }),
    ...(workerId !== undefined && { workerId }),
    ...(lastHeartbeatTime !== undefined && { lastHeartbeatTime }),
    ...(metadata !== undefined && { metadata }),
    ...(endTime !== undefined && { endTime }),
  }
}

/** @throws HttpError 400 for null */
export function readWorkerUpdate(body: Fields): WorkerUpdate {
  const heartbeatStats = body.maybeObject('heartbeat_stats')
  mandatory(body, ['heartbeat_stats'])
  return heartbeatStats === undefined ? {} : { heartbeatStats }
}

function mandatory(body: Fields, names: readonly string[]): void {
  for (const name of names) if (body.has(name) && body.get(name) === null) throw notAllowedNull(name)
}

export function readWait(body: Fields): { rolloutIds: string[]; timeout: number | null } {
  body.list('rollout_ids')
  const timeout = body.maybeNumber('timeout')
  return {
    rolloutIds: body.maybeTexts('rollout_ids') ?? [],
    timeout: timeout === undefined ? null : Math.max(0, timeout),
  }
}

export function readNextSequenceId(body: Fields): { rolloutId: string; attemptId: string } {
  return { rolloutId: body.text('rollout_id'), attemptId: body.text('attempt_id') }
}

export function readResources(body: Fields): NamedResourcesInput {
  const resources = body
    .entries()
    .map(([name]): [string, ResourceInput] => [name, readResource(body.inner(name))])
  return Object.fromEntries(resources)
}

const RESOURCE_TYPES = ['llm', 'proxy_llm', 'prompt_template'] as const

function readResource(resource: Fields): ResourceInput {
  const given = resource.get('resource_type')
  const resourceType = RESOURCE_TYPES.find((known) => known === given)
  if (resourceType === 'prompt_template') {
    return { resourceType, template: resource.text('template'), engine: resource.choice('engine', ENGINES) }
  }
  if (resourceType === undefined) {
    const tags = RESOURCE_TYPES.map((known) => `'${known}'`).join(', ')
    const found = given === undefined
    const msg = found
      ? "Unable to extract tag using discriminator 'resource_type'"
      : `Input tag '${String(given)}' found using 'resource_type' does not match any of the expected tags: ${tags}`
    resource.refuse(undefined, found ? 'union_tag_not_found' : 'union_tag_invalid', msg, given)
    return { resourceType: 'prompt_template', template: '', engine: 'f-string' }
  }
  return {
    resourceType,
    endpoint: resource.text('endpoint'),
    model: resource.text('model'),
    apiKey: resource.maybeText('api_key') ?? null,
    samplingParameters: resource.maybeObject('sampling_parameters') ?? {},
  }
}

/** Every field of a record, and the name that the store sorts by where it can. */
type Sortable<Field extends string> = Readonly<Record<string, Field | undefined>>

const ROLLOUT_FIELDS: Sortable<RolloutField> = {
  rollout_id: 'rolloutId',
  input: undefined,
  start_time: 'startTime',
  end_time: 'endTime',
  mode: 'mode',
  resources_id: 'resourcesId',
  status: 'status',
  config: undefined,
  metadata: undefined,
}
const ATTEMPT_FIELDS: Sortable<AttemptField> = {
  rollout_id: undefined,
  attempt_id: 'attemptId',
  sequence_id: 'sequenceId',
  start_time: 'startTime',
  end_time: 'endTime',
  status: 'status',
  worker_id: 'workerId',
  last_heartbeat_time: 'lastHeartbeatTime',
  metadata: undefined,
}
const WORKER_FIELDS: Sortable<WorkerField> = {
  worker_id: 'workerId',
  status: 'status',
  heartbeat_stats: undefined,
  last_heartbeat_time: 'lastHeartbeatTime',
  last_dequeue_time: 'lastDequeueTime',
  last_busy_time: 'lastBusyTime',
  last_idle_time: 'lastIdleTime',
  current_rollout_id: 'currentRolloutId',
  current_attempt_id: 'currentAttemptId',
}
const RESOURCES_FIELDS: Sortable<ResourcesField> = {
  resources_id: 'resourcesId',
  create_time: 'createTime',
  update_time: 'updateTime',
  version: 'version',
  resources: undefined,
}
const SPAN_FIELDS: Sortable<SpanField> = {
  rollout_id: undefined,
  attempt_id: 'attemptId',
  sequence_id: 'sequenceId',
  trace_id: 'traceId',
  span_id: 'spanId',
  parent_id: 'parentId',
  name: 'name',
  status: undefined,
  attributes: undefined,
  events: undefined,
  links: undefined,
  start_time: 'startTime',
  end_time: 'endTime',
  context: undefined,
  parent: undefined,
  resource: undefined,
}

/** @throws HttpError 400 for a page that cannot be, and a field that is none or cannot be sorted by */
function readPaging<Field extends string>(query: Fields, fields: Sortable<Field>): Paging<Field> {
  const [limit, offset] = [query.whole('limit', -1), query.whole('offset', 0)]
  const sortOrder = query.has('sort_order') ? query.choice('sort_order', ['asc', 'desc']) : 'asc'
  const sortBy = query.maybeText('sort_by')
  if (limit === 0 || limit < -1) throw new HttpError(400, 'Limit must be greater than 0 or -1 for no limit')
  if (offset < 0) throw new HttpError(400, 'Offset must be greater than or equal to 0')
  if (sortBy === undefined) return { limit, offset }
  const known = Object.keys(fields)
  if (!Object.hasOwn(fields, sortBy)) {
    throw new HttpError(400, `Invalid sort_by: ${sortBy}, allowed fields are: ${known.join(', ')}`)
  }
  const field = fields[sortBy]
  if (field === undefined) {
    const sortable = known.filter((name) => fields[name] !== undefined)
    throw new HttpError(
      400,
      `Invalid sort_by: ${sortBy} has no order, sortable fields are: ${sortable.join(', ')}`,
    )
  }
  return { limit, offset, sortBy: field, sortOrder }
}

function readLogic(query: Fields): 'and' | 'or' {
  return query.has('filter_logic') ? query.choice('filter_logic', ['and', 'or']) : 'and'
}

export function readRolloutQuery(query: Fields): RolloutQuery {
  const statusIn = query.maybeChoices('status_in', ROLLOUT_STATUSES)
  const rolloutIdIn = query.maybeTexts('rollout_id_in')
  const rolloutIdContains = query.maybeText('rollout_id_contains')
  return {
    ...readPaging(query, ROLLOUT_FIELDS),
    filterLogic: readLogic(query),
    ...(statusIn !== undefined && { statusIn }),
    ...(rolloutIdIn !== undefined && { rolloutIdIn }),
    ...(rolloutIdContains !== undefined && { rolloutIdContains }),
  }
}

export function readAttemptQuery(query: Fields): AttemptQuery {
  return readPaging(query, ATTEMPT_FIELDS)
}

export function readWorkerQuery(query: Fields): WorkerQuery {
  const statusIn = query.maybeChoices('status_in', WORKER_STATUSES)
  const workerIdContains = query.maybeText('worker_id_contains')
  return {
    ...readPaging(query, WORKER_FIELDS),
    filterLogic: readLogic(query),
    ...(statusIn !== undefined && { statusIn }),
    ...(workerIdContains !== undefined && { workerIdContains }),
  }
}

export function readResourcesQuery(query: Fields): ResourcesQuery {
  const resourcesId = query.maybeText('resources_id')
  const resourcesIdContains = query.maybeText('resources_id_contains')
  return {
    ...readPaging(query, RESOURCES_FIELDS),
    ...(resourcesId !== undefined && { resourcesId }),
    ...(resourcesIdContains !== undefined && { resourcesIdContains }),
  }
}

export function readSpanQuery(query: Fields): SpanQuery {
  const attemptId = query.maybeText('attempt_id')
  return {
    ...readPaging(query, SPAN_FIELDS),
    rolloutId: query.text('rollout_id'),
    filterLogic: readLogic(query),
    ...(attemptId !== undefined && { attemptId }),
    ...filters(query),
  }
}

const SPAN_FILTERS = {
  trace_id: 'traceId',
  trace_id_contains: 'traceIdContains',
  span_id: 'spanId',
  span_id_contains: 'spanIdContains',
  parent_id: 'parentId',
  parent_id_contains: 'parentIdContains',
  name: 'name',
  name_contains: 'nameContains',
} as const

function filters(query: Fields): Partial<SpanQuery> {
  const given: Partial<SpanQuery> = {}
  for (const [name, filter] of Object.entries(SPAN_FILTERS)) {
    const value = query.maybeText(name)
    if (value !== undefined) given[filter] = value
  }
  return given
}
