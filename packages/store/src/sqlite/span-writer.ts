import type { Span } from '@agl/core'
import { type StartedRollout, impliedRollout, missing, now } from '../engine.ts'
import { heardFrom } from '../lifecycle.ts'
import { toRow } from '../row.ts'
import { STATE, number, readAttempt, readState } from '../sql/records.ts'
import { saveAttempt, turnRollout } from '../sql/statements.ts'
import type { AddSpansOptions, AddedSpans } from '../types.ts'
import { type Database, dialect } from './database.ts'
import { isRowError } from './errors.ts'

/** An attempt that the batch adds to, with the rows that it and its rollout have. */
interface Known {
  rolloutId: string
  attemptId: string
  rollout: number
  attempt: number
}

/** Writes one batch: what is kept per rollout and attempt is read once before, and written once after. */
export class SpanWriter {
  readonly #db: Database
  readonly #start: (request: StartedRollout) => void
  readonly #result: AddedSpans = { added: 0, duplicates: 0, refused: [] }
  /** Highest sequence id by rollout. */
  readonly #sequences = new Map<string, number>()
  readonly #attempts = new Map<string, Known>()

  /** `db` is in a transaction, which `start` uses too. */
  constructor(db: Database, start: (request: StartedRollout) => void) {
    this.#db = db
    this.#start = start
  }

  add(span: Span, options: AddSpansOptions): void {
    const known = this.#meet(span, options.createMissing === true)
    const last = this.#sequences.get(span.rolloutId) ?? 0
    const sequenceId = options.keepSequenceIds === true && span.sequenceId >= 0 ? span.sequenceId : last + 1
    try {
      if (this.#insert(span, sequenceId, known)) {
        this.#sequences.set(span.rolloutId, Math.max(last, sequenceId))
        this.#result.added++
      } else this.#result.duplicates++
    } catch (error) {
      if (!isRowError(error)) throw error
      this.#result.refused.push({ spanId: span.spanId, reason: String(error) })
    }
  }

  #insert(span: Span, sequenceId: number, { rollout, attempt }: Known): boolean {
    const row = toRow(span, sequenceId)
    const changes = this.#db.run({
      sql: `INSERT INTO spans (rollout, attempt, span_id, sequence_id, trace_id, parent_id, name, start_time, end_time, data)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (attempt, span_id) DO NOTHING`,
      values: [
        rollout,
        attempt,
        row.spanId,
        row.sequenceId,
        row.traceId,
        row.parentId,
        row.name,
        row.startTime,
        row.endTime,
        row.data,
      ],
    })
    return changes > 0
  }

  #meet({ rolloutId, attemptId, startTime }: Span, createMissing: boolean): Known {
    const key = `${rolloutId}\0${attemptId}`
    const met = this.#attempts.get(key)
    if (met !== undefined) return met
    if (createMissing && this.#find(rolloutId, attemptId) === undefined) {
      this.#start(impliedRollout(rolloutId, attemptId, startTime))
    }
    const known = this.#find(rolloutId, attemptId)
    if (known === undefined) throw missing(rolloutId, attemptId)
    this.#attempts.set(key, known)
    if (!this.#sequences.has(rolloutId)) {
      const counter = this.#db.get({
        sql: 'SELECT last FROM sequences WHERE rollout_id = ?',
        values: [rolloutId],
      })
      this.#sequences.set(rolloutId, counter === undefined ? 0 : number(counter, 'last'))
    }
    return known
  }

  #find(rolloutId: string, attemptId: string): Known | undefined {
    const row = this.#db.get({
      sql: `SELECT rollouts.id AS rollout, attempts.id AS attempt FROM attempts JOIN rollouts USING (rollout_id)
       WHERE rollout_id = ? AND attempt_id = ?`,
      values: [rolloutId, attemptId],
    })
    return row && { rolloutId, attemptId, rollout: number(row, 'rollout'), attempt: number(row, 'attempt') }
  }

  /** Writes the counters, and marks the attempts as alive. */
  finish(): AddedSpans {
    if (this.#result.added === 0) return this.#result
    for (const [rolloutId, last] of this.#sequences) {
      this.#db.run({
        sql: 'INSERT INTO sequences (rollout_id, last) VALUES (?, ?) ON CONFLICT (rollout_id) DO UPDATE SET last = excluded.last',
        values: [rolloutId, last],
      })
    }
    for (const known of this.#attempts.values()) this.#hear(known)
    return this.#result
  }

  #hear({ rollout, attempt }: Known): void {
    const state = this.#db.get({ sql: `SELECT ${STATE} FROM rollouts WHERE id = ?`, values: [rollout] })
    const row = this.#db.get({
      sql: `SELECT *, sequence_id = (SELECT max(sequence_id) FROM attempts AS other
              WHERE other.rollout_id = attempts.rollout_id) AS latest FROM attempts WHERE id = ?`,
      values: [attempt],
    })
    if (state === undefined || row === undefined) return
    const change = heardFrom(readState(state), readAttempt(row), row['latest'] === 1, now())
    this.#db.run(saveAttempt(change.attempt))
    if (change.rollout !== undefined) this.#db.run(turnRollout(change.rollout, dialect))
  }
}
