import { AglError } from '@agl/core'

/** SQLite's primary result codes, https://sqlite.org/rescode.html */
const SQLITE = {
  PERM: 3,
  BUSY: 5,
  LOCKED: 6,
  READONLY: 8,
  IOERR: 10,
  CORRUPT: 11,
  FULL: 13,
  CANTOPEN: 14,
  TOOBIG: 18,
  CONSTRAINT: 19,
  MISMATCH: 20,
  NOTADB: 26,
} as const

/** How long a write waits for another process's before it gives up, in milliseconds. */
export const BUSY_TIMEOUT = 10_000

/** SQLite's primary result code, where `error` is SQLite's. The rest of the extended code only refines it. */
function resultCode(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null || !('errcode' in error)) return undefined
  return typeof error.errcode === 'number' ? error.errcode & 0xff : undefined
}

/** Whether it is this one row that cannot be stored, while others can. */
export function isRowError(error: unknown): boolean {
  const code = resultCode(error)
  if (code === undefined) return error instanceof TypeError || error instanceof RangeError
  return code === SQLITE.TOOBIG || code === SQLITE.CONSTRAINT || code === SQLITE.MISMATCH
}

/** Whether another connection is in the way, which passes. */
export function isBusy(error: unknown): boolean {
  const code = resultCode(error)
  return code === SQLITE.BUSY || code === SQLITE.LOCKED
}

/** What `error` means for the user of the file at `path`. */
export function storeError(error: unknown, path: string): AglError {
  if (AglError.is(error)) return error
  return new AglError('store_unavailable', sentence(error, path), { cause: error })
}

function sentence(error: unknown, path: string): string {
  const reason = error instanceof Error ? error.message : String(error)
  switch (resultCode(error) ?? (isSystemError(error) ? error.code : undefined)) {
    case SQLITE.FULL:
    case 'ENOSPC':
      return `The disk is full and the store file ${path} cannot grow; free some space and try again.`
    case SQLITE.IOERR:
      return `The store file ${path} cannot be read or written (${reason}); check the disk, its free space and its quota.`
    case SQLITE.BUSY:
    case SQLITE.LOCKED:
      return `The store file ${path} was locked by another process for more than ${BUSY_TIMEOUT / 1000} s; end what holds it and try again.`
    case SQLITE.READONLY:
    case SQLITE.PERM:
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return `The store file ${path} cannot be written (${reason}); allow writing to it and its folder, or choose another path.`
    case SQLITE.NOTADB:
      return `The file ${path} is not a SQLite database; choose another path for the store.`
    case SQLITE.CORRUPT:
      return `The store file ${path} is damaged (${reason}); restore a copy, or choose another path.`
    case SQLITE.CANTOPEN:
    case 'EEXIST':
    case 'ENOTDIR':
    case 'ENOENT':
      return `The store file ${path} cannot be opened or created (${reason}); choose a path to a file in a folder that can be written.`
    default:
      return `The store file ${path} cannot be used (${reason}); choose another path if this stays so.`
  }
}

function isSystemError(error: unknown): error is Error & { code: string } {
  return error instanceof Error && 'code' in error && typeof error.code === 'string'
}
