import type { Activity, EmbeddingData, LlmData, ResponseReader } from '@agl/core'
import { ChatAccumulator, chatData, type Accumulator } from './chat.ts'
import { CompletionAccumulator, completionData } from './completions.ts'
import { embeddingData } from './embeddings.ts'
import { fields, isFields, text, type Fields } from './guards.ts'
import { ResponseAccumulator, responseData } from './responses.ts'

export type Operation = 'chat' | 'completion' | 'response' | 'embedding'

const READ = { chat: chatData, completion: completionData, response: responseData }
const ACCUMULATE: Record<Exclude<Operation, 'embedding'>, () => Accumulator> = {
  chat: () => new ChatAccumulator(),
  completion: () => new CompletionAccumulator(),
  response: () => new ResponseAccumulator(),
}

/** One call of the client, from its start to wherever it ends. */
export interface Call {
  responded(response: unknown): void
  /** Gets the parsed answer, or the stream. */
  answered(value: unknown): void
  failed(error: unknown): void
  /** Nobody parses the answer: the caller took the raw response. */
  raw(): void
  /** The object by which the caller could have gone on is gone. */
  abandoned(): void
}

/** Ends calls whose promise or stream was dropped without being read, in programs whose traces never end. */
const dropped = new FinalizationRegistry<Call>((call) => call.abandoned())

export class LlmCall implements Call {
  readonly #activity: Activity<'llm'>
  readonly #operation: Exclude<Operation, 'embedding'>
  readonly #readers: readonly ResponseReader[]
  readonly #began = performance.now()
  #http: { requestId?: string; httpStatus?: number } = {}

  constructor(activity: Activity<'llm'>, operation: Exclude<Operation, 'embedding'>) {
    this.#activity = activity
    this.#operation = operation
    this.#readers = activity.start.readers ?? []
  }

  responded(response: unknown): void {
    this.#http = httpOf(response)
  }

