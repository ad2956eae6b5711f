import { AglError } from '@agl/core'
import { ROLLOUT_STATUSES, WORKER_STATUSES } from './json.ts'
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
} from './types.ts'

/** One condition on one field. */
export type Condition<Field extends string> =
  | { field: Field; is: string }
  | { field: Field; contains: string }
  | { field: Field; in: readonly string[] }

/** A checked query with its defaults: what engines understand. */
export interface Selection<Field extends string> {
  conditions: Condition<Field>[]
  logic: 'and' | 'or'
  limit: number
  offset: number
  /** Arrival order when undefined, and among equals. */
  sortBy: Field | undefined
  descending: boolean
}

export type Field = RolloutField | AttemptField | SpanField | ResourcesField | WorkerField

export type RolloutSelection = Selection<RolloutField>
export type ResourcesSelection = Selection<ResourcesField>
export type WorkerSelection = Selection<WorkerField>

export interface AttemptSelection extends Selection<AttemptField> {
  rolloutId: string
}

export interface SpanSelection extends Selection<SpanField> {
  rolloutId: string
  /** An id, `latest`, or all of them when undefined. */
  attemptId: string | undefined
}

const ROLLOUT_FIELDS: readonly RolloutField[] = [
  'rolloutId',
  'startTime',
  'endTime',
  'mode',
  'resourcesId',
  'status',
]
const SPAN_FIELDS: readonly SpanField[] = [
  'sequenceId',
  'attemptId',
  'traceId',
  'spanId',
  'parentId',
  'name',
  'startTime',
  'endTime',
]

const ATTEMPT_FIELDS: readonly AttemptField[] = [
  'attemptId',
  'sequenceId',
  'startTime',
  'endTime',
  'status',
  'workerId',
  'lastHeartbeatTime',
]
const RESOURCES_FIELDS: readonly ResourcesField[] = ['resourcesId', 'createTime', 'updateTime', 'version']
const WORKER_FIELDS: readonly WorkerField[] = [
  'workerId',
  'status',
  'lastHeartbeatTime',
  'lastDequeueTime',
  'lastBusyTime',
  'lastIdleTime',
  'currentRolloutId',
  'currentAttemptId',
]

/** In Agent Lightning a time that is null sorts as the latest, any other null as the smallest. */
export function nullIsLargest(field: Field): boolean {
  return field.endsWith('Time')
}

export function selectRollouts(query: RolloutQuery): RolloutSelection {
  const conditions: Condition<RolloutField>[] = []
  if (query.statusIn !== undefined) {
    for (const status of query.statusIn) oneOf('status', status, ROLLOUT_STATUSES)
    conditions.push({ field: 'status', in: query.statusIn })
  }
  if (query.rolloutIdIn !== undefined) conditions.push({ field: 'rolloutId', in: query.rolloutIdIn })
  if (query.rolloutIdContains !== undefined) {
    conditions.push({ field: 'rolloutId', contains: query.rolloutIdContains })
  }
  return { conditions: texts(conditions), ...arrangement(query, ROLLOUT_FIELDS, undefined) }
}

export function selectAttempts(rolloutId: string, query: AttemptQuery): AttemptSelection {
  if (typeof rolloutId !== 'string') {
    throw new AglError('value_invalid', 'A query for attempts needs the rolloutId whose attempts are wanted.')
  }
  return { rolloutId, conditions: [], ...arrangement(query, ATTEMPT_FIELDS, 'sequenceId') }
}

export function selectResources(query: ResourcesQuery): ResourcesSelection {
  const conditions: Condition<ResourcesField>[] = []
  if (query.resourcesId !== undefined) conditions.push({ field: 'resourcesId', is: query.resourcesId })
  if (query.resourcesIdContains !== undefined) {
    conditions.push({ field: 'resourcesId', contains: query.resourcesIdContains })
  }
  return { conditions: texts(conditions), ...arrangement(query, RESOURCES_FIELDS, undefined) }
}

