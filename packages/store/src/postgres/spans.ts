import type { Span } from '@agl/core'
import { impliedRollout, missing } from '../engine.ts'
import { heardFrom } from '../lifecycle.ts'
import { toRow } from '../row.ts'
import { STATE, number, readAttempt, readState, text } from '../sql/records.ts'
import type { Clause, Value } from '../sql/select.ts'
import type { AddSpansOptions, AddedSpans } from '../types.ts'
import type { Connection, Database } from './database.ts'
import { codeOf, kindOf } from './errors.ts'
import { start } from './rollouts.ts'

/** The rows of the attempts that a batch adds to, by `keyOf`. */
type Places = ReadonlyMap<string, { rollout: number; attempt: number }>

interface Attempts {
  rolloutId: string
  attemptId: string
  startTime: number
}

/** Writes one batch: all of it in one statement, and one by one where the database refuses one of its spans. */
export async function addSpans(
  database: Database,
  spans: readonly Span[],
  options: AddSpansOptions,
): Promise<AddedSpans> {
  const write = (oneByOne: boolean): Promise<AddedSpans> =>
    database.transaction((connection) => writeSpans(connection, spans, options, oneByOne))
  try {
    return await write(false)
  } catch (error) {
    if (!(error instanceof Error) || kindOf(error.cause) !== 'row') throw error
    return write(true)
  }
}

async function writeSpans(
  connection: Connection,
  spans: readonly Span[],
  options: AddSpansOptions,
  oneByOne: boolean,
): Promise<AddedSpans> {
  const attempts = attemptsOf(spans)
  const sequences = await lockSequences(connection, attempts)
  const places = await findPlaces(connection, attempts, options.createMissing === true)
  const result: AddedSpans = { added: 0, duplicates: 0, refused: [] }
  const known = await findKnown(connection, spans, places)
  const heard = new Set<string>()
  let rows: Value[][] = []
  const flush = async (): Promise<void> => {
    if (rows.length > 0) await connection.run(insertSpans(rows))
    rows = []
  }
  for (const span of spans) {
    const place = places.get(keyOf(span))
    if (place === undefined) throw missing(span.rolloutId, span.attemptId)
    const key = `${place.attempt}/${span.spanId}`
    if (known.has(key)) {
      result.duplicates++
      continue
    }
    const last = sequences.get(span.rolloutId) ?? 0
    const keeps = options.keepSequenceIds === true && span.sequenceId >= 0
    const sequenceId = keeps ? span.sequenceId : last + 1
    const refusal = await attempt(connection, oneByOne, async () => {
      rows.push(toValues(span, sequenceId, place))
      if (oneByOne) await flush()
    })
    if (refusal !== undefined) {
      rows = []
      result.refused.push({ spanId: span.spanId, reason: refusal })
      continue
    }
    known.add(key)
    heard.add(keyOf(span))
    sequences.set(span.rolloutId, Math.max(last, sequenceId))
    result.added++
  }
  await flush()
  if (result.added > 0) {
    await connection.run(saveSequences(sequences))
    await hear(
      connection,
      [...heard].flatMap((key) => places.get(key) ?? []),
    )
  }
  return result
}

/** With the first span of each, by which an attempt begins that is not there. */
function attemptsOf(spans: readonly Span[]): Attempts[] {
  const attempts = new Map<string, Attempts>()
  for (const span of spans) if (!attempts.has(keyOf(span))) attempts.set(keyOf(span), span)
  return [...attempts.values()]
}

/** Why the database refuses what `work` writes; otherwise its failure is that of the whole batch. */
async function attempt(
  connection: Connection,
  oneByOne: boolean,
  work: () => Promise<void>,
): Promise<string | undefined> {
  if (!oneByOne) {
    await work()
    return undefined
  }
  await connection.run({ sql: 'SAVEPOINT span', values: [] })
  try {
    await work()
    return undefined
  } catch (error) {
    if (kindOf(error) !== 'row') throw error
    await connection.run({ sql: 'ROLLBACK TO SAVEPOINT span', values: [] })
    return `the database refuses it (${error instanceof Error ? error.message : codeOf(error)})`
  }
}

/**
 * The highest sequence id of each rollout. Who adds spans to a rollout holds its counter until they are committed, and
 * takes several counters in one order, so that nobody waits for somebody who waits for them.
 */
async function lockSequences(
  connection: Connection,
  attempts: readonly Attempts[],
): Promise<Map<string, number>> {
  const ids = [...new Set(attempts.map(({ rolloutId }) => rolloutId))].toSorted()
  const rows = await connection.all(
    `INSERT INTO {sequences} AS sequences (rollout_id, last) VALUES ${ids.map(() => '(?, 0)').join(', ')}
     ON CONFLICT (rollout_id) DO UPDATE SET last = sequences.last RETURNING rollout_id, last`,
    ...ids,
  )
  return new Map(rows.map((row) => [text(row, 'rollout_id'), number(row, 'last')]))
}

function saveSequences(sequences: ReadonlyMap<string, number>): Clause {
  return {
    sql: `INSERT INTO {sequences} (rollout_id, last) VALUES ${[...sequences].map(() => '(?, ?)').join(', ')}
          ON CONFLICT (rollout_id) DO UPDATE SET last = excluded.last`,
    values: [...sequences].flat(),
  }
}

