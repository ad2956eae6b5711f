import type { Activity, EmbeddingData, LlmData, Logger, ResponseReader } from '@agl/core'
import { ChatAccumulator, chatData, type Accumulator } from './chat.ts'
import { CompletionAccumulator, completionData } from './completions.ts'
import { embeddingData } from './embeddings.ts'
import { fields, isFields, text, type Fields } from './guards.ts'
import { ResponseAccumulator, responseData, responseFailure } from './responses.ts'
import { define, watch, type Watcher } from './watch.ts'

export type Operation = 'chat' | 'completion' | 'response' | 'embedding'

type Data = LlmData & EmbeddingData

const READ = { chat: chatData, completion: completionData, response: responseData, embedding: embeddingData }
const ACCUMULATE: Record<Exclude<Operation, 'embedding'>, () => Accumulator> = {
  chat: () => new ChatAccumulator(),
  completion: () => new CompletionAccumulator(),
  response: () => new ResponseAccumulator(),
}

/** What reads token ids. Loaded when the plugin starts, so that importing it stays cheap. */
let tokens: typeof import('./tokens.ts') | undefined

export async function loadTokenReader(): Promise<void> {
  tokens ??= await import('./tokens.ts')
}

/** Not the clock that a program's own tests may have put in its place. */
const later = globalThis.setTimeout
/** Ends calls whose promise or stream was dropped without being read, in programs whose traces never end. */
const dropped = new FinalizationRegistry<Call>((call) => call.abandoned())

/** One call of the client, from its start to wherever it ends. */
export class Call {
  readonly #activity: Activity<'llm'> | Activity<'embedding'>
  readonly #operation: Operation
  readonly #readers: ResponseReader[]
  readonly #log: Logger
  readonly #began = performance.now()
  #http: { requestId?: string; httpStatus?: number } = {}

  /** @param request the body as it is sent */
  constructor(
    activity: Activity<'llm'> | Activity<'embedding'>,
    operation: Operation,
    log: Logger,
    request: Fields,
  ) {
    this.#activity = activity
    this.#operation = operation
    this.#readers = 'readers' in activity.start ? [...(activity.start.readers ?? [])] : []
    if (tokens !== undefined && operation !== 'embedding')
      this.#readers.unshift(new tokens.TokenReader({ request, warn: (message) => log.once(message) }))
    this.#log = log
  }

  get ended(): boolean {
    return this.#activity.ended
  }

  responded(response: unknown): void {
    this.#http = httpOf(response)
  }

  /** Gets the parsed answer, or the stream. */
  answered(value: unknown): void {
    dropped.unregister(this)
    const operation = this.#operation
    if (operation !== 'embedding' && isStream(value)) return this.#follow(value, ACCUMULATE[operation]())
    if (value === null || value === undefined) return this.#activity.end({ ...this.#http })
    this.#feed(value, true)
    const failure = operation === 'response' ? responseFailure(fields(value)) : undefined
    this.#end(this.#complete(READ[operation](value), false), failure)
  }

  failed(error: unknown): void {
    dropped.unregister(this)
    this.#activity.update({ ...this.#http, ...(isAbort(error) ? { finish: 'aborted' } : {}) })
    if (isAbort(error)) this.#activity.end()
    else this.#activity.fail(error)
  }

  /** Nobody parses the answer: the caller took the raw response. */
  raw(): void {
    dropped.unregister(this)
    this.#activity.end({ ...this.#http, finish: 'raw' })
  }

  /** The object by which the caller could have gone on is gone. */
  abandoned(): void {
    this.#activity.abandon()
  }