export function selectWorkers(query: WorkerQuery): WorkerSelection {
  const conditions: Condition<WorkerField>[] = []
  if (query.statusIn !== undefined) {
    for (const status of query.statusIn) oneOf('status', status, WORKER_STATUSES)
    conditions.push({ field: 'status', in: query.statusIn })
  }
  if (query.workerIdContains !== undefined) {
    conditions.push({ field: 'workerId', contains: query.workerIdContains })
  }
  return { conditions: texts(conditions), ...arrangement(query, WORKER_FIELDS, undefined) }
}

/** The one of this id. */
export function selectOne<Field extends string>(field: Field, id: string): Selection<Field> {
  const order = { sortBy: undefined, descending: false, logic: 'and' } as const
  return { conditions: texts([{ field, is: id }]), limit: 1, offset: 0, ...order }
}

export function selectSpans(query: SpanQuery): SpanSelection {
  if (typeof query.rolloutId !== 'string') {
    throw new AglError('value_invalid', 'A query for spans needs the rolloutId whose spans are wanted.')
  }
  const conditions: Condition<SpanField>[] = []
  const add = (field: SpanField, is: string | undefined, contains: string | undefined): void => {
    if (is !== undefined) conditions.push({ field, is })
    if (contains !== undefined) conditions.push({ field, contains })
  }
  add('traceId', query.traceId, query.traceIdContains)
  add('spanId', query.spanId, query.spanIdContains)
  add('parentId', query.parentId, query.parentIdContains)
  add('name', query.name, query.nameContains)
  const { rolloutId, attemptId } = query
  if (attemptId !== undefined) texts([{ field: 'attemptId', is: attemptId }])
  return {
    rolloutId,
    attemptId,
    conditions: texts(conditions),
    ...arrangement(query, SPAN_FIELDS, 'sequenceId'),
  }
}

/** Databases tell a text from other types in ways of their own. */
function texts<Field extends string>(conditions: Condition<Field>[]): Condition<Field>[] {
  for (const condition of conditions) {
    const given: unknown =
      'is' in condition ? condition.is : 'in' in condition ? condition.in : condition.contains
    const list: readonly unknown[] = Array.isArray(given) ? given : [given]
    if (Array.isArray(given) === 'in' in condition && list.every((value) => typeof value === 'string'))
      continue
    const expected = 'in' in condition ? 'a list of texts' : 'a text'
    throw new AglError('value_invalid', `The filter by ${condition.field} is not possible; give ${expected}.`)
  }
  return conditions
}

function arrangement<Field extends string>(
  query: Paging<Field> & { filterLogic?: 'and' | 'or' },
  fields: readonly Field[],
  natural: Field | undefined,
): Omit<Selection<Field>, 'conditions'> {
  const { limit = -1, offset = 0, sortBy = natural, sortOrder = 'asc', filterLogic = 'and' } = query
  if (!Number.isSafeInteger(limit) || limit === 0 || limit < -1) {
    throw new AglError(
      'value_invalid',
      `The limit ${limit} is not possible; give a positive number, or -1 for all.`,
    )
  }
  if (!Number.isSafeInteger(offset) || offset < 0) {
    throw new AglError('value_invalid', `The offset ${offset} is not possible; give 0 or a positive number.`)
  }
  oneOf('sortOrder', sortOrder, ['asc', 'desc'])
  oneOf('filterLogic', filterLogic, ['and', 'or'])
  if (sortBy !== undefined) oneOf('sortBy', sortBy, fields)
  return { limit, offset, sortBy, descending: sortOrder === 'desc', logic: filterLogic }
}

function oneOf(name: string, value: string, known: readonly string[]): void {
  if (known.includes(value)) return
  throw new AglError('value_invalid', `The ${name} "${value}" is not known; known are: ${known.join(', ')}.`)
}
