import { ROLLOUT_STATUSES, WORKER_STATUSES } from '../json.ts'
import type {
  AttemptField,
  AttemptQuery,
  Paging,
  ResourcesField,
  ResourcesQuery,
  RolloutField,
  RolloutQuery,
  SpanField,
  SpanQuery,
  WorkerField,
  WorkerQuery,
} from '../types.ts'
import type { Fields } from './fields.ts'
import { HttpError } from './problems.ts'

/*
 * Filters, order and page of a query, from a body or from the URL.
 */

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
  // Without a field it reverses the order of what has one: attempts and spans.
  if (sortBy === undefined) return { limit, offset, ...('sequence_id' in fields && { sortOrder }) }
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
