import { AglError, type Attributes, type Span } from '@agl/core'
import { CONTENT_TYPES, type Protocol } from './encode.ts'
import { COMPRESSIONS, type Compression, type HeadersOption } from './post.ts'
import { illegal, isLegal } from './values.ts'
import type { Vocabulary } from './vocabulary/index.ts'

/*
 * What a program may have given `otlpSink`, with types or without.
 */

export interface OtlpSinkOptions {
  /** The traces endpoint, such as `http://127.0.0.1:4318/v1/traces`. Without a path, that one is added. */
  url: string
  /** Sent with each request, such as a key; a function is asked before each. Never logged. */
  headers?: HeadersOption
  /** @default 'protobuf' */
  protocol?: Protocol
  /** @default 'none' */
  compression?: Compression
  /**
   * In whose names spans are sent: those of an Agent Lightning store, which are the record's own, or of a backend.
   * Or what to send of a span; `undefined` and `null` send nothing of it.
   * @default 'agentlightning'
   */
  vocabulary?: Vocabulary | ((span: Span) => Span | null | undefined)
  /** Attributes that are added to each span's resource. */
  resource?: Attributes
  /** Milliseconds that a request may take, with its headers. @default 10000 */
  timeout?: number
  /** Most bytes of a request before compression, roughly; one span may have more. @default 4 MB */
  maxBytes?: number
  /** Called once with each kind of trouble that costs spans. @default prints to standard error */
  onWarning?: (message: string) => void
}

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
