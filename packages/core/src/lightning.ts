import { Trace, runtime, type Runtime } from './activity.ts'
import type { Activity } from './activity-types.ts'
import { ensureContextManager } from './context.ts'
import { captureSettings } from './encode.ts'
import { AglError, logger, setLogLevels } from './errors.ts'
import { HostFinder } from './hosts.ts'
import { startExporters } from './otel.ts'
import { Plugins } from './plugin.ts'
import { SinkQueue, summary } from './queue.ts'
import type { Config, FlushResult, Plugin, PluginStatus, Span, TraceOptions, TraceRecord } from './types.ts'

const FLUSH_TIMEOUT = 10_000

const KNOWN: Record<keyof Config, (value: unknown) => boolean> = {
  plugins: Array.isArray,
  sinks: Array.isArray,
  exporters: Array.isArray,
  capture: isRecord,
  environment: (value) => typeof value === 'string',
  environments: isRecord,
  strict: (value) => typeof value === 'boolean',
  log: (value) => typeof value === 'string' || isRecord(value),
  drain: (value) => typeof value === 'number' && value >= 0,
  queue: isRecord,
  serviceName: (value) => typeof value === 'string',
  outside: (value) => value === 'record' || value === 'ignore',
}
const KNOWN_INSIDE: Partial<Record<keyof Config, readonly string[]>> = {
  capture: ['content', 'tokens', 'redact'],
  queue: ['size', 'interval', 'batch'],
}

/** Declares a configuration; returns it unchanged, with its type checked. */
export function defineConfig(config: Config): Config {
  return config
}

/** Checks `config` and lays the environment's overlay over it: objects merge by name, arrays and the rest replace. */
export function resolveConfig(config: Config): Config {
  check(config, '')
  const env = typeof process === 'object' ? process.env : undefined
  const name = config.environment ?? env?.['AGL_ENV'] ?? env?.['NODE_ENV']
  const overlay = name === undefined ? undefined : config.environments?.[name]
  if (overlay === undefined) return config
  check(overlay, `environments.${name}.`)
  return { ...config, ...overlay, ...merged('capture', config, overlay), ...merged('queue', config, overlay) }
}

function merged(key: 'capture' | 'queue', config: Config, overlay: Config): Config {
  return config[key] !== undefined && overlay[key] !== undefined ? { [key]: { ...config[key], ...overlay[key] } } : {}
}

function check(config: Config, path: string): void {
  const given: unknown = config
  if (!isRecord(given)) throw new AglError('config_invalid', 'The configuration must be an object; export it with defineConfig({ … }).')
  for (const [key, value] of Object.entries(given)) {
    const valid = isKnown(key) ? KNOWN[key] : undefined
    if (valid === undefined) {
      throw new AglError('config_invalid', `The configuration has no option "${path}${key}"; known are: ${Object.keys(KNOWN).join(', ')}.`)
    }
    if (value !== undefined && !valid(value)) {
      throw new AglError('config_invalid', `The option "${path}${key}" has a value of the wrong kind; see the table of options in the README.`)
    }
    const inside = isKnown(key) && isRecord(value) ? KNOWN_INSIDE[key] : undefined
    const odd = inside && isRecord(value) ? Object.keys(value).find((name) => !inside.includes(name)) : undefined
    if (odd !== undefined) {
      throw new AglError('config_invalid', `The configuration has no option "${path}${key}.${odd}"; known are: ${inside?.join(', ')}.`)
    }
  }
  const plugins: readonly unknown[] = config.plugins ?? []
  for (const plugin of plugins) {
    if (!isRecord(plugin) || typeof plugin['name'] !== 'string' || typeof plugin['setup'] !== 'function') {
      throw new AglError('config_invalid', `The option "${path}plugins" holds something that is not a plugin; did you forget to call its factory, as in vllm()?`)
    }
  }
}

