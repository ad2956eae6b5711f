import type { Activity, ActivityData, ActivityKind, ActivityStart } from './activity-types.ts'

/** A value that Agent Lightning accepts as an attribute: no null, no object, no list of mixed types. */
export type AttributeValue =
  | string
  | number
  | boolean
  | readonly string[]
  | readonly number[]
  | readonly boolean[]
  | Int32Array

export type Attributes = Record<string, AttributeValue>

export type StatusCode = 'UNSET' | 'OK' | 'ERROR'

export interface SpanStatus {
  statusCode: StatusCode
  description: string | null
}

export interface SpanContext {
  traceId: string
  spanId: string
  isRemote: boolean
  traceState: Record<string, string>
}

export interface SpanEvent {
  name: string
  attributes: Attributes
  /** Unix time in seconds. */
  timestamp: number | null
}

export interface SpanLink {
  context: SpanContext
  attributes: Attributes | null
}

/**
 * One finished unit of work: Agent Lightning v0.3's span record.
 *
 * Times are Unix seconds as floats. `spanToJSON` gives the snake_case form that goes over the wire and into
 * stores; token ids are `Int32Array` until then.
 */
export interface Span {
  rolloutId: string
  attemptId: string
  /** Position within the rollout. Counted locally from 1; a store may assign its own on arrival. */
  sequenceId: number
  traceId: string
  spanId: string
  parentId: string | null
  name: string
  status: SpanStatus
  attributes: Attributes
  events: SpanEvent[]
  links: SpanLink[]
  startTime: number
  endTime: number
  context: SpanContext | null
  parent: SpanContext | null
  resource: { attributes: Attributes; schemaUrl: string }
}

/** What an emitter makes, before a trace gives it ids. */
export interface SpanCore {
  name: string
  attributes: Attributes
  status: SpanStatus
  /** Unix seconds; the moment of the call when left out. */
  startTime?: number
  endTime?: number
  events?: SpanEvent[]
  links?: SpanLink[]
}

/** A trace as sinks see it: a rollout and attempt, of its own (`own`) or given by a runner. */
export interface TraceRecord {
  rolloutId: string
  attemptId: string
  traceId: string
  name: string
  /** True where nobody gave ids: the sink's store should start and finish this rollout. */
  own: boolean
  startTime: number
  endTime: number | null
  status: 'running' | 'succeeded' | 'failed'
}

/**
 * Where spans go.
 *
 * `write` gets spans in end order, one batch at a time unless `concurrency` asks for more. It resolves when the batch is safe and may say how
 * many spans it had to refuse. When it rejects, the batch is kept and tried again later, so a sink never needs a
 * retry of its own, and must not fail a batch because of one bad span. `traces` are those that began or ended
 * since the last batch (an ended trace comes with or after its last span).
 */
export interface Sink {
  name: string
  /**
   * Most batches that are written at once. Above 1, `write` must recognise spans that it had before: when a batch
   * fails, those after it are written again with it. @default 1
   */
  readonly concurrency?: number
  write(
    spans: readonly Span[],
    traces: readonly TraceRecord[],
  ): void | { dropped: number } | Promise<void | { dropped: number }>
  /** The last resort at process exit, when nothing asynchronous runs any more. Must tolerate spans that `write` already had. */
  writeSync?(spans: readonly Span[], traces: readonly TraceRecord[]): void
  close?(): void | Promise<void>
}

export type LogLevel = 'silent' | 'error' | 'warn' | 'info' | 'debug'

export interface Logger {
  error(message: string, detail?: unknown): void
  warn(message: string, detail?: unknown): void
  info(message: string, detail?: unknown): void
  debug(message: string, detail?: unknown): void
  /** Like `warn`, but says each message only once per process. */
  once(message: string, detail?: unknown): void
}

export interface CaptureOptions {
  /** Record prompts, answers, tool arguments and results. @default true */
  content?: boolean
  /** Record token ids and log probabilities. @default the value of `content` */
  tokens?: boolean
  /**
   * Called with each captured text; what it returns is recorded instead, `undefined` drops the field, and so does
   * throwing. Token ids of a message that it changed are dropped too, as they would spell out the original.
   */
  redact?: (text: string, field: { key: string; span: string }) => string | undefined
}

export interface QueueOptions {
  /** Spans held per sink while it is slow or away; further ones are dropped and counted. @default 20000 */
  size?: number
  /** Longest time in milliseconds that a span waits before it is handed to the sinks. @default 200 */
  interval?: number
  /** Most spans in one `write`. @default 256 */
  batch?: number
  /** Whether waiting spans hold the process open until they are handed over. Programs that end with `flushSync` say no. @default true */
  keepAlive?: boolean
}

