import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite'
import type { Row } from '../sql/records.ts'
import type { Clause, Dialect, Value } from '../sql/select.ts'
import { storeError } from './errors.ts'
import { openFile } from './file.ts'

export const dialect: Dialect = {
  contains: (column) => `instr(${column}, ?) > 0`,
  among: (column, list) => ({
    sql: `${column} IN (SELECT value FROM json_each(?))`,
    values: [JSON.stringify(list)],
  }),
  sortable: (column) => column,
  nextPlace: '(SELECT coalesce(max(queued), 0) + 1 FROM {rollouts})',
}

/** One connection to a store file, with its prepared statements. Every write is a transaction of its own. */
export class Database {
  readonly #path: string
  readonly #db: DatabaseSync
  readonly #statements = new Map<string, StatementSync>()

  /** @throws AglError store_unavailable, store_schema */
  constructor(path: string) {
    this.#path = path
    this.#db = openFile(path)
  }

  get({ sql, values }: Clause): Row | undefined {
    return this.#statement(sql).get(...values.map(toInput))
  }

  all({ sql, values }: Clause): Row[] {
    return this.#statement(sql).all(...values.map(toInput))
  }

  /** Returns how many rows changed. */
  run({ sql, values }: Clause): number {
    return Number(this.#statement(sql).run(...values.map(toInput)).changes)
  }

  /** Takes the write lock at once: one that is got later can fail where the data was read in between. */
  write<T>(work: () => T): T {
    return this.#transaction('BEGIN IMMEDIATE', work)
  }

  /** Sees one state of the file, whatever other processes write meanwhile. */
  read<T>(work: () => T): T {
    return this.#transaction('BEGIN', work)
  }

  close(): void {
    this.#guard(() => this.#db.close())
  }

  #statement(sql: string): StatementSync {
    const known = this.#statements.get(sql)
    if (known !== undefined) return known
    const statement = this.#db.prepare(sql.replaceAll(/\{(\w+)\}/g, '$1'))
    this.#statements.set(sql, statement)
    return statement
  }

  #transaction<T>(begin: string, work: () => T): T {
    return this.#guard(() => {
      this.run({ sql: begin, values: [] })
      try {
        const result = work()
        this.run({ sql: 'COMMIT', values: [] })
        return result
      } finally {
        // SQLite has rolled back by itself after some errors, such as a full disk.
        if (this.#db.isTransaction) this.run({ sql: 'ROLLBACK', values: [] })
      }
    })
  }

  #guard<T>(work: () => T): T {
    try {
      return work()
    } catch (error) {
      throw storeError(error, this.#path)
    }
  }
}

function toInput(value: Value): SQLInputValue {
  return typeof value === 'object' && value !== null ? JSON.stringify(value) : value
}
