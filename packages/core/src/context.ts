import {
  context,
  createContextKey,
  ROOT_CONTEXT,
  type Context,
  type ContextManager,
  type Span as OtelSpan,
} from '@opentelemetry/api'
import type { AsyncLocalStorage } from 'node:async_hooks'
import type { Lightning } from './lightning.ts'
import type { Runtime } from './runtime.ts'
import type { Plugin } from './types.ts'

interface ProcessSlot {
  runtime?: Runtime
  lightning?: Promise<Lightning>
  /** While the running tracer shuts down. */
  ending?: Promise<unknown>
  /** Plugins that every tracer gets, by name. */
  ensured?: Map<string, Plugin>
  /** Installs one of them in the running tracer. */
  ensure?: (plugin: Plugin) => void
  /** Called by host modules that report themselves after they have run. */
  loaded?: (url: string, module: unknown) => void
}

/** What the process has one of, so that two copies of the core are one tracer. */
export function processSlot(): ProcessSlot {
  const holder: { [key: symbol]: ProcessSlot | undefined } = globalThis
  return (holder[Symbol.for('agl.0')] ??= {})
}

/** OpenTelemetry's own mark for "no tracing here": its SDK keeps the key to itself, but keys are global symbols. */
const SUPPRESS_TRACING = createContextKey('OpenTelemetry SDK Context Key SUPPRESS_TRACING')
const PROBE = createContextKey('agl.probe')

export function isSuppressed(ctx: Context): boolean {
  return ctx.getValue(SUPPRESS_TRACING) === true
}

/** The real ones, even where a test of the user fakes timers while we wait. */
export const timers: { set: typeof setTimeout; clear: typeof clearTimeout } = {
  set: globalThis.setTimeout,
  clear: globalThis.clearTimeout,
}

let origin = performance.timeOrigin
let latest = 0
let source: { now(): number; randomHex(bytes: number): string } | undefined

/** Unix time in seconds that never runs backwards within the process. */
export function now(): number {
  const time = source === undefined ? (origin + performance.now()) / 1000 : source.now()
  if (time > latest || source !== undefined) latest = time
  return latest
}

/** Follows the wall clock forward after a suspended machine wakes up; called where a new trace begins. */
export function adjustClock(): void {
  const behind = Date.now() - (origin + performance.now())
  if (behind > 1000) origin += behind
}

const HEX: string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))
const pool = new Uint8Array(4096)
let used = pool.length

/** `bytes` random bytes as lower-case hex. */
export function randomHex(bytes: number): string {
  if (source !== undefined) return source.randomHex(bytes)
  if (used + bytes > pool.length) {
    crypto.getRandomValues(pool)
    used = 0
  }
  let text = ''
  const end = used + bytes
  for (; used < end; used++) text += HEX[pool[used] ?? 0]
  return text
}

/** Replaces the clock (Unix seconds) and the ids, for tests. Returns how to go back. */
export function useClockAndIds(replacement: { now(): number; randomHex(bytes: number): string }): () => void {
  const before = source
  source = replacement
  return () => {
    source = before
    latest = 0
  }
}

type Storage = Pick<AsyncLocalStorage<Context>, 'getStore' | 'run'>

/** Carries OpenTelemetry's context across `await`, for programs that have no OpenTelemetry SDK to do so. */
class AsyncContextManager implements ContextManager {
  readonly #storage: Storage
  constructor(storage: Storage) {
    this.#storage = storage
  }
  active(): Context {
    return this.#storage.getStore() ?? ROOT_CONTEXT
  }
  with<A extends unknown[], F extends (...args: A) => ReturnType<F>>(
    ctx: Context,
    fn: F,
    thisArg?: ThisParameterType<F>,
    ...args: A
  ): ReturnType<F> {
    return this.#storage.run(ctx, () => fn.call(thisArg, ...args))
  }
  bind<T>(ctx: Context, target: T): T {
    if (typeof target !== 'function') return target
    const storage = this.#storage
    return new Proxy(target, {
      apply: (fn, self, args: unknown[]) => storage.run(ctx, () => Reflect.apply(fn, self, args)),
    })
  }
  enable(): this {
    return this
  }
  disable(): this {
    return this
  }
}

/** Registers a context manager where none is. Returns how to remove it, or undefined where the user's own is in place. */
export function ensureContextManager(): (() => void) | undefined {
  const probe = ROOT_CONTEXT.setValue(PROBE, true)
  const arrives = (): boolean => context.active().getValue(PROBE) === true
  if (context.with(probe, arrives)) return undefined
  const hooks = builtin('node:async_hooks')
  if (hooks === undefined) return undefined
  const manager = new AsyncContextManager(new hooks.AsyncLocalStorage<Context>())
  if (!context.setGlobalContextManager(manager)) return undefined
  // Where the program has put its own in the place of ours since, that one stays.
  return () => {
    if (manager.with(probe, arrives)) context.disable()
  }
}

/** A Node module without an import of it, so that the core also loads where there is none. */
export function builtin<K extends keyof Builtins>(name: K): Builtins[K] | undefined {
  return typeof process === 'object' ? process.getBuiltinModule?.(name) : undefined
}

interface Builtins {
  'node:async_hooks': typeof import('node:async_hooks')
  'node:module': typeof import('node:module')
  'node:fs': typeof import('node:fs')
  'node:path': typeof import('node:path')
  'node:url': typeof import('node:url')
  'node:util': typeof import('node:util')
  'node:inspector': typeof import('node:inspector')
}

export type { Context, OtelSpan }
