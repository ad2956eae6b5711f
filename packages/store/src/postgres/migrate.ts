import { AglError } from '@agl/core'
import { number } from '../sql/records.ts'
import type { Database } from './database.ts'
import { MIGRATIONS } from './schema.ts'

/** For all schemas: migrations are rare, and wait for each other. Spells "aglS", as in a SQLite file's header. */
const LOCK = 0x61676c53

/**
 * Makes the schema, or brings it up to date.
 *
 * @throws AglError store_schema where it is newer than this package
 */
export async function migrate(database: Database): Promise<void> {
  const { schema, where } = database.settings
  const has = (table: string): string =>
    `SELECT 1 FROM information_schema.tables WHERE table_schema = '${schema}' AND table_name = '${table}'`
  const version = async (get: Database['get']): Promise<number> => {
    if ((await get(has('version'))) === undefined) return 0
    return number((await get('SELECT version FROM {version}')) ?? {}, 'version')
  }
  const check = (found: number): number => {
    if (found <= MIGRATIONS.length) return found
    throw new AglError(
      'store_schema',
      `The schema "${schema}" of the database ${where} has version ${found} and this @agl/store knows versions up to ${MIGRATIONS.length}; upgrade @agl/store, or choose another schema.`,
    )
  }
  if (check(await version((sql) => database.get(sql))) === MIGRATIONS.length) return

  await database.transaction(async (connection) => {
    const run = (sql: string): Promise<number> => connection.run({ sql, values: [] })
    // Another process's migration may take as long as it likes.
    await run('SET LOCAL lock_timeout = 0')
    await run(`SELECT pg_advisory_xact_lock(${LOCK})`)
    const found = check(await version((sql) => connection.get(sql)))
    if (found === 0) {
      // Asked for first, since making it takes a right that its users need not have.
      const known = await connection.get('SELECT 1 FROM pg_namespace WHERE nspname = ?', schema)
      if (known === undefined) await run(`CREATE SCHEMA "${schema}"`)
      await run('CREATE TABLE {version} (version INTEGER NOT NULL)')
      await run('INSERT INTO {version} (version) VALUES (0)')
    }
    for (const step of MIGRATIONS.slice(found)) for (const statement of step) await run(statement)
    await run(`UPDATE {version} SET version = ${MIGRATIONS.length}`)
  })
}