async function findPlaces(
  connection: Connection,
  attempts: readonly Attempts[],
  createMissing: boolean,
): Promise<Places> {
  const find = async (): Promise<Map<string, { rollout: number; attempt: number }>> => {
    const rows = await connection.all(
      `SELECT rollouts.id AS rollout, attempts.id AS attempt, attempts.rollout_id, attempts.attempt_id
       FROM {attempts} AS attempts JOIN {rollouts} AS rollouts ON rollouts.rollout_id = attempts.rollout_id
       WHERE (attempts.rollout_id, attempts.attempt_id) IN (VALUES ${attempts.map(() => '(?, ?)').join(', ')})`,
      ...attempts.flatMap(({ rolloutId, attemptId }) => [rolloutId, attemptId]),
    )
    return new Map(
      rows.map((row) => [
        keyOf({ rolloutId: text(row, 'rollout_id'), attemptId: text(row, 'attempt_id') }),
        { rollout: number(row, 'rollout'), attempt: number(row, 'attempt') },
      ]),
    )
  }
  const places = await find()
  const missed = attempts.filter((attempt) => !places.has(keyOf(attempt)))
  const [first] = missed
  if (first === undefined) return places
  if (!createMissing) throw missing(first.rolloutId, first.attemptId)
  for (const { rolloutId, attemptId, startTime } of missed) {
    await start(connection, impliedRollout(rolloutId, attemptId, startTime))
  }
  return find()
}

/** The spans of the batch that are there already, as attempt and span id. */
async function findKnown(
  connection: Connection,
  spans: readonly Span[],
  places: Places,
): Promise<Set<string>> {
  const rows = await connection.all(
    'SELECT attempt, span_id FROM {spans} WHERE attempt = ANY(?) AND span_id = ANY(?)',
    [...places.values()].map(({ attempt }) => attempt),
    spans.map(({ spanId }) => spanId),
  )
  return new Set(rows.map((row) => `${number(row, 'attempt')}/${text(row, 'span_id')}`))
}

function toValues(span: Span, sequenceId: number, place: { rollout: number; attempt: number }): Value[] {
  const { spanId, traceId, parentId, name, startTime, endTime, data } = toRow(span, sequenceId)
  return [place.rollout, place.attempt, spanId, sequenceId, traceId, parentId, name, startTime, endTime, data]
}

function insertSpans(rows: readonly Value[][]): Clause {
  const values = rows.map((row) => `(${row.map(() => '?').join(', ')})`)
  return {
    sql: `INSERT INTO {spans} (rollout, attempt, span_id, sequence_id, trace_id, parent_id, name, start_time,
            end_time, data) VALUES ${values.join(', ')}`,
    values: rows.flat(),
  }
}

/** Marks the attempts as alive. */
async function hear(
  connection: Connection,
  places: readonly { rollout: number; attempt: number }[],
): Promise<void> {
  const states = await connection.all(
    `SELECT id, ${STATE} FROM {rollouts} WHERE id = ANY(?) ORDER BY id FOR UPDATE`,
    places.map(({ rollout }) => rollout),
  )
  const rollouts = new Map(states.map(readState).map((state) => [state.rolloutId, state]))
  const rows = await connection.all(
    `SELECT attempts.*, sequence_id = (SELECT max(sequence_id) FROM {attempts} AS other
       WHERE other.rollout_id = attempts.rollout_id) AS latest FROM {attempts} AS attempts WHERE id = ANY(?)`,
    places.map(({ attempt }) => attempt),
  )
  const heard = rows.flatMap((row) => {
    const attempt = readAttempt(row)
    const rollout = rollouts.get(attempt.rolloutId)
    if (rollout === undefined) return []
    return [{ id: number(row, 'id'), ...heardFrom(rollout, attempt, row['latest'] === true, connection.now) }]
  })
  // All have the same moment, and few statuses among them.
  for (const [status, ids] of grouped(heard, ({ attempt, id }) => [attempt.status, id])) {
    await connection.run({
      sql: 'UPDATE {attempts} SET last_heartbeat_time = ?, status = ? WHERE id = ANY(?)',
      values: [connection.now, status, ids],
    })
  }
  const turned = heard.flatMap(({ rollout }) => (rollout === undefined ? [] : [rollout]))
  for (const [status, ids] of grouped(turned, ({ status: its, rolloutId }) => [its, rolloutId])) {
    await connection.run({
      sql: 'UPDATE {rollouts} SET status = ? WHERE rollout_id = ANY(?)',
      values: [status, ids],
    })
  }
}

function grouped<Item, Key, Id>(items: readonly Item[], read: (item: Item) => [Key, Id]): Map<Key, Id[]> {
  const groups = new Map<Key, Id[]>()
  for (const item of items) {
    const [key, id] = read(item)
    groups.set(key, [...(groups.get(key) ?? []), id])
  }
  return groups
}

function keyOf({ rolloutId, attemptId }: { rolloutId: string; attemptId: string }): string {
  return `${rolloutId}\0${attemptId}`
}
