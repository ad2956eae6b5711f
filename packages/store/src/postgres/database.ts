import { setTimeout as sleep } from 'node:timers/promises'
import type { Client, ClientConfig, Pool, PoolClient } from 'pg'
import { AglError } from '@agl/core'
import type { News } from '../engine.ts'
import { type Row, number } from '../sql/records.ts'
import type { Clause, Dialect, Value } from '../sql/select.ts'
import { kindOf, storeError } from './errors.ts'
import { Line } from './line.ts'

export const dialect: Dialect = {
  contains: (column) => `strpos(${column}, ?) > 0`,
  among: (column, list) => ({ sql: `${column} = ANY(?)`, values: [list] }),
  // Others sort as the database's language does.
  sortable: (column) => `${column} COLLATE "C"`,
  nextPlace: `nextval('{places}')`,
}

/** How long a call waits for a server that is away, or for others that are in the way, in milliseconds. */
const PATIENCE = 10_000
/** Connections of one process. */
const CONNECTIONS = 10
/**
 * Who holds a row and falls silent loses its connection, as after a loss of the network that nobody else hears of; who
 * waits for the row tries again meanwhile. Said in each transaction, since a connection pooler takes no other settings.
 */
const LIMITS = `SET LOCAL lock_timeout = ${PATIENCE / 2}; SET LOCAL idle_in_transaction_session_timeout = ${PATIENCE * 0.8}`
/** In bytes; longer ones are not told, and found by those who look by themselves. */
const LONGEST_NEWS = 7900
/** PostgreSQL's type of whole numbers with 64 bits, which ours never need in full. */
const INT8 = 20

/** What we use of the package `pg`. */
export type Driver = Pick<typeof import('pg'), 'Client' | 'Pool' | 'types'>

/** One connection, inside a transaction. */
export interface Connection {
  /** When the transaction began, by the database's clock: Unix seconds. */
  readonly now: number
  get(sql: string, ...values: Value[]): Promise<Row | undefined>
  all(sql: string, ...values: Value[]): Promise<Row[]>
  /** Returns how many rows changed. */
  run(clause: Clause): Promise<number>
  /** Tells all who listen elsewhere, once the transaction is committed. */
  tell(news: News): void
}

export interface Settings {
  /** As the driver takes it. */
  connectionString: string
  schema: string
  /** For people: without user and password. */
  where: string
  /** The URL without its password. */
  shown: string
}

/** The pool of connections to one database and schema. In SQL given to it, `{name}` is a table, `?` a value. */
export class Database {
  readonly settings: Settings
  readonly channel: string
  /** Marks what this process tells. */
  readonly id: string = crypto.randomUUID()
  readonly #pool: Pool
  readonly #driver: Driver
  readonly #texts = new Map<string, string>()
  /** The driver's own line for a connection ends in an error after a while, though the server is there. */
  readonly #line = new Line(CONNECTIONS)
  /** Why the server was away when it was last asked; undefined when it answered. */
  #away: unknown
  /** Whether `tell` tells: some databases cannot. */
  tells = false

  constructor(driver: Driver, settings: Settings) {
    this.settings = settings
    this.channel = `agl_${settings.schema}`
    this.#driver = driver
    this.#pool = new driver.Pool({ ...this.#config(), max: CONNECTIONS, allowExitOnIdle: true })
    // A connection that breaks while nobody uses it is replaced when somebody does.
    this.#pool.on('error', () => undefined)
    // One that breaks between two statements of a transaction fails the next one.
    this.#pool.on('connect', (client) => void client.on('error', () => undefined))
  }

  /** A connection of its own, not yet open. */
  client(): Client {
    return new this.#driver.Client(this.#config())
  }

