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

/** Writes one batch: what is kept per rollout and attempt is read once before, and written once after. */
export class SpanWriter {
  readonly #connection: Connection
  readonly #result: AddedSpans = { added: 0, duplicates: 0, refused: [] }
  /** Highest sequence id by rollout. */
  readonly #sequences = new Map<string, number>()
  readonly #attempts = new Map<string, { rolloutId: string; attemptId: string }>()

  constructor(connection: Connection) {
    this.#connection = connection
  }

  add(span: Span, options: AddSpansOptions): void {
    this.#meet(span, options.createMissing === true)
    const last = this.#sequences.get(span.rolloutId) ?? 0
    const sequenceId = options.keepSequenceIds === true ? span.sequenceId : last + 1
    try {
      if (this.#insert(span, sequenceId)) {
        this.#sequences.set(span.rolloutId, Math.max(last, sequenceId))
        this.#result.added++
      } else this.#result.duplicates++
    } catch (error) {
      if (!isRowError(error)) throw error
      this.#result.refused.push({ spanId: span.spanId, reason: String(error) })
    }
  }

  #insert(span: Span, sequenceId: number): boolean {
    const row = toRow(span, sequenceId)
    const changes = this.#connection.run(
      `INSERT INTO spans (rollout_id, attempt_id, span_id, sequence_id, trace_id, parent_id, name, start_time, end_time, data)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (rollout_id, attempt_id, span_id) DO NOTHING`,
      [
        row.rolloutId,
        row.attemptId,
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

  #meet({ rolloutId, attemptId, startTime }: Span, createMissing: boolean): void {
    const key = `${rolloutId}\0${attemptId}`
    if (this.#attempts.has(key)) return
    const found = this.#connection.get('SELECT 1 FROM attempts WHERE rollout_id = ? AND attempt_id = ?', [
      rolloutId,
      attemptId,
    ])
    if (found === undefined) {
      if (!createMissing) throw this.#connection.missing(rolloutId, attemptId)
      const nothing = { input: 'null', metadata: '{}', mode: null, resourcesId: null }
      this.#connection.start({ rolloutId, attemptId, startTime, status: 'running', ...nothing })
    }
    this.#attempts.set(key, { rolloutId, attemptId })
    if (this.#sequences.has(rolloutId)) return
    const counter = this.#connection.get('SELECT last FROM sequences WHERE rollout_id = ?', [rolloutId])
    this.#sequences.set(rolloutId, counter === undefined ? 0 : number(counter, 'last'))
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
