import type { FlushResult, Lightning, openTrace } from '@agl/core'
import { codeOf } from './errors.ts'
import { command } from './terminal.ts'

type Trace = ReturnType<typeof openTrace>

export interface HostOptions {
  quiet: boolean
  /** As the user gave it, for the hint at the end. */
  store: string | undefined
  /** Whether sinks or exporters need time at the end, which a process that is exiting cannot give. */
  slow: boolean
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * Ends `trace` however the program ends, and writes what is left. The program's own handlers, its exit code and what it
 * prints stay as they are.
 */
export function host(trace: Trace, lightning: Lightning, options: HostOptions): void {
  // A program may start and shut down by itself; here its tracer is ours, and ends with the process.
  const shutdown = lightning.shutdown.bind(lightning)
  lightning.shutdown = (settings) => lightning.flush(settings)

  let failure: { error: unknown } | undefined
  let result: FlushResult | undefined

  const end = (): void => {
    if (failure === undefined) trace.end()
    else trace.fail(failure.error)
  }
  const finish = (): void => {
    if (result !== undefined) return
    end()
    result = lightning.flushSync()
    if (!options.quiet) console.error(summary(trace.record.rolloutId, result, options.store))
  }

  // Only a look at it: an error that the program catches by a handler of its own leaves the exit code at 0.
  process.on('uncaughtExceptionMonitor', (error) => {
    failure = { error }
    if (codeOf(error) === 'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX') console.error(LOADER_HINT)
  })
  process.on('exit', (code) => {
    if (code === 0) failure = undefined
    else failure ??= { error: new Error(`The program ended with exit code ${code}.`) }
    finish()
  })
  if (options.slow) {
    process.once('beforeExit', (code) => {
      if (code !== 0) failure ??= { error: new Error(`The program ended with exit code ${code}.`) }
      end()
      void shutdown()
    })
  }
  for (const signal of SIGNALS) {
    const onSignal = (): void => {
      // Not to be counted among the handlers by those who, like us, only die by the signal when they are the last.
      process.off(signal, onSignal)
      if (process.listenerCount(signal) > 0) {
        setImmediate(() => process.on(signal, onSignal)).unref()
        return
      }
      failure ??= { error: new Error(`The program was ended by ${signal}.`) }
      finish()
      process.kill(process.pid, signal)
    }
    process.on(signal, onSignal)
  }
}

const LOADER_HINT =
  'agl: Node cannot run this TypeScript by itself (enums, namespaces and parameter properties need a compiler); install tsx and run: NODE_OPTIONS="--import tsx" agl run FILE'

function summary(rolloutId: string, { written, dropped }: FlushResult, store: string | undefined): string {
  // What is printed may be kept where others read it.
  const hidden = store?.replace(/^([a-z]+:\/\/[^:@/]*:).*@/, '$1***@')
  const show = `${command()} traces show ${rolloutId}${hidden === undefined ? '' : ` --store ${hidden}`}`
  return `agl: trace ${rolloutId}: ${written} spans written, ${dropped} dropped; see ${show}`
}
