import { AglError } from '@agl/core'
import { CONTENT_TYPES } from './encode.ts'
import { COMPRESSIONS } from './post.ts'
import type { OtlpSinkOptions } from './sink.ts'
import { illegal, isLegal } from './values.ts'
import type { Vocabulary } from './vocabulary/index.ts'

/*
 * What a program may have given `otlpSink`, with types or without.
 */

const VOCABULARIES: readonly unknown[] = [
  'agentlightning',
  'genai',
  'openinference',
  'agentops',
] satisfies Vocabulary[]

type Checked = 'protocol' | 'compression' | 'vocabulary' | 'timeout' | 'maxBytes' | 'resource'

/** @throws AglError `config_invalid` that names the option */
export function checkOptions(options: Required<Pick<OtlpSinkOptions, Checked>>): void {
  const { vocabulary, resource } = options
  const check = (name: Checked, known: readonly unknown[]): void => {
    if (!known.includes(options[name])) invalid(name, `one of ${known.join(', ')}`)
  }
  check('protocol', Object.keys(CONTENT_TYPES))
  check('compression', COMPRESSIONS)
  if (typeof vocabulary !== 'function') check('vocabulary', VOCABULARIES)
  for (const name of ['timeout', 'maxBytes'] as const)
    if (!Number.isFinite(options[name]) || options[name] <= 0) invalid(name, 'a number above 0')
  if (Object(resource) !== resource) invalid('resource', 'an object')
  for (const [key, value] of Object.entries(resource))
    if (value !== undefined && !isLegal(value, key)) invalid('resource', `legal, but ${illegal(key).message}`)
}

/** @throws AglError `config_invalid` */
export function endpoint(text: string): URL {
  const url = URL.parse(text)
  if (url === null || !/^https?:$/.test(url.protocol) || url.username + url.password !== '')
    return invalid('url', 'the http(s) address of an OTLP endpoint; put a password into "headers"')
  if (url.pathname === '/') url.pathname = '/v1/traces'
  return url
}

function invalid(name: string, what: string): never {
  throw new AglError('config_invalid', `The "${name}" of otlpSink must be ${what}.`)
}
