import type { SQLInputValue } from 'node:sqlite'
import type { AglError, Span } from '@agl/core'
import { type NewRollout, now } from '../engine.ts'
import { toRow } from '../row.ts'
import type { AddSpansOptions, AddedSpans } from '../types.ts'
import { isRowError } from './errors.ts'
import { type Row, number } from './records.ts'

/** The connection inside whose transaction spans are written. */
export interface Connection {
  run(sql: string, values: SQLInputValue[]): number
  get(sql: string, values: SQLInputValue[]): Row | undefined
  start(request: NewRollout): void
  missing(rolloutId: string, attemptId: string): AglError
}

/** An attempt that the batch adds to, with the rows that it and its rollout have. */
interface Known {
  rolloutId: string
  attemptId: string
  rollout: number
  attempt: number
}

/** Writes one batch: what is kept per rollout and attempt is read once before, and written once after. */
export class SpanWriter {
  readonly #connection: Connection
  readonly #result: AddedSpans = { added: 0, duplicates: 0, refused: [] }
  /** Highest sequence id by rollout. */
  readonly #sequences = new Map<string, number>()
  readonly #attempts = new Map<string, Known>()

  constructor(connection: Connection) {
    this.#connection = connection
  }

  add(span: Span, options: AddSpansOptions): void {
    const known = this.#meet(span, options.createMissing === true)
    const last = this.#sequences.get(span.rolloutId) ?? 0
    const sequenceId = options.keepSequenceIds === true ? span.sequenceId : last + 1
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
    const changes = this.#connection.run(
      `INSERT INTO spans (rollout, attempt, span_id, sequence_id, trace_id, parent_id, name, start_time, end_time, data)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (attempt, span_id) DO NOTHING`,
      [
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
    )
    return changes > 0
  }

  #meet({ rolloutId, attemptId, startTime }: Span, createMissing: boolean): Known {
    const key = `${rolloutId}\0${attemptId}`
    const met = this.#attempts.get(key)
    if (met !== undefined) return met
    if (createMissing && this.#find(rolloutId, attemptId) === undefined) {
      const nothing = { input: 'null', metadata: '{}', mode: null, resourcesId: null }
      this.#connection.start({ rolloutId, attemptId, startTime, status: 'running', ...nothing })
    }
    const known = this.#find(rolloutId, attemptId)
    if (known === undefined) throw this.#connection.missing(rolloutId, attemptId)
    this.#attempts.set(key, known)
    if (!this.#sequences.has(rolloutId)) {
      const counter = this.#connection.get('SELECT last FROM sequences WHERE rollout_id = ?', [rolloutId])
      this.#sequences.set(rolloutId, counter === undefined ? 0 : number(counter, 'last'))
    }
    return known
  }

  #find(rolloutId: string, attemptId: string): Known | undefined {
    const row = this.#connection.get(
      `SELECT rollouts.id AS rollout, attempts.id AS attempt FROM attempts JOIN rollouts USING (rollout_id)
       WHERE rollout_id = ? AND attempt_id = ?`,
      [rolloutId, attemptId],
    )
    return row && { rolloutId, attemptId, rollout: number(row, 'rollout'), attempt: number(row, 'attempt') }
  }

  /** Writes the counters, and marks the attempts as alive. */
  finish(): AddedSpans {
    if (this.#result.added === 0) return this.#result
    for (const [rolloutId, last] of this.#sequences) {
      this.#connection.run(
        'INSERT INTO sequences (rollout_id, last) VALUES (?, ?) ON CONFLICT (rollout_id) DO UPDATE SET last = excluded.last',
        [rolloutId, last],
      )
    }
    for (const { rolloutId, attemptId } of this.#attempts.values()) {
      this.#connection.run(
        `UPDATE attempts SET last_heartbeat_time = ?,
           status = CASE WHEN status IN ('preparing', 'unresponsive') THEN 'running' ELSE status END
         WHERE rollout_id = ? AND attempt_id = ?`,
        [now(), rolloutId, attemptId],
      )
      this.#connection.run(
        `UPDATE rollouts SET status = 'running' WHERE rollout_id = ? AND status IN ('preparing', 'requeuing')
           AND ? = (SELECT attempt_id FROM attempts WHERE rollout_id = ? ORDER BY sequence_id DESC LIMIT 1)`,
        [rolloutId, attemptId, rolloutId],
      )
    }
    return this.#result
  }
}