  answered(value: unknown): void {
    dropped.unregister(this)
    if (isStream(value)) return this.#follow(value)
    if (value === null || value === undefined) return this.#activity.end({ ...this.#http })
    for (const reader of this.#readers) reader.response(value)
    this.#activity.end(this.#complete(READ[this.#operation](value), false))
  }

  failed(error: unknown): void {
    dropped.unregister(this)
    this.#activity.update({ ...this.#http, ...(isAbort(error) ? { finish: 'aborted' } : {}) })
    if (isAbort(error)) this.#activity.end()
    else this.#activity.fail(error)
  }

  raw(): void {
    dropped.unregister(this)
    this.#activity.end({ ...this.#http, finish: 'raw' })
  }

  abandoned(): void {
    this.#activity.abandon()
  }

  /** Adds what the readers know, and what HTTP told. */
  #complete(data: LlmData, aborted: boolean): LlmData {
    const summary = data.usage === undefined ? { aborted } : { usage: data.usage, aborted }
    for (const reader of this.#readers) {
      const tokens = reader.finish(summary)
      if (tokens !== undefined) data.tokens = tokens
    }
    return Object.assign(data, this.#http)
  }

  /** The stream object stays the client's own; only the first iterator that it hands out is watched. */
  #follow(stream: StreamLike): void {
    const open = stream.iterator
    const { controller } = stream
    let first = true
    const begin = (iterator: Fields): void => {
      if (!first) return
      first = false
      dropped.unregister(this)
      if (!this.#activity.ended) watch(iterator, this.#watcher(controller))
      dropped.register(iterator, this, this)
    }
    stream.iterator = function (this: unknown, ...args: unknown[]): unknown {
      const iterator: unknown = Reflect.apply(open, this, args)
      if (isFields(iterator)) begin(iterator)
      return iterator
    }
    dropped.register(stream, this, this)
  }

  #watcher(controller: unknown): Watcher {
    const accumulator = ACCUMULATE[this.#operation]()
    const readers = this.#readers
    const began = this.#began
    const signal = fields(fields(controller)['signal'])
    let firstToken: number | undefined
    const result = (aborted: boolean): LlmData => {
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
      if (failure === undefined)
        return this.#activity.end(cut === undefined ? data : { ...data, finish: cut })
      this.#activity.update(data)
      this.#activity.fail(failure)
    }
    return {
      chunk: (chunk) => {
        if (accumulator.add(chunk) && firstToken === undefined) firstToken = performance.now() - began
        for (let i = 0; i < readers.length; i++) readers[i]?.chunk(chunk)
      },
      done: () => finish(signal['aborted'] === true ? 'aborted' : undefined),
      cancelled: () => finish('cancelled'),
      failed: (error) => {
        this.#activity.update(result(true))
        this.failed(error)
      },
      ended: () => this.#activity.ended,
    }
  }
}

export class EmbeddingCall implements Call {
  readonly #activity: Activity<'embedding'>
  #http: { requestId?: string; httpStatus?: number } = {}
  constructor(activity: Activity<'embedding'>) {
    this.#activity = activity
  }
  responded(response: unknown): void {
    this.#http = httpOf(response)
  }
  answered(value: unknown): void {
    dropped.unregister(this)
    const data: EmbeddingData = embeddingData(value)
    this.#activity.end({ ...data, ...this.#http })
  }
  failed(error: unknown): void {
    dropped.unregister(this)
    this.#activity.update(this.#http)
    this.#activity.fail(error)
  }
  raw(): void {
    dropped.unregister(this)
    this.#activity.end(this.#http)
  }
  abandoned(): void {
    this.#activity.abandon()
  }
}

function httpOf(response: unknown): { requestId?: string; httpStatus?: number } {
  if (!isFields(response)) return {}
  const { status, headers } = response
  const requestId = headers instanceof Headers ? (headers.get('x-request-id') ?? undefined) : undefined
  return {
    ...(requestId === undefined ? {} : { requestId }),
    ...(typeof status === 'number' ? { httpStatus: status } : {}),
  }
}

/** The client's abort error has no name of its own, and in a minified program its class has none either. */
function isAbort(error: unknown): boolean {
  if (!isFields(error)) return false
  if (text(error['message']) === 'Request was aborted.') return true
  const constructor: unknown = error.constructor
  const name = typeof constructor === 'function' ? constructor.name : ''
  return name === 'APIUserAbortError' || text(error['name']) === 'AbortError'
}

interface StreamLike extends Fields {
  iterator: (...args: unknown[]) => unknown
}

function isStream(value: unknown): value is StreamLike {
  return isFields(value) && typeof value['iterator'] === 'function' && 'controller' in value
}

interface Watcher {
  chunk(chunk: unknown): void
  done(): void
  cancelled(): void
  failed(error: unknown): void
  ended(): boolean
}

/**
 * Sees what `iterator` yields without standing between it and its consumer: the consumer gets the iterator's own
 * promises, on which a listener was put first. An async generator around it would cost several times as much.
 */
function watch(iterator: Fields, watcher: Watcher): void {
  const safely = (fn: () => void): void => {
    try {
      if (!watcher.ended()) fn()
    } catch {
      // A payload that our reading trips over is no concern of the consumer.
    }
  }
  const onResult = (result: unknown): void => {
    // Runs for every chunk: no closure, no spread, nothing kept.
    try {
      if (isFields(result) && result['done'] === false) watcher.chunk(result['value'])
      else safely(() => watcher.done())
    } catch {
      // As above.
    }
  }
  const onError = (error: unknown): void => safely(() => watcher.failed(error))
  const { next, return: close, throw: raise } = iterator
  if (typeof next !== 'function') return
  define(iterator, 'next', function (this: unknown, value: unknown): unknown {
    const promise: unknown = arguments.length === 0 ? next.call(iterator) : next.call(iterator, value)
    if (promise instanceof Promise) promise.then(onResult, onError)
    return promise
  })
  for (const [key, method] of [
    ['return', close],
    ['throw', raise],
  ] as const) {
    if (typeof method !== 'function') continue
    define(iterator, key, function (this: unknown, ...args: unknown[]): unknown {
      safely(() => watcher.cancelled())
      return Reflect.apply(method, iterator, args)
    })
  }
}

function define(target: object, key: PropertyKey, value: unknown): void {
  Object.defineProperty(target, key, { value, writable: true, configurable: true, enumerable: false })
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
      call.responded(fields(props)['response'])
      return props
    },
    (error: unknown) => {
      call.failed(error)
      throw error
    },
  )
  hook(promise, observed, call, true)
  dropped.register(promise, call, call)
  return true
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
      if (answers) answer(call, value)
      return value
    }
  }
  if (typeof unwrap === 'function') {
    const closed = Object.hasOwn(promise, '_thenUnwrap')
    const derive = (transform: Transform): unknown => {
      parsing = true
      const observe: Transform = (value, props) => {
        answer(call, value)
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
        setTimeout(() => {
          if (!parsing) call.raw()
        })
      },
      () => undefined,
    )
    return Reflect.apply(asResponse, promise, [])
  })
}

/** A payload that our reading trips over is no concern of the caller, but the call has ended all the same. */
function answer(call: Call, value: unknown): void {
  try {
    call.answered(value)
  } catch {
    call.raw()
  }
}