  #end(data: Data, failure: Error | undefined): void {
    if (failure === undefined) return this.#activity.end(data)
    this.#activity.update(data)
    this.#activity.fail(failure)
  }

  /** Runs for every chunk. A reader that throws is out, together with what it had read: that has a hole now. */
  #feed(value: unknown, whole: boolean): void {
    const readers = this.#readers
    for (let i = readers.length - 1; i >= 0; i--) {
      try {
        if (whole) readers[i]?.response(value)
        else readers[i]?.chunk(value)
      } catch (error) {
        readers.splice(i, 1)
        this.#log.once('A reader of answers failed; what it reads of this call is not recorded.', error)
      }
    }
  }

  /** Adds what the readers know, and what HTTP told. */
  #complete(data: Data, aborted: boolean): Data {
    const { usage, choices } = data
    const summary = {
      aborted,
      ...(usage === undefined ? {} : { usage }),
      ...(choices === undefined ? {} : { choices }),
    }
    for (const reader of this.#readers) {
      try {
        const ids = reader.finish(summary)
        if (ids !== undefined) data.tokens = ids
      } catch (error) {
        this.#log.once('A reader of answers failed; what it reads of this call is not recorded.', error)
      }
    }
    const flags = tokens?.logprobFlags(choices ?? [])
    if (flags !== undefined) data.attributes = { ...data.attributes, ...flags }
    return Object.assign(data, this.#http)
  }

  /** The stream object stays the client's own; only the iterator that reads it is watched: the client lets one read. */
  #follow(stream: StreamLike, accumulator: Accumulator): void {
    const open = stream.iterator
    const watcher = this.#watcher(stream.controller, accumulator)
    // Whoever keeps an iterator keeps the stream by this, and so the call open.
    const reading: { stream: object; by?: object } = { stream }
    stream.iterator = function (this: unknown, ...args: unknown[]): unknown {
      const iterator: unknown = Reflect.apply(open, this, args)
      if (isFields(iterator)) watch(iterator, watcher, () => (reading.by ??= iterator) === iterator)
      return iterator
    }
    dropped.register(stream, this, this)
  }

  #watcher(controller: unknown, accumulator: Accumulator): Watcher {
    const began = this.#began
    const signal = fields(fields(controller)['signal'])
    let firstToken: number | undefined
    const result = (aborted: boolean): Data => {
      dropped.unregister(this)
      const heard = accumulator.data()
      // A stream may also just end, which the client takes for its regular end.
      const whole = heard.choices?.every(({ finishReason }) => finishReason !== undefined) ?? true
      const data = this.#complete(heard, aborted || !whole)
      if (firstToken !== undefined) data.timeToFirstToken = firstToken
      return data
    }
    const finish = (cut: 'aborted' | 'cancelled' | undefined): void => {
      const failure = cut === 'aborted' ? undefined : accumulator.failure()
      const data = result(cut !== undefined || failure !== undefined)
      this.#end(cut === undefined || failure !== undefined ? data : { ...data, finish: cut }, failure)
    }
    return {
      chunk: (chunk) => {
        this.#feed(chunk, false)
        if (accumulator.add(chunk) && firstToken === undefined) firstToken = performance.now() - began
      },
      done: () => finish(signal['aborted'] === true ? 'aborted' : undefined),
      cancelled: () => finish('cancelled'),
      failed: (error) => {
        this.#activity.update(result(true))
        this.failed(error)
      },
      lost: () => this.raw(),
      ended: () => this.#activity.ended,
    }
  }
}

function httpOf(response: unknown): { requestId?: string; httpStatus?: number } {
  const { status, headers } = fields(response)
  // By what it does: a program's own fetch may bring headers of another class.
  const get: unknown = isFields(headers) ? headers['get'] : undefined
  const requestId =
    typeof get === 'function' ? text(Reflect.apply(get, headers, ['x-request-id'])) : undefined
  return {
    ...(requestId === undefined ? {} : { requestId }),
    ...(typeof status === 'number' ? { httpStatus: status } : {}),
  }
}

