import { resolve } from 'node:path'
import { AglError } from '@agl/core'
import { LocalStore } from './local.ts'
import { noteOpening } from './opened.ts'
import { memoryTransport } from './memory-transport.ts'
import type { Store, StoreOptions } from './store.ts'

/**
 * Opens the store at `url`: `memory:`, `sqlite:` and a path, relative to the working directory, or `postgres:` as the
 * driver takes it, with `?schema=` for another schema than `agl`. A SQLite file and its folders are made when they are
 * not there, and so is the schema. `http://host:4747` is a store that `serveStore` or Agent Lightning v0.3 serves; it is
 * asked for nothing until it is used.
 *
 * @example const store = await openStore('sqlite:agl.db')
 * @throws AglError usage for a URL that is not understood, store_unavailable, store_schema, package_missing
 */
export async function openStore(url: string, options: StoreOptions = {}): Promise<Store> {
  if (url === 'memory:') return new LocalStore(url, memoryTransport(), options)
  if (url.startsWith('sqlite:')) {
    const { SqliteClient } = await import('./sqlite/client.ts')
    const client = new SqliteClient(sqlitePath(url))
    await client.open()
    return new LocalStore(url, client, options)
  }
  if (/^postgres(ql)?:/.test(url)) {
    const [{ PostgresClient }, { readURL }] = await Promise.all([
      import('./postgres/client.ts'),
      import('./postgres/database.ts'),
    ])
    const settings = readURL(url)
    const store = new LocalStore(settings.shown, await PostgresClient.open(settings), options)
    return noteOpening(store, { url, options })
  }
  if (/^https?:/i.test(url)) {
    const [{ HttpStore }, { readAddress }] = await Promise.all([
      import('./http/store.ts'),
      import('./http/address.ts'),
    ])
    const token = options.token ?? (process.env['AGL_STORE_TOKEN'] || undefined)
    return noteOpening(new HttpStore(readAddress(url, token)), { url, options })
  }
  const scheme = /^([a-z][a-z+]*):/i.exec(url)?.[1]
  throw new AglError(
    'usage',
    scheme === undefined
      ? `The store URL "${url}" names no kind of store; for a SQLite file write "sqlite:${url}".`
      : `The store URL begins with "${scheme}:", which this version cannot open; use "memory:", "sqlite:FILE", "postgres://…" or "http://host:4747".`,
  )
}

function sqlitePath(url: string): string {
  const path = url.slice('sqlite:'.length)
  if (path === '')
    throw new AglError('usage', 'The store URL "sqlite:" names no file; write one, as in "sqlite:agl.db".')
  if (path === ':memory:') {
    throw new AglError(
      'usage',
      'The store URL "sqlite::memory:" is not supported; use "memory:" for a store in memory.',
    )
  }
  const [, absolute] = /^\/\/(.*)$/s.exec(path) ?? []
  if (absolute !== undefined && !absolute.startsWith('/')) {
    throw new AglError(
      'usage',
      `The store URL "${url}" could mean two files; write "sqlite:${absolute}" for a relative path, or "sqlite:/${absolute}" for an absolute one.`,
    )
  }
  return resolve(absolute ?? path)
}
