import { trace as otel, type TracerProvider } from '@opentelemetry/api'
import type { ReadableSpan } from '@opentelemetry/sdk-trace-base'
import { captureSettings } from './capture.ts'
import { resolveConfig } from './config.ts'
import { ensureContextManager, processSlot } from './context.ts'
import { AglError, logger, setLogLevels } from './errors.ts'
import { emitReward, operation } from './emit.ts'
import { HostFinder } from './hosts.ts'
import type { Lightning } from './lightning.ts'
import { lightningSpanProcessor } from './otel.ts'
import { Plugins } from './plugin.ts'
import { SinkQueue, summary, within } from './queue.ts'
import { runtime, SCOPE, type Runtime } from './runtime.ts'
import { record, trace } from './trace.ts'
import type { Config, FlushResult, SpanExporterLike } from './types.ts'

const FLUSH_TIMEOUT = 10_000

/** Sets everything up in order, or takes back what was set up so far. */
export async function launch(given: Config): Promise<Lightning> {
  const config = resolveConfig(given)
  setLogLevels(config.log)
  const core = runtime()
  const place = processSlot()
  const finder = new HostFinder()
  const plugins = new Plugins(core, finder, config.strict ?? false)
  const removeContext = core.removeContext ?? ensureContextManager() ?? core.leftContext
  core.removeContext = core.leftContext = undefined
  let exporting: Exporting | undefined
  const undo = async (timeout: number): Promise<void> => {
    delete place.ensure
    await plugins.stopAll()
    finder.close()
    await exporting?.stop(timeout)
    core.removeContext = removeContext
    core.sweep()
    configure(core, {})
  }
  try {
    configure(core, config)
    if ((config.exporters?.length ?? 0) > 0) exporting = await startExporters(config.exporters ?? [])
    await plugins.install(config.plugins ?? [])
    place.ensure = (plugin) =>
      void plugins
        .ensure(plugin)
        .catch((error: unknown) => core.log.debug('A plugin could not be added.', error))
    for (const plugin of place.ensured?.values() ?? []) await plugins.ensure(plugin)
  } catch (error) {
    await undo(FLUSH_TIMEOUT)
    throw error
  }
  return handle(core, plugins, exporting, undo)
}

function configure(core: Runtime, config: Config): void {
  core.queues = (config.sinks ?? []).map((sink) => new SinkQueue(sink, config.queue))
  Object.assign(core.capture, { redact: undefined }, captureSettings(config.capture))
  core.outside = config.outside ?? 'record'
  core.drain = config.drain ?? 1000
  const attributes = config.serviceName === undefined ? {} : { 'service.name': config.serviceName }
  core.resource = { attributes, schemaUrl: '' }
}

function handle(
  core: Runtime,
  plugins: Plugins,
  exporting: Exporting | undefined,
  undo: (timeout: number) => Promise<void>,
): Lightning {
  const queues = core.queues
  let ending: Promise<FlushResult> | undefined
  const end = async (timeout: number): Promise<FlushResult> => {
    await plugins.stopAll()
    core.abandonAll()
    await Promise.all(queues.map((queue) => queue.close(timeout)))
    await undo(timeout)
    delete processSlot().lightning
    delete processSlot().ending
    return summary(queues)
  }
  const lightning: Lightning = {
    status: () => plugins.status(),
    use: (plugin) => plugins.install([plugin]),
    stop: (name) => plugins.stop(name),
    resume: (name) => plugins.resume(name),
    flush: async ({ timeout = FLUSH_TIMEOUT } = {}) => {
      const [result] = await Promise.all([core.flush(timeout), exporting?.flush(timeout)])
      return result
    },
    flushSync: () => {
      core.abandonAll()
      for (const queue of queues) queue.flushSync()
      return summary(queues)
    },
    shutdown: ({ timeout = FLUSH_TIMEOUT } = {}) => {
      ending ??= end(timeout)
      if (processSlot().lightning !== undefined) processSlot().ending = ending
      return ending
    },
    lastTrace: () => [...core.last],
    trace,
    record,
    operation,
    emitReward,
    [Symbol.asyncDispose]: async () => void (await lightning.shutdown()),
  }
  return lightning
}

/** A provider of ours that feeds `exporters`. Neither method rejects. */
interface Exporting {
  flush(timeout: number): Promise<void>
  /** Exports what is left and takes the provider away. */
  stop(timeout: number): Promise<void>
}

/** Registers a provider that feeds `exporters`, made by whichever major of the SDK is installed. */
async function startExporters(exporters: readonly SpanExporterLike[]): Promise<Exporting> {
  const provider = await makeProvider(exporters)
  const attempt = async (work: Promise<void>, timeout: number): Promise<void> => {
    try {
      await within(work, timeout)
    } catch (error) {
      logger('agl:core').warn('An OpenTelemetry exporter failed; some of its spans are lost.', error)
    }
  }
  if (!otel.setGlobalTracerProvider(provider)) {
    throw new AglError(
      'provider_conflict',
      'An OpenTelemetry provider is registered already; drop "exporters" and add lightningSpanProcessor() to that provider.',
    )
  }
  return {
    flush: (timeout) => attempt(provider.forceFlush(), timeout),
    stop: (timeout) => {
      otel.disable()
      return attempt(provider.shutdown(), timeout)
    },
  }
}

interface OwnProvider extends TracerProvider {
  forceFlush(): Promise<void>
  shutdown(): Promise<void>
}

async function makeProvider(exporters: readonly SpanExporterLike[]): Promise<OwnProvider> {
  const ours = lightningSpanProcessor()
  const two = await import('@opentelemetry/sdk-trace-base').catch(() => undefined)
  if (two !== undefined) {
    const spanProcessors = [ours, ...exporters.map((exporter) => new two.BatchSpanProcessor(exporter))]
    return new two.BasicTracerProvider({ ...resourceOf(new two.BasicTracerProvider()), spanProcessors })
  }
  const three = await import('@opentelemetry/sdk-trace').catch((cause: unknown) => {
    throw new AglError(
      'sdk_missing',
      'The option "exporters" needs OpenTelemetry\'s SDK; run: npm install @opentelemetry/sdk-trace-base',
      { cause },
    )
  })
  const spanProcessors = [ours, ...exporters.map((exporter) => new three.BatchSpanProcessor({ exporter }))]
  return new three.TracerProvider({ ...resourceOf(new three.TracerProvider()), spanProcessors })
}

/** What the SDK says of the process, which it shows on spans alone, with what the configuration says. */
function resourceOf(provider: TracerProvider): { resource?: ReadableSpan['resource'] } {
  const span: object = provider.getTracer(SCOPE).startSpan(SCOPE)
  if (!isReadable(span)) return {}
  const { attributes } = runtime().resource
  const ours = { attributes, merge: () => span.resource, getRawAttributes: () => Object.entries(attributes) }
  return { resource: span.resource.merge(ours) }
}

function isReadable(span: object): span is ReadableSpan {
  return 'resource' in span
}