  #config(): ClientConfig {
    return {
      connectionString: this.settings.connectionString,
      application_name: 'agl',
      connectionTimeoutMillis: PATIENCE,
      keepAlive: true,
      keepAliveInitialDelayMillis: PATIENCE,
      types: {
        getTypeParser: (oid: number, format?: 'text' | 'binary') =>
          oid === INT8 ? Number : this.#driver.types.getTypeParser(oid, format ?? 'text'),
      },
    }
  }

  /** Reads with one statement. */
  async all(sql: string, ...values: Value[]): Promise<Row[]> {
    return this.#patiently(async () => {
      const { rows } = await this.#pool.query<Row>(this.#text(sql), values.map(toParameter))
      return rows
    })
  }

  async get(sql: string, ...values: Value[]): Promise<Row | undefined> {
    const [row] = await this.all(sql, ...values)
    return row
  }

  /**
   * Does `work` in a transaction, and again where others were in the way or the connection broke. With `once`, it is not
   * done again where the connection broke while it was being committed, so that nobody knows whether it was.
   */
  async transaction<T>(work: (connection: Connection) => Promise<T>, once = false): Promise<T> {
    let isCommitting = false
    return this.#patiently(
      async () => {
        isCommitting = false
        const client = await this.#pool.connect()
        let broken = true
        try {
          const told: string[] = []
          const result = await work(await this.#begin(client, told))
          isCommitting = true
          await client.query([...this.#notifications(client, told), 'COMMIT'].join('; '))
          broken = false
          return result
        } catch (error) {
          if (!isCommitting && kindOf(error) !== 'away') {
            await client.query('ROLLBACK')
            broken = false
          }
          throw error
        } finally {
          client.release(broken)
        }
      },
      () => once && isCommitting,
    )
  }

  async #begin(client: PoolClient, told: string[]): Promise<Connection> {
    const clock = 'SELECT extract(epoch FROM clock_timestamp())::float8 AS now'
    // Several statements in one message give a list of results, which the driver's types do not know of.
    const results: unknown = await client.query(`BEGIN ISOLATION LEVEL READ COMMITTED; ${LIMITS}; ${clock}`)
    const last: unknown = Array.isArray(results) ? results.at(-1) : undefined
    const row = isResult(last) ? last.rows[0] : undefined
    const query = async ({ sql, values }: Clause): Promise<{ rows: Row[]; rowCount: number | null }> =>
      client.query<Row>(this.#text(sql), values.map(toParameter))
    const all = async (sql: string, ...values: Value[]): Promise<Row[]> => (await query({ sql, values })).rows
    return {
      now: number(row ?? {}, 'now'),
      all,
      get: async (sql, ...values) => (await all(sql, ...values))[0],
      run: async (clause) => (await query(clause)).rowCount ?? 0,
      tell: (news) => void told.push(JSON.stringify({ ...news, from: this.id })),
    }
  }

  #notifications(client: PoolClient, told: readonly string[]): string[] {
    if (!this.tells) return []
    const channel = client.escapeLiteral(this.channel)
    const short = told.filter((news) => Buffer.byteLength(news) < LONGEST_NEWS)
    return short.map((news) => `SELECT pg_notify(${channel}, ${client.escapeLiteral(news)})`)
  }

  async #patiently<T>(work: () => Promise<T>, isFinal: () => boolean = () => false): Promise<T> {
    const asked = performance.now()
    let deadline: number | undefined
    for (let delay = 10; ; delay = Math.min(delay * 2, 500)) {
      try {
        return await this.#line.pass(async () => {
          // Those who waited so long for others that found nobody need not find out too.
          if (this.#away !== undefined && performance.now() - asked > PATIENCE) throw this.#away
          deadline ??= performance.now() + PATIENCE
          const result = await work()
          this.#away = undefined
          return result
        })
      } catch (error) {
        const kind = kindOf(error)
        this.#away = kind === 'away' ? error : undefined
        const again = kind === 'conflict' || (kind === 'away' && !isFinal())
        const isOver = deadline === undefined || performance.now() + delay > deadline
        if (!again || isOver) throw storeError(error, this.settings.where)
        await sleep(delay * (0.5 + Math.random()))
      }
    }
  }

  /** The statement as the server takes it. */
  #text(sql: string): string {
    const known = this.#texts.get(sql)
    if (known !== undefined) return known
    let count = 0
    const text = sql
      .replaceAll(/\{(\w+)\}/g, `"${this.settings.schema}"."$1"`)
      .replaceAll('?', () => `$${++count}`)
    // Statements with many rows are many, and made once.
    if (text.length < 2000) this.#texts.set(sql, text)
    return text
  }

  async close(): Promise<void> {
    await this.#pool.end()
  }
}

/** PostgreSQL cannot hold this one character; ids that have it are refused before. */
function toParameter(value: Value): Value {
  const clean = (text: string): string => (text.includes('\0') ? text.replaceAll('\0', '\uFFFD') : text)
  if (typeof value === 'string') return clean(value)
  if (typeof value !== 'object' || value === null) return value
  return value.some((item) => typeof item === 'string') ? value.map((item) => clean(String(item))) : value
}

function isResult(value: unknown): value is { rows: Row[] } {
  return typeof value === 'object' && value !== null && 'rows' in value && Array.isArray(value.rows)
}

/**
 * Where `url` leads. `schema` is ours, the rest is for the driver.
 *
 * @throws AglError usage
 */
export function readURL(url: string): Settings {
  if (!URL.canParse(url)) {
    throw new AglError(
      'usage',
      'The store URL begins with "postgres:" but is none; write it as in "postgres://user:password@host:5432/database".',
    )
  }
  const parsed = new URL(url)
  const schema = parsed.searchParams.get('schema') ?? 'agl'
  if (!/^[a-z_][a-z0-9_]{0,50}$/.test(schema)) {
    throw new AglError(
      'usage',
      `The schema "${schema}" in the store URL is not possible; use small letters, digits and underscores.`,
    )
  }
  parsed.searchParams.delete('schema')
  const { host, pathname } = parsed
  const where = `${decodeURIComponent(pathname.slice(1)) || 'by default'} at ${host || 'the local socket'}`
  const { href: connectionString } = parsed
  const shown = new URL(url)
  shown.password = ''
  return { connectionString, schema, where, shown: shown.href }
}
