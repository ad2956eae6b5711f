import { processSlot } from './context.ts'
import { logger } from './errors.ts'
import type { emitReward, operation } from './emit.ts'
import type { record, trace } from './trace.ts'
import type { Config, FlushResult, Plugin, PluginStatus, Span } from './types.ts'

/** The running tracer: what `start` returns. */
export interface Lightning extends AsyncDisposable {
  status(): PluginStatus[]
  /** Adds a plugin while running. */
  use(plugin: Plugin): Promise<void>
  /** Stops one plugin; its host behaves as before. */
  stop(name: string): Promise<void>
  resume(name: string): Promise<void>
  /** Resolves when sinks and exporters have acknowledged all spans so far, or fail at it, or after `timeout` ms. Never rejects. */
  flush(options?: { timeout?: number }): Promise<FlushResult>
  /** Hands all waiting spans to sinks that can write synchronously: for a process `exit` handler. */
  flushSync(): FlushResult
  /** Flushes, stops all plugins in reverse order, closes the sinks. */
  shutdown(options?: { timeout?: number }): Promise<FlushResult>
  /** Spans of the most recently finished trace, in end order. For scripts; use `record` where traces run side by side. */
  lastTrace(): Span[]
  trace: typeof trace
  record: typeof record
  operation: typeof operation
  emitReward: typeof emitReward
}

/** Declares a configuration; returns it unchanged, with its type checked. */
export function defineConfig(config: Config): Config {
  return config
}

/** Declares a plugin; returns it unchanged, with its type checked. */
export function definePlugin(plugin: Plugin): Plugin {
  return plugin
}

/**
 * Installs `plugin` in the running tracer, at once, and in each that starts later, unless one of its name is there:
 * for things that work without being listed in a configuration.
 */
export function ensurePlugin(plugin: Plugin): void {
  const place = processSlot()
  place.ensured ??= new Map()
  place.ensured.set(plugin.name, plugin)
  place.ensure?.(plugin)
}

/**
 * Installs the plugins and begins to record. A second call returns the running handle.
 *
 * @throws AglError for a configuration that cannot work, and under `strict` for any plugin that is not active.
 */
export function start(config: Config = {}): Promise<Lightning> {
  const place = processSlot()
  if (place.ending !== undefined) return place.ending.then(() => start(config))
  if (place.lightning !== undefined) {
    logger('agl:core').once(
      'start() was called while running; the running tracer is used and the new configuration ignored.',
    )
    return place.lightning
  }
  // What only a start needs is loaded by it: a library that merely emits stays small.
  const starting = import('./start.ts').then(({ launch }) => launch(config))
  place.lightning = starting
  starting.catch(() => {
    if (place.lightning === starting) delete place.lightning
  })
  return starting
}
