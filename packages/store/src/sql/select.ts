import { type Condition, type Field, type Selection, type SpanSelection, nullIsLargest } from '../query.ts'

/** What is bound to a question mark. */
export type Value = string | number | null | readonly string[] | readonly number[]

/** A piece of SQL with the values of its question marks. */
export interface Clause {
  sql: string
  values: Value[]
}

/** Where databases differ. */
export interface Dialect {
  /** Whether the text `column` contains the value. */
  contains(column: string): string
  /** Whether the text `column` is in a list. */
  among(column: string, list: readonly string[]): Clause
  /** The text `column`, to sort by code points. */
  sortable(column: string): string
  /** The next place in the queue. */
  readonly nextPlace: string
}

/** The only way from a query's field to SQL, so that no text of a caller ever gets there. */
const COLUMNS: Record<Field, string> = {
  rolloutId: 'rollout_id',
  attemptId: 'attempt_id',
  sequenceId: 'sequence_id',
  traceId: 'trace_id',
  spanId: 'span_id',
  parentId: 'parent_id',
  name: 'name',
  startTime: 'start_time',
  endTime: 'end_time',
  mode: 'mode',
  resourcesId: 'resources_id',
  status: 'status',
  workerId: 'worker_id',
  lastHeartbeatTime: 'last_heartbeat_time',
  lastDequeueTime: 'last_dequeue_time',
  lastBusyTime: 'last_busy_time',
  lastIdleTime: 'last_idle_time',
  currentRolloutId: 'current_rollout_id',
  currentAttemptId: 'current_attempt_id',
  createTime: 'create_time',
  updateTime: 'update_time',
  version: 'version',
}

/** Spans refer to their attempt by its row. */
export const SPAN_COLUMNS: Partial<Record<Field, string>> = {
  attemptId: '(SELECT attempt_id FROM {attempts} WHERE id = attempt)',
}

/** The selection's conditions, to follow `WHERE`, together with those that always hold. */
export function where<Name extends Field>(
  { conditions, logic }: Selection<Name>,
  dialect: Dialect,
  always: readonly Clause[] = [],
): Clause {
  const given = conditions.map((condition) => toClause(condition, dialect))
  const filter = given.length === 0 ? [] : [{ ...join(given, logic), sql: `(${join(given, logic).sql})` }]
  return join([...always, ...filter, { sql: 'TRUE', values: [] }], 'and')
}

/** The latest attempt of a rollout. */
export const LATEST = 'rollout_id = ? ORDER BY sequence_id DESC LIMIT 1'

/** The rollout and attempt whose spans are wanted. */
export function ofAttempt({ rolloutId, attemptId }: SpanSelection): Clause[] {
  const rollout: Clause = {
    sql: 'rollout = (SELECT id FROM {rollouts} WHERE rollout_id = ?)',
    values: [rolloutId],
  }
  if (attemptId === undefined) return [rollout]
  const [which, values] =
    attemptId === 'latest'
      ? [LATEST, [rolloutId]]
      : ['rollout_id = ? AND attempt_id = ?', [rolloutId, attemptId]]
  return [rollout, { sql: `attempt = (SELECT id FROM {attempts} WHERE ${which})`, values }]
}

function join(clauses: readonly Clause[], logic: 'and' | 'or'): Clause {
  return {
    sql: clauses.map(({ sql }) => sql).join(logic === 'and' ? ' AND ' : ' OR '),
    values: clauses.flatMap(({ values }) => values),
  }
}

function toClause(condition: Condition<Field>, dialect: Dialect): Clause {
  const column = COLUMNS[condition.field]
  if ('is' in condition) return { sql: `${column} = ?`, values: [condition.is] }
  if ('contains' in condition) return { sql: dialect.contains(column), values: [condition.contains] }
  return dialect.among(column, condition.in)
}

/** Order and page, to follow the conditions. */
export function arrange<Name extends Field>(
  { sortBy, descending, limit, offset }: Selection<Name>,
  dialect: Dialect,
  columns: Partial<Record<Field, string>> = {},
): Clause {
  const order: string[] = []
  if (sortBy !== undefined) {
    const column = columns[sortBy] ?? COLUMNS[sortBy]
    const direction = descending ? 'DESC' : 'ASC'
    // Said in full, since databases differ in where nothing goes.
    const nothing = nullIsLargest(sortBy) ? 'IS NULL' : 'IS NOT NULL'
    if (NULLABLE.has(sortBy)) order.push(`(${column} ${nothing}) ${direction}`)
    order.push(`${NUMBERS.has(sortBy) ? column : dialect.sortable(column)} ${direction}`)
  }
  const page = limit === -1 && offset === 0 ? '' : ' LIMIT ? OFFSET ?'
  return {
    sql: `ORDER BY ${[...order, 'id ASC'].join(', ')}${page}`,
    values: page === '' ? [] : [limit === -1 ? Number.MAX_SAFE_INTEGER : limit, offset],
  }
}

const NUMBERS: ReadonlySet<Field> = new Set([
  'sequenceId',
  'version',
  'startTime',
  'endTime',
  'createTime',
  'updateTime',
  'lastHeartbeatTime',
  'lastDequeueTime',
  'lastBusyTime',
  'lastIdleTime',
])

/** Others need no look at whether they are there, so that an index can give their order. */
const NULLABLE: ReadonlySet<Field> = new Set([
  'endTime',
  'mode',
  'resourcesId',
  'parentId',
  'workerId',
  'lastHeartbeatTime',
  'lastDequeueTime',
  'lastBusyTime',
  'lastIdleTime',
  'currentRolloutId',
  'currentAttemptId',
])
