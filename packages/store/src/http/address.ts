import { AglError } from '@agl/core'
import { TOKEN } from '../server/name.ts'

/** Where a store is served, read from its URL. */
export interface Address {
  secure: boolean
  hostname: string
  port: number
  /** What stands before `/v1`; mostly nothing. */
  prefix: string
  token: string | undefined
  /** The URL without the token. */
  shown: string
}

/**
 * Reads a URL such as `http://host:4747`. A token is the password in it, or `token`.
 *
 * @throws AglError usage
 */
export function readAddress(text: string, token: string | undefined): Address {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || url.hostname === '') {
    throw new AglError('usage', 'The URL of the store is not one; write it as in "http://host:4747".')
  }
  const { protocol, hostname, port, pathname, username, password, host } = url
  const prefix = pathname.replace(/\/+$/, '')
  const shown = `${protocol}//${host}${prefix}`
  if (url.search !== '' || url.hash !== '') {
    throw new AglError('usage', `The URL of the store at ${shown} must end with its host or path.`)
  }
  if (/\/v1(\/agl|\/traces)?$/.test(prefix)) {
    throw new AglError('usage', `The URL ${shown} goes too far; leave out "/v1" and what follows.`)
  }
  const secure = protocol === 'https:'
  const given = decode(password === '' ? username : password, shown) || token
  return {
    secure,
    hostname: hostname.replace(/^\[(.*)\]$/, '$1'),
    port: Number(port === '' ? (secure ? 443 : 80) : port),
    prefix,
    token: given ? checkToken(given, shown) : undefined,
    shown,
  }
}

function decode(text: string, shown: string): string {
  try {
    return decodeURIComponent(text)
  } catch (cause) {
    const message = `The token in the URL of the store at ${shown} is not one; write "%25" for a percent sign in it.`
    throw new AglError('usage', message, { cause })
  }
}

/** @throws AglError usage */
function checkToken(token: string, shown: string): string {
  if (TOKEN.test(token)) return token
  throw new AglError(
    'usage',
    `The token for the store at ${shown} cannot be sent in a header; choose another.`,
  )
}