/** The structural part of OpenTelemetry's `SpanExporter` that is used; any exporter of SDK 2.x or 3.x fits. */
export interface SpanExporterLike {
  export(spans: never[], resultCallback: (result: { code: number; error?: Error }) => void): void
  shutdown(): Promise<void>
  forceFlush?(): Promise<void>
}

export interface Config {
  plugins?: readonly Plugin[]
  sinks?: readonly Sink[]
  exporters?: readonly SpanExporterLike[]
  capture?: CaptureOptions
  /** Which overlay of `environments` applies. @default AGL_ENV, then NODE_ENV */
  environment?: string
  environments?: Record<string, Omit<Config, 'environment' | 'environments'>>
  /** Turn a plugin that cannot be installed into an error at start. @default false */
  strict?: boolean
  log?: LogLevel | Record<string, LogLevel>
  /** How long `record` and runners wait for activities that are open when the function returns, in milliseconds. @default 1000 */
  drain?: number
  queue?: QueueOptions
  /** Goes into each span's resource as `service.name`. */
  serviceName?: string
  /** What happens to calls made outside any trace: recorded as a trace of their own, or left alone. @default 'record' */
  outside?: 'record' | 'ignore'
}

export type PluginState = 'active' | 'missing-peer' | 'unsupported' | 'failed' | 'stopped'

/** One copy of a host library in this process. */
export interface Host {
  package: string
  version: string
  format: 'esm' | 'cjs' | 'instance'
  /** The package's folder. */
  path: string
  patched: boolean
}

export interface PluginStatus {
  name: string
  state: PluginState
  version?: string
  hosts: Host[]
  reason?: string
  /** What the plugin has to tell, such as servers that it left alone. */
  notes?: string[]
}

/** What `eachHost` hands out: one loaded file of one copy of a host. */
export interface HostModule extends Host {
  /** The file, relative to the package's folder and without its extension, such as `client` or `dist/callbacks/manager`. */
  file: string
}

export interface PluginApi {
  /** Opens an activity in the active trace (or in one of its own), below `parent` or what is active. Never throws. */
  activity<K extends ActivityKind>(kind: K, start: ActivityStart[K], parent?: Activity): Activity<K>
  /** The innermost activity here. */
  current(): Activity | undefined
  /**
   * False when a call need not be looked at at all: the plugin is stopped, tracing is suppressed here, or the call
   * is outside any trace and `outside` is `'ignore'`. Check it before building anything.
   */
  recording(): boolean
  /**
   * Calls `visit` for every copy of `name` that the process has loaded or loads later, ESM and CommonJS.
   * `file` chooses which of the package's files to see (default: the file its main entry resolves to).
   * What `visit` returns undoes it on stop. `visit` sets `host.patched` by patching through this api.
   */
  eachHost(
    name: string,
    visit: (module: Record<string, unknown>, host: HostModule) => void | (() => void),
    options?: { file?: RegExp },
  ): void
  /**
   * Replaces `target[key]`, undone on stop: the original is put back where ours is on top, else ours passes straight
   * through. Patching the same place again revives the first wrapper. Does nothing (and says so) where it cannot be replaced.
   */
  patch(
    target: object,
    key: PropertyKey,
    wrap: (original: (...args: unknown[]) => unknown) => (...args: unknown[]) => unknown,
  ): void
  /** Reports a copy of a host that was handed over by the user rather than found. */
  adopt(host: Host): void
  /** Puts a sentence into the plugin's `status()`, once. */
  note(message: string): void
  log: Logger
  /** What may be recorded, with defaults applied. The core applies it; a plugin may use it to skip work. */
  capture: { readonly content: boolean; readonly tokens: boolean }
  /** Sees the start and end of every activity of a kind, from any plugin, and may add to it. */
  on<K extends ActivityKind>(
    kind: K,
    hooks: {
      start?: (event: { data: ActivityStart[K] }) => void
      end?: (event: { start: ActivityStart[K]; data: ActivityData[K]; error?: unknown }) => void
    },
  ): void
}

export interface Plugin {
  name: string
  /** The plugin package's own version, for `status()`. */
  version?: string
  /** Optional peers with the tested range, such as `{ openai: '>=5 <8' }`. */
  hosts?: Record<string, string>
  /** Modules of the hosts that hold what is patched, where loading a host's main entry does not load them. */
  modules?: readonly string[]
  /** Plugins that must be active first; deduplicated by name, the user's own instance wins. */
  requires?: readonly Plugin[]
  /** Installs the hooks and may return how to undo what `api` does not undo by itself. */
  setup(api: PluginApi): void | (() => void) | Promise<void | (() => void)>
}

export interface FlushResult {
  /** Spans that every sink has acknowledged since start. */
  written: number
  /** Spans lost to a full queue, a refusing sink, or a sink that was still failing at shutdown. */
  dropped: number
}

export interface TraceOptions {
  rolloutId?: string
  attemptId?: string
  attributes?: Record<string, unknown>
}
