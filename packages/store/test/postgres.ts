import { PGlite } from '@electric-sql/pglite'
import { PGLiteSocketServer } from '@electric-sql/pglite-socket'
import { afterAll } from 'vitest'

let embedded: Promise<string> | undefined
let schemas = 0

/**
 * The URL of a new schema: of the PostgreSQL in AGL_TEST_POSTGRES where there is one, else of PostgreSQL as WebAssembly
 * in this process, behind a socket, so that the driver is the real one.
 */
export async function postgresURL(): Promise<string> {
  const server = process.env['AGL_TEST_POSTGRES'] ?? (await (embedded ??= startEmbedded()))
  const url = new URL(server)
  url.searchParams.set('schema', `test_${process.pid}_${Date.now().toString(36)}_${++schemas}`)
  return url.href
}

async function startEmbedded(): Promise<string> {
  const db = await PGlite.create()
  const server = new PGLiteSocketServer({ db, host: '127.0.0.1', port: 0, maxConnections: 100 })
  await server.start()
  afterAll(async () => {
    await server.stop()
    await db.close()
  })
  return `postgres://postgres@${server.getServerConn()}/postgres`
}