/** The client's abort error has no name of its own, and in a minified program its class has none either. */
function isAbort(error: unknown): boolean {
  if (!isFields(error)) return false
  if (error['message'] === 'Request was aborted.') return true
  return error.constructor?.name === 'APIUserAbortError' || error['name'] === 'AbortError'
}

interface StreamLike extends Fields {
  iterator: (...args: unknown[]) => unknown
}

function isStream(value: unknown): value is StreamLike {
  return isFields(value) && typeof value['iterator'] === 'function' && 'controller' in value
}

/**
 * Follows the client's promise from within: the same promise object goes back to the caller, nothing is awaited
 * before the caller awaits it, the body is read once and by the client alone, and a failure that nobody handles is
 * reported once, as it would be without us.
 *
 * Since 7.10 each promise has its own `_thenUnwrap`, closed over what it needs; before that the prototype's uses the
 * two properties replaced here.
 */
export function follow(promise: unknown, call: Call): boolean {
  if (!isFields(promise)) return false
  const { responsePromise, parseResponse } = promise
  if (!(responsePromise instanceof Promise) || typeof parseResponse !== 'function') return false
  const observed: Promise<unknown> = responsePromise.then(
    (props: unknown) => {
      try {
        call.responded(fields(props)['response'])
      } catch {
        // What a program's own fetch answers may be anything; the client copes with it or not.
      }
      return props
    },
    (error: unknown) => {
      call.failed(error)
      throw error
    },
  )
  hook(promise, observed, call, true)
  if (unawaited.length === 0) later(registerUnawaited, 0)
  unawaited.push({ promise, call })
  return true
}

/** Calls of this turn. Most are awaited within it, end by themselves, and are spared the finalizer, which is not cheap. */
let unawaited: { promise: Fields; call: Call }[] = []

function registerUnawaited(): void {
  for (const { promise, call } of unawaited) {
    if (call.ended || promise['parsedPromise'] !== undefined) continue
    dropped.register(promise, call, call)
  }
  unawaited = []
}

type Transform = (value: unknown, props: unknown) => unknown

function hook(promise: Fields, observed: Promise<unknown>, call: Call, answers: boolean): void {
  const { parseResponse, _thenUnwrap: unwrap } = promise
  let parsing = false
  promise['responsePromise'] = observed
  if (typeof parseResponse === 'function') {
    promise['parseResponse'] = async (...args: unknown[]): Promise<unknown> => {
      parsing = true
      dropped.unregister(call)
      let value: unknown
      try {
        value = await Reflect.apply(parseResponse, promise, args)
      } catch (error) {
        call.failed(error)
        throw error
      }
      if (answers) answer(call, value, args[1])
      return value
    }
  }
  if (typeof unwrap === 'function') {
    const closed = Object.hasOwn(promise, '_thenUnwrap')
    const derive = (transform: Transform): unknown => {
      parsing = true
      const observe: Transform = (value, props) => {
        answer(call, value, props)
        return transform(value, props)
      }
      const derived: unknown = Reflect.apply(unwrap, promise, [closed ? observe : transform])
      if (isFields(derived)) hook(derived, observed, call, false)
      return derived
    }
    if (closed) promise['_thenUnwrap'] = derive
    else define(promise, '_thenUnwrap', derive)
  }
  const { asResponse } = promise
  if (typeof asResponse !== 'function') return
  define(promise, 'asResponse', function (this: unknown): unknown {
    // A turn after it has come: whoever wants the parsed answer too has begun to parse by then.
    observed.then(
      () => {
        later(() => {
          if (!parsing) call.raw()
        }, 0)
      },
      () => undefined,
    )
    return Reflect.apply(asResponse, promise, [])
  })
}

/** A payload that our reading trips over is no concern of the caller, but the call has ended all the same. */
function answer(call: Call, value: unknown, props: unknown): void {
  try {
    // Not the first one's, where parsing sent the request again.
    call.responded(fields(props)['response'])
    call.answered(value)
  } catch {
    call.raw()
  }
}
