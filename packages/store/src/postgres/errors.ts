import { AglError } from '@agl/core'

/** What an error of the driver or the server means for what was being done. */
export type Kind =
  /** Others were in the way; nothing was done, and it can be done again at once. */
  | 'conflict'
  /** The server cannot be reached, or ended the connection. */
  | 'away'
  /** This one row cannot be stored, while others can. */
  | 'row'
  | 'other'

const CONFLICT: ReadonlySet<string> = new Set(['40001', '40P01', '55P03'])
const AWAY: ReadonlySet<string> = new Set([
  '57P01',
  '57P02',
  '57P03',
  '53300',
  // It held a transaction open for too long.
  '25P03',
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EAI_AGAIN',
])

/** SQLSTATE, https://www.postgresql.org/docs/current/errcodes-appendix.html, or the system's code. */
export function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}

export function kindOf(error: unknown): Kind {
  const code = codeOf(error)
  if (code === undefined) {
    // It has no JSON, or none that is short enough.
    if (error instanceof TypeError || error instanceof RangeError) return 'row'
    // The driver's own, which have no code.
    const message = error instanceof Error ? error.message : ''
    return /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error)/.test(
      message,
    )
      ? 'away'
      : 'other'
  }
  if (CONFLICT.has(code)) return 'conflict'
  if (AWAY.has(code) || code.startsWith('08')) return 'away'
  return /^(22|23|54)/.test(code) ? 'row' : 'other'
}

/** What `error` means for the user of the database `where`. */
export function storeError(error: unknown, where: string): AglError {
  if (AglError.is(error)) return error
  return new AglError('store_unavailable', sentence(error, where), { cause: error })
}

function sentence(error: unknown, where: string): string {
  const reason = error instanceof Error ? error.message || codeOf(error) : String(error)
  switch (codeOf(error)) {
    case 'ECONNREFUSED':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
    case 'EHOSTUNREACH':
    case 'ETIMEDOUT':
      return `The database ${where} cannot be reached (${reason}); check that it runs and that the URL is right.`
    case '28000':
    case '28P01':
      return `The database ${where} refused the user or the password; put the right ones into the URL.`
    case '3D000':
      return `There is no database ${where}; create it, or name another one in the URL.`
    case '42501':
      return `The user of the database ${where} lacks a right (${reason}); grant it, or create the schema for that user.`
    case '53100':
      return `The disk of the database ${where} is full; free some space and try again.`
    default:
      return `The database ${where} cannot be used (${reason}); try again, and look into its log if this stays so.`
  }
}
