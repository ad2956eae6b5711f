import { afterAll } from 'vitest'
import { type EmbeddedPostgres, startEmbeddedPostgres } from './pglite-server.ts'

let embedded: Promise<EmbeddedPostgres> | undefined
let schemas = 0

/** The URL of a new schema: of the PostgreSQL in AGL_TEST_POSTGRES where there is one, else of an embedded one. */
export async function postgresURL(): Promise<string> {
  const url = new URL(process.env['AGL_TEST_POSTGRES'] ?? (await shared()).url)
  url.searchParams.set('schema', `test_${process.pid}_${Date.now().toString(36)}_${++schemas}`)
  return url.href
}

function shared(): Promise<EmbeddedPostgres> {
  return (embedded ??= startEmbeddedPostgres())
}

afterAll(async () => (await embedded)?.close())