function isKnown(key: string): key is keyof Config {
  return Object.hasOwn(KNOWN, key)
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The running tracer: what `start` returns. */
export interface Lightning extends AsyncDisposable {
  status(): PluginStatus[]
  /** Adds a plugin while running. */
  use(plugin: Plugin): Promise<void>
  /** Stops one plugin; its host behaves as before. */
  stop(name: string): Promise<void>
  resume(name: string): Promise<void>
  /** Resolves when the sinks have acknowledged all spans so far, or fail at it, or after `timeout` ms. Never rejects. */
  flush(options?: { timeout?: number }): Promise<FlushResult>
  /** Hands all waiting spans to sinks that can write synchronously: for a process `exit` handler. */
  flushSync(): void
  /** Flushes, stops all plugins in reverse order, closes the sinks. */
  shutdown(options?: { timeout?: number }): Promise<FlushResult>
  /** Spans of the most recently finished trace, in end order. For scripts; use `record` where traces run side by side. */
  lastTrace(): Span[]
  trace: typeof trace
  record: typeof record
}

interface Slot {
  lightning?: Promise<Lightning>
}

function slot(): Slot {
  const holder: { [key: symbol]: Slot | undefined } = globalThis
  return (holder[Symbol.for('agl.0')] ??= {})
}

/**
 * Installs the plugins and begins to record. A second call returns the running handle.
 *
 * @throws AglError for a configuration that cannot work, and under `strict` for any plugin that is not active.
 */
export function start(config: Config = {}): Promise<Lightning> {
  const place = slot()
  if (place.lightning !== undefined) {
    logger('agl:core').once('start() was called while running; the running tracer is used and the new configuration ignored.')
    return place.lightning
  }
  const starting = launch(config)
  place.lightning = starting
  starting.catch(() => {
    if (place.lightning === starting) delete place.lightning
  })
  return starting
}

async function launch(given: Config): Promise<Lightning> {
  const config = resolveConfig(given)
  setLogLevels(config.log)
  const core = runtime()
  const finder = new HostFinder()
  const plugins = new Plugins(core, finder, config.strict ?? false)
  const removeContextManager = ensureContextManager()
  let stopExporters: (() => Promise<void>) | undefined
  const undo = async (): Promise<void> => {
    await plugins.stopAll()
    finder.close()
    await stopExporters?.()
    removeContextManager?.()
    configure(core, {})
  }
  try {
    configure(core, config)
    if ((config.exporters?.length ?? 0) > 0) stopExporters = await startExporters(config.exporters ?? [])
    await plugins.install(config.plugins ?? [])
  } catch (error) {
    await undo()
    throw error
  }
  return handle(core, plugins, undo)
}

function configure(core: Runtime, config: Config): void {
  core.queues = (config.sinks ?? []).map((sink) => new SinkQueue(sink, config.queue))
  Object.assign(core.capture, { redact: undefined }, captureSettings(config.capture))
  core.outside = config.outside ?? 'record'
  core.drain = config.drain ?? 1000
  const attributes = config.serviceName === undefined ? {} : { 'service.name': config.serviceName }
  core.resource = { attributes, schemaUrl: '' }
}

function handle(core: Runtime, plugins: Plugins, undo: () => Promise<void>): Lightning {
  const queues = core.queues
  let ending: Promise<FlushResult> | undefined
  const end = async (timeout: number): Promise<FlushResult> => {
    await plugins.stopAll()
    core.abandonAll()
    await Promise.all(queues.map((queue) => queue.close(timeout)))
    await undo()
    delete slot().lightning
    return summary(queues)
  }
  const lightning: Lightning = {
    status: () => plugins.status(),
    use: (plugin) => plugins.install([plugin]),
    stop: (name) => plugins.stop(name),
    resume: (name) => plugins.resume(name),
    flush: ({ timeout = FLUSH_TIMEOUT } = {}) => core.flush(timeout),
    flushSync: () => {
      core.abandonAll()
      for (const queue of queues) queue.flushSync()
    },
    shutdown: ({ timeout = FLUSH_TIMEOUT } = {}) => (ending ??= end(timeout)),
    lastTrace: () => [...core.last],
    trace,
    record,
    [Symbol.asyncDispose]: async () => void (await lightning.shutdown()),
  }
  return lightning
}

type Traced<T> = () => T | Promise<T>

function readArguments<T>(options: TraceOptions | Traced<T>, fn: Traced<T> | undefined): [TraceOptions, Traced<T>] {
  if (typeof options === 'function') return [{}, options]
  if (typeof fn !== 'function') throw new AglError('value_invalid', 'trace() and record() take a function as their last argument.')
  return [options, fn]
}

/**
 * Runs `fn` as one trace: a rollout attempt that everything inside belongs to, however many run at once. Settles as
 * `fn` does. Inside another trace it joins that one as an operation.
 */
export function trace<T>(name: string, fn: Traced<T>): Promise<T>
export function trace<T>(name: string, options: TraceOptions, fn: Traced<T>): Promise<T>
export async function trace<T>(name: string, given: TraceOptions | Traced<T>, last?: Traced<T>): Promise<T> {
  const [options, fn] = readArguments(given, last)
  const opened = join(name, options) ?? openTrace(name, options)
  return follow(opened, fn)
}

export type Outcome<T> = { result: T; error?: undefined; spans: Span[] } | { result?: undefined; error: unknown; spans: Span[] }

/**
 * Runs `fn` as `trace` does and returns its result or error together with the trace's spans, in end order. Waits for
 * activities that are still open, up to the configured `drain`; what is open then is recorded as abandoned.
 */
export function record<T>(name: string, fn: Traced<T>): Promise<Outcome<T>>
export function record<T>(name: string, options: TraceOptions, fn: Traced<T>): Promise<Outcome<T>>
export async function record<T>(name: string, given: TraceOptions | Traced<T>, last?: Traced<T>): Promise<Outcome<T>> {
  const [options, fn] = readArguments(given, last)
  const joined = join(name, options)
  const opened = joined ?? openTrace(name, options)
  const spans = (): Span[] => [...opened.trace.spans]
  const before = opened.trace.spans.length
  const outcome = await follow(opened, fn).then(
    (result) => ({ result }),
    (error: unknown) => ({ error }),
  )
  if (joined === undefined) await opened.trace.drain(runtime().drain)
  return { ...outcome, spans: spans().slice(before) }
}

interface Opened {
  trace: Trace
  run<T>(fn: () => T): T
  end(): void
  fail(error: unknown): void
}

async function follow<T>(opened: Opened, fn: Traced<T>): Promise<T> {
  try {
    const result = await opened.run(fn)
    opened.end()
    return result
  } catch (error) {
    opened.fail(error)
    throw error
  }
}

function join(name: string, options: TraceOptions): Opened | undefined {
  const current = runtime().current()
  if (current === undefined) return undefined
  logger('agl:core').once(`The trace "${name}" begins inside another; it is recorded there as an operation.`)
  const { attributes } = options
  const activity: Activity<'operation'> = runtime().activity('operation', {
    name,
    attributes: { 'agentlightning.operation.name': name, ...attributes },
  })
  return { trace: current.trace, run: (fn) => activity.run(fn), end: () => activity.end(), fail: (error) => activity.fail(error) }
}

/**
 * Opens a trace whose end is decided elsewhere, for programs that host others. `run` may be called any number of
 * times; `end` or `fail` settles it, and its root ends with the last activity inside.
 *
 * @throws AglError where only one of rolloutId and attemptId is given
 */
export function openTrace(name: string, options: TraceOptions = {}): Opened & { record: TraceRecord } {
  const { trace: opened, root } = runtime().openTrace(name, options)
  return {
    trace: opened,
    record: opened.record,
    run: (fn) => root.run(fn),
    end: () => opened.settle({ failed: false }),
    fail: (error) => opened.settle({ failed: true, error }),
  }
}

/** The trace that is active here, or undefined outside. */
export function activeTrace(): TraceRecord | undefined {
  const current = runtime().current()
  return current === undefined ? undefined : { ...current.trace.record }
}
