import { isFields, type Fields } from './guards.ts'

/** What wants to know how an iterator is read. */
export interface Watcher {
  chunk(chunk: unknown): void
  done(): void
  cancelled(): void
  failed(error: unknown): void
  /** The call is over, but its answer could not be read. */
  lost(): void
  ended(): boolean
}

/**
 * Sees what `iterator` yields from the moment when it begins to read, which `reads` tells. An async generator around
 * it would cost several times as much. The consumer gets the promises that come after ours, so that a failure which
 * it does not handle is reported as without us.
 */
export function watch(iterator: Fields, watcher: Watcher, reads: () => boolean): void {
  const safely = (fn: () => void): void => {
    try {
      if (!watcher.ended()) fn()
    } catch {
      // A payload that our reading trips over is no concern of the consumer.
      watcher.lost()
    }
  }
  const onResult = (result: unknown): unknown => {
    // Runs for every chunk: no closure, no spread, nothing kept.
    try {
      if (isFields(result) && result['done'] === false) {
        if (!watcher.ended()) watcher.chunk(result['value'])
      } else safely(() => watcher.done())
    } catch {
      // As above, but the next chunk may be a better one.
    }
    return result
  }
  const onError = (error: unknown): never => {
    safely(() => watcher.failed(error))
    throw error
  }
  const { next, return: close, throw: raise } = iterator
  if (typeof next !== 'function') return
  define(iterator, 'next', function (this: unknown, value: unknown): unknown {
    const ours = reads()
    const promise: unknown = arguments.length === 0 ? next.call(iterator) : next.call(iterator, value)
    return ours && promise instanceof Promise ? promise.then(onResult, onError) : promise
  })
  for (const [key, method] of [
    ['return', close],
    ['throw', raise],
  ] as const) {
    if (typeof method !== 'function') continue
    define(iterator, key, function (this: unknown, ...args: unknown[]): unknown {
      if (reads()) safely(() => watcher.cancelled())
      return Reflect.apply(method, iterator, args)
    })
  }
}

/** Puts a method on an object of the client's without showing among its properties. */
export function define(target: object, key: PropertyKey, value: unknown): void {
  Object.defineProperty(target, key, { value, writable: true, configurable: true, enumerable: false })
}
