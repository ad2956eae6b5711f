import { mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import type { DatabaseSync, SQLOutputValue } from 'node:sqlite'
import { AglError } from '@agl/core'
import { BUSY_TIMEOUT, isBusy, storeError } from './errors.ts'
import { APPLICATION_ID, MIGRATIONS } from './schema.ts'

const MEBIBYTE = 1024 * 1024
const PAGE = 32 * 1024

/** Opens the store file at `path`, made and brought up to date where needed, or says in one sentence why not. */
export function openFile(path: string): DatabaseSync {
  try {
    mkdirSync(dirname(path), { recursive: true })
    // Looked at through a connection that cannot write, so that a file that is not for us stays as it is.
    const found = statSync(path, { throwIfNoEntry: false })
    if (found?.isDirectory() === true) throw isFolder(path)
    if (found !== undefined && found.size > 0) look(path)
    const db = open(path, false)
    try {
      prepare(db, path)
      return db
    } catch (error) {
      db.close()
      throw error
    }
  } catch (error) {
    throw storeError(error, path)
  }
}

/** `node:sqlite` warns that it is experimental as soon as it is loaded, on Node 22: so only for who uses it. */
function open(path: string, readOnly: boolean): DatabaseSync {
  const sqlite = process.getBuiltinModule('node:sqlite')
  return new sqlite.DatabaseSync(path, { readOnly, timeout: BUSY_TIMEOUT })
}

/** All in one transaction, as another process may be making the schema at this moment. */
function look(path: string): void {
  const db = open(path, true)
  try {
    db.exec('BEGIN')
    check(db, path)
  } finally {
    db.close()
  }
}

function isFolder(path: string): AglError {
  return new AglError('store_unavailable', `The store's path ${path} is a folder; choose a path to a file.`)
}

function pragma(db: DatabaseSync, name: string): SQLOutputValue | undefined {
  return Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0]
}

/** The schema version of the file: 0 for an empty one. Throws for other programs' files and for newer schemas. */
function check(db: DatabaseSync, path: string): number {
  const version = Number(pragma(db, 'user_version'))
  const owner = pragma(db, 'application_id')
  const empty = version === 0 && owner === 0 && db.prepare('SELECT 1 FROM sqlite_schema').get() === undefined
  if (owner !== APPLICATION_ID && !empty) {
    throw new AglError(
      'store_unavailable',
      `The file ${path} is a database of another program; choose another path for the store.`,
    )
  }
  if (version > MIGRATIONS.length) {
    throw new AglError(
      'store_schema',
      `The store file ${path} has schema version ${version} and this @agl/store knows versions up to ${MIGRATIONS.length}; upgrade @agl/store, or choose another path.`,
    )
  }
  return version
}

/**
 * WAL with `synchronous` NORMAL: a commit is in the operating system's hands, so it survives the end of the process
 * by whatever means, and the file is consistent after a power cut too, which may take the last commits with it.
 *
 * Rows are several kB: larger pages keep one row in one place, and fewer, larger checkpoints keep the disk's
 * flushes from setting the pace.
 */
function prepare(db: DatabaseSync, path: string): void {
  db.exec(`PRAGMA page_size = ${PAGE}`)
  if (switchToWAL(db) !== 'wal') {
    throw new AglError(
      'store_unavailable',
      `The file system of ${path} cannot hold a SQLite log (is it a network drive?); choose a path on a local disk.`,
    )
  }
  db.exec(`
    PRAGMA synchronous = NORMAL;
    PRAGMA wal_autocheckpoint = ${(64 * MEBIBYTE) / PAGE};
    PRAGMA journal_size_limit = ${64 * MEBIBYTE};
  `)
  // Asks for the write lock at once: this is also where a file that cannot be written shows.
  db.exec('BEGIN IMMEDIATE')
  const version = check(db, path)
  for (const step of MIGRATIONS.slice(version)) db.exec(step)
  if (version < MIGRATIONS.length) {
    db.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${MIGRATIONS.length}`)
  }
  db.exec('COMMIT')
}

/**
 * Returns the mode that the file has then. The one lock that SQLite does not wait for by itself is needed for this, so
 * that of several processes that open a new file together only one would succeed.
 */
function switchToWAL(db: DatabaseSync): SQLOutputValue | undefined {
  const deadline = performance.now() + BUSY_TIMEOUT
  for (;;) {
    try {
      return pragma(db, 'journal_mode = WAL')
    } catch (error) {
      if (!isBusy(error) || performance.now() > deadline) throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
    }
  }
}
