import type { SQLInputValue } from 'node:sqlite'
import type { Condition, Selection } from '../query.ts'
import type { RolloutField, SpanField } from '../types.ts'

/** A piece of SQL with the values of its question marks. */
export interface Clause {
  sql: string
  values: SQLInputValue[]
}

/** The only way from a query's field to SQL, so that no text of a caller ever gets there. */
const COLUMNS: Record<RolloutField | SpanField, string> = {
  rolloutId: 'rollout_id',
  attemptId: '(SELECT attempt_id FROM attempts WHERE id = attempt)',
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
}

/** The selection's conditions, to follow `WHERE`, together with those that always hold. */
export function where<Field extends RolloutField | SpanField>(
  { conditions, logic }: Selection<Field>,
  always: readonly Clause[] = [],
): Clause {
  const given = conditions.map(toClause)
  const filter = given.length === 0 ? [] : [{ ...join(given, logic), sql: `(${join(given, logic).sql})` }]
  return join([...always, ...filter, { sql: 'TRUE', values: [] }], 'and')
}

function join(clauses: readonly Clause[], logic: 'and' | 'or'): Clause {
  return {
    sql: clauses.map(({ sql }) => sql).join(logic === 'and' ? ' AND ' : ' OR '),
    values: clauses.flatMap(({ values }) => values),
  }
}

function toClause(condition: Condition<RolloutField | SpanField>): Clause {
  const column = COLUMNS[condition.field]
  if ('is' in condition) return { sql: `${column} = ?`, values: [condition.is] }
  if ('contains' in condition) return { sql: `instr(${column}, ?) > 0`, values: [condition.contains] }
  return { sql: `${column} IN (SELECT value FROM json_each(?))`, values: [JSON.stringify(condition.in)] }
}

/** Order and page, to follow the conditions. `LIMIT -1` is all. */
export function arrange<Field extends RolloutField | SpanField>(selection: Selection<Field>): Clause {
  const { sortBy, descending, limit, offset } = selection
  const order = sortBy === undefined ? '' : `${COLUMNS[sortBy]} ${descending ? 'DESC' : 'ASC'}, `
  return { sql: `ORDER BY ${order}id LIMIT ? OFFSET ?`, values: [limit, offset] }
}
