import { AglError, type Attributes, type Sink, type Span } from '@agl/core'
import { encodeTraces, type Protocol } from './encode.ts'
import { checkHeaders, post, type PostOptions } from './post.ts'
import { checkOptions, endpoint, type OtlpSinkOptions } from './options.ts'
import { reasonOf } from './refused.ts'
import { weightOf } from './values.ts'
import type { Vocabulary } from './vocabulary/index.ts'

/** Refusals that one batch may meet while it is taken apart to find what is wrong in it, and before the first success. */
const MOST_REFUSALS = 64
const MOST_AT_FIRST = 16
/** Of a timer: a longer one ends at once. */
const LONGEST_TIMEOUT = 2 ** 31 - 1

type Translate = (span: Span) => Span | null | undefined

/** One span of a batch, and what is sent of it. */
interface Item {
  span: Span
  sent: Span
  /** Bytes, roughly. */
  size: number
}

/**
 * Sends spans to any OTLP backend over HTTP.
 *
 * What is retried is the batch, by the queue in front of the sink: after 429, 502, 503 and 504 (not before the time
 * that the server asked for), time-outs and lost connections. Only those of its spans are sent again that no request
 * was acknowledged for, with the same ids. What a backend refuses for good is dropped and counted. Rollouts and
 * attempts are not begun there: an Agent Lightning store refuses spans of those it does not know.
 *
 * @throws AglError `config_invalid` for options that cannot be, `value_invalid` for headers
 */
export function otlpSink(options: OtlpSinkOptions): Sink {
  const closing = new AbortController()
  const url = endpoint(options.url)
  const name = `otlp ${url.origin}${url.pathname}`
  const { headers = {}, protocol = 'protobuf', compression = 'none', vocabulary = 'agentlightning' } = options
  const { timeout = 10_000, maxBytes = 4 * 1024 * 1024, resource = {} } = options
  checkOptions({ protocol, compression, vocabulary, timeout, maxBytes, resource })
  const added = { ...resource }
  if (typeof headers !== 'function') checkHeaders(headers)
  const said = new Set<string>()
  const delivery = new Delivery({
    request: {
      url,
      headers,
      compression,
      timeout: Math.min(timeout, LONGEST_TIMEOUT),
      closed: closing.signal,
    },
    protocol,
    maxBytes,
    translator: async () => withResource(await translation(vocabulary), added),
    isStore: vocabulary === 'agentlightning',
    warn(kind, message) {
      if (said.has(kind)) return
      said.add(kind)
      const text = `The sink "${name}" drops spans: ${message}.`
      try {
        if (options.onWarning === undefined) console.error(`[agl:otlp] ${text}`)
        else options.onWarning(text)
      } catch {
        // The batch would be tried again for it.
      }
    },
    fail: (message) => new AglError('sink_failed', `The sink "${name}" waits: ${message}.`),
  })
  return {
    name,
    write: (spans) => delivery.write(spans),
    writeSync() {
      throw new AglError(
        'sink_failed',
        'OTLP goes over HTTP, which cannot be done while a process exits; await flush() or shutdown() before it ends.',
      )
    },
    close: () => closing.abort(),
  }
}

interface Parts {
  request: PostOptions
  protocol: Protocol
  maxBytes: number
  translator: () => Promise<Translate>
  /** Whether the receiver knows spans that it had before, so that those around a failure can be sent again. */
  isStore: boolean
  warn: (kind: string, message: string) => void
  fail: (message: string) => AglError
}

class Delivery {
  readonly #parts: Parts
  #translate: Translate | undefined
  /** Spans of the batch at hand that are dealt with: after a failure the queue brings them again. */
  readonly #settled = new Set<Span>()
  #lost = 0
  /** When the server may be asked again, by `performance.now()`. */
  #notBefore = 0
  /** Of the batch at hand. */
  #refusals = 0
  #taken = false

  constructor(parts: Parts) {
    this.#parts = parts
  }

