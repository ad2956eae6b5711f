import { AglError } from '@agl/core'
import type { Arguments, AsyncEngine, News, Operation, Result, Transport } from '../engine.ts'
import { Database, type Driver, type Settings } from './database.ts'
import { PostgresEngine } from './engine.ts'
import { Listener } from './listener.ts'
import { migrate } from './migrate.ts'

/** Milliseconds between two looks of those who wait: where the database tells what happens, only to be safe. */
const POLL = 100
const SAFE_POLL = 2000

/** A PostgreSQL database as a store's backend. Calls of one process go side by side, over several connections. */
export class PostgresClient implements Transport {
  readonly ordered = false
  readonly #database: Database
  readonly #engine: AsyncEngine
  #listener: Listener | undefined

  private constructor(database: Database) {
    this.#database = database
    this.#engine = new PostgresEngine(database)
  }

  /** @throws AglError package_missing, store_unavailable, store_schema */
  static async open(settings: Settings): Promise<PostgresClient> {
    const database = new Database(await loadDriver(), settings)
    try {
      await migrate(database)
      return new PostgresClient(database)
    } catch (error) {
      await database.close()
      throw error
    }
  }

  get poll(): number {
    return this.#listener?.works === true ? SAFE_POLL : POLL
  }

  async call<Op extends Operation>(operation: Op, ...args: Arguments<Op>): Promise<Result<Op>> {
    return this.#engine[operation](...args)
  }

  listen(listener: (news: News) => void): void {
    this.#listener = new Listener(this.#database, listener)
    void this.#listener.start()
  }

  async close(): Promise<void> {
    // Idle connections let the process end, which it would do before they are closed.
    const hold = setInterval(() => undefined, 1000)
    try {
      await this.#listener?.close()
      await this.#database.close()
    } finally {
      clearInterval(hold)
    }
  }
}

async function loadDriver(): Promise<Driver> {
  try {
    const { default: driver } = await import('pg')
    return driver
  } catch (cause) {
    throw new AglError(
      'package_missing',
      'A store URL that begins with "postgres:" needs the package "pg"; install it with "npm install pg".',
      { cause },
    )
  }
}
