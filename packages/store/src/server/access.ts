import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import { HttpError } from './problems.ts'

/** Who may use the server. */
export interface Access {
  /** Undefined: everybody who reaches it. */
  token: string | undefined
  /** Whether only this machine reaches it. */
  isLocal: boolean
  /** Origins of web pages that may use it; `*` is all. */
  cors: readonly string[]
}

/** @throws HttpError 401 without the token, 403 for a web page that is not allowed to use the server */
export function authorize(request: IncomingMessage, { token, isLocal, cors }: Access): void {
  if (token !== undefined) return checkToken(request, token)
  const { host, origin } = request.headers
  // A page of any site can send requests to this machine, or have its name resolve to it: browsers name the page.
  if (isLocal && host !== undefined && !isLocalHost(host)) {
    throw new HttpError(403, `This server answers no requests to "${host}" without a token; set one.`)
  }
  const isPage = request.method !== 'GET' && origin !== undefined
  if (isPage && origin !== `http://${host ?? ''}` && !isAllowed(origin, cors)) {
    throw new HttpError(403, `Web pages of ${origin} may not use this server; allow it with the option cors.`)
  }
}

function checkToken(request: IncomingMessage, token: string): void {
  const [, scheme = '', credentials = ''] = /^(\S+) +(.*)$/.exec(request.headers.authorization ?? '') ?? []
  const given =
    scheme.toLowerCase() === 'basic'
      ? // What clients make of a URL with a password in it, which is the only way for those of Python.
        Buffer.from(credentials, 'base64')
          .toString()
          .replace(/^[^:]*:/s, '')
      : scheme.toLowerCase() === 'bearer'
        ? credentials
        : undefined
  if (given !== undefined && timingSafeEqual(digest(given), digest(token))) return
  const detail = given === undefined ? 'This store needs a token.' : 'The token is wrong.'
  throw new HttpError(401, detail, { 'www-authenticate': 'Bearer' })
}

/** Of equal length, whatever was given. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

/** A name that no outsider can make point to this machine. */
function isLocalHost(host: string): boolean {
  const name = host.replace(/:\d*$/, '').replace(/^\[(.*)\]$/, '$1')
  return isIP(name) !== 0 || /^([\w-]+\.)*localhost\.?$/i.test(name)
}

export function isAllowed(origin: string, cors: readonly string[]): boolean {
  return cors.includes('*') || cors.includes(origin)
}
