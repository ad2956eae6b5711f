import { AglError } from '@agl/core'
import type { Paging, RolloutField, RolloutQuery, SpanField, SpanQuery } from './types.ts'

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

export type RolloutSelection = Selection<RolloutField>

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

export function selectRollouts(query: RolloutQuery): RolloutSelection {
  const conditions: Condition<RolloutField>[] = []
  if (query.statusIn !== undefined) conditions.push({ field: 'status', in: query.statusIn })
  if (query.rolloutIdIn !== undefined) conditions.push({ field: 'rolloutId', in: query.rolloutIdIn })
  if (query.rolloutIdContains !== undefined) {
    conditions.push({ field: 'rolloutId', contains: query.rolloutIdContains })
  }
  return { conditions, ...arrangement(query, ROLLOUT_FIELDS, undefined) }
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
  return { rolloutId, attemptId, conditions, ...arrangement(query, SPAN_FIELDS, 'sequenceId') }
}

function arrangement<Field extends string>(
  query: Paging<Field> & { filterLogic?: 'and' | 'or' },
  fields: readonly Field[],
  natural: Field | undefined,
): Omit<Selection<Field>, 'conditions'> {
  const { limit = -1, offset = 0, sortBy = natural, sortOrder = 'asc', filterLogic = 'and' } = query
  if (!Number.isInteger(limit) || limit === 0 || limit < -1) {
    throw new AglError(
      'value_invalid',
      `The limit ${limit} is not possible; give a positive number, or -1 for all.`,
    )
  }
  if (!Number.isInteger(offset) || offset < 0) {
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