  async write(spans: readonly Span[]): Promise<{ dropped: number }> {
    const wait = this.#notBefore - performance.now()
    if (wait > 0) throw this.#parts.fail(`the server wants to be left alone for ${Math.ceil(wait / 1000)} s`)
    this.#refusals = 0
    this.#taken = false
    const translate = (this.#translate ??= await this.#parts.translator())
    const items = this.#translated(
      spans.filter((span) => !this.#settled.has(span)),
      translate,
    )
    for (const portion of portions(items, this.#parts.maxBytes)) await this.#deliver(portion)
    const dropped = this.#lost
    this.#lost = 0
    this.#settled.clear()
    return { dropped }
  }

  #translated(spans: readonly Span[], translate: Translate): Item[] {
    const items: Item[] = []
    for (const span of spans) {
      try {
        const sent = translate(span)
        if (sent === undefined || sent === null) this.#settled.add(span)
        else if (typeof sent.resource === 'object') items.push({ span, sent, size: weightOf(sent) })
        else throw new TypeError('what it gives is no span')
      } catch (error) {
        this.#drop([span])
        this.#parts.warn('vocabulary', `the vocabulary fails on one: ${reasonOf(error)}`)
      }
    }
    return items
  }

  async #deliver(items: readonly Item[]): Promise<void> {
    const { protocol, request, isStore, warn, fail } = this.#parts
    const spans = items.map(({ span }) => span)
    const sent = items.map((item) => item.sent)
    const encoded = encodeTraces(sent, { protocol })
    const unencodable = encoded.refused.length
    if (unencodable > 0) warn('unencodable', `one cannot be sent, as ${encoded.refused[0]?.reason}`)
    if (unencodable === items.length) return this.#drop(spans)
    if (this.#refusals >= (this.#taken ? MOST_REFUSALS : MOST_AT_FIRST)) return this.#drop(spans)
    const outcome = await post(encoded.body, encoded.contentType, request)
    if (outcome.kind === 'taken') {
      this.#taken = true
      const rejected = Math.min(Math.max(outcome.rejected, 0), items.length - unencodable)
      if (rejected > 0) warn('rejected', `the server takes some of them only (${outcome.message})`)
      for (const span of spans) this.#settled.add(span)
      this.#lost += unencodable + rejected
    } else if (outcome.kind === 'later') {
      this.#notBefore = performance.now() + outcome.wait
      throw fail(outcome.message)
    } else {
      warn(String(outcome.status), outcome.message)
      if (outcome.kind === 'refused') return this.#drop(spans)
      this.#refusals++
      if (items.length === 1 || (outcome.status === 500 && !isStore)) return this.#drop(spans)
      const middle = items.length >> 1
      await this.#deliver(items.slice(0, middle))
      await this.#deliver(items.slice(middle))
    }
  }

  #drop(spans: readonly Span[]): void {
    for (const span of spans) this.#settled.add(span)
    this.#lost += spans.length
  }
}

function* portions(items: readonly Item[], maxBytes: number): Generator<Item[]> {
  let portion: Item[] = []
  let bytes = 0
  for (const item of items) {
    const { size } = item
    if (portion.length > 0 && bytes + size > maxBytes) {
      yield portion
      portion = []
      bytes = 0
    }
    portion.push(item)
    bytes += size
  }
  if (portion.length > 0) yield portion
}

/** Other vocabularies are loaded when they are used. */
async function translation(vocabulary: Vocabulary | Translate): Promise<Translate> {
  if (typeof vocabulary === 'function') return vocabulary
  if (vocabulary === 'agentlightning') return (span) => span
  const { vocabularies } = await import('./vocabulary/index.ts')
  return vocabularies[vocabulary]
}

function withResource(translate: Translate, added: Attributes): Translate {
  if (Object.keys(added).length === 0) return translate
  const merged = new WeakMap<object, Span['resource']>()
  return (given) => {
    const span = translate(given)
    if (span === undefined || span === null) return span
    let resource = merged.get(span.resource)
    if (resource === undefined) {
      resource = { ...span.resource, attributes: { ...span.resource.attributes, ...added } }
      merged.set(span.resource, resource)
    }
    return { ...span, resource }
  }
}
