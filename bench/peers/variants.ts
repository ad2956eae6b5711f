import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { context, metrics, trace as api } from '@opentelemetry/api'
import { BasicTracerProvider, type ReadableSpan, type SpanProcessor } from '@opentelemetry/sdk-trace-base'
import type OpenAI from 'openai6'

/** Is given what a tracer recorded, while somebody wants to see it. */
export type Keep = (record: unknown) => void

/** One way to have the `openai` client traced, or not. */
export interface Tracer {
  /** Makes of the package's class a client as the tracer's users have it. */
  client(OpenAIClass: typeof OpenAI, options: object, keep: Keep | undefined): OpenAI
  run?: (work: () => Promise<void>) => Promise<void>
  /** Settles when everything recorded is where it would be written or sent from. */
  flush?: () => Promise<unknown>
}

/** Sets a tracer up, before the package `openai` is loaded. */
export type Setup = () => Promise<Tracer>

const plain: Tracer = { client: (OpenAIClass, options) => new OpenAIClass(options) }

/** The OpenTelemetry SDK with its defaults and a processor that takes spans and forgets them. */
function openTelemetry(processor?: SpanProcessor): { keepSpans: (keep: Keep | undefined) => void } {
  let keeping: Keep | undefined
  const ended = (span: ReadableSpan): void =>
    keeping?.({ name: span.name, attributes: span.attributes, events: span.events })
  const forgetting: SpanProcessor = {
    onStart: () => {},
    onEnd: ended,
    forceFlush: async () => {},
    shutdown: async () => {},
  }
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  api.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [processor ?? forgetting] }))
  return { keepSpans: (keep) => (keeping = keep) }
}

export const variants = {
  'plain client': async () => plain,
  'plain client again (A/A)': async () => plain,

  '@agl/vllm, with logprobs': async () => {
    const { start, trace } = await import('@agl/core')
    const { vllm } = await import('@agl/vllm')
    let keeping: Keep | undefined
    const lightning = await start({
      plugins: [vllm({ logprobs: true })],
      sinks: [{ name: 'nowhere', write: (spans) => spans.forEach((span) => keeping?.(span)) }],
      log: 'error',
    })
    return {
      client(OpenAIClass, options, keep) {
        keeping = keep
        return new OpenAIClass(options)
      },
      run: (work) => trace('bench', work),
      async flush() {
        const { dropped } = await lightning.flush()
        if (dropped > 0) throw new Error(`${dropped} spans were dropped.`)
      },
    }
  },

  OpenInference: async () => {
    const { keepSpans } = openTelemetry()
    const { OpenAIInstrumentation } = await import('@arizeai/openinference-instrumentation-openai')
    // It hooks `require` as soon as it is made.
    new OpenAIInstrumentation().enable()
    return patching(keepSpans)
  },

  Traceloop: async () => {
    const { keepSpans } = openTelemetry()
    const { OpenAIInstrumentation } = await import('@traceloop/instrumentation-openai')
    const instrumentation = new OpenAIInstrumentation()
    return patching(keepSpans, (OpenAIClass) => instrumentation.manuallyInstrument(OpenAIClass))
  },

  'OpenTelemetry contrib, with content': async () => {
    const { keepSpans } = openTelemetry()
    const { LoggerProvider } = await import('@opentelemetry/sdk-logs')
    const { OpenAIInstrumentation } = await import('@opentelemetry/instrumentation-openai')
    let keeping: Keep | undefined
    const provider = new LoggerProvider({
      processors: [
        {
          onEmit: ({ eventName, body, attributes }) => keeping?.({ eventName, body, attributes }),
          forceFlush: async () => {},
          shutdown: async () => {},
        },
      ],
    })
    const instrumentation = new OpenAIInstrumentation({ captureMessageContent: true })
    instrumentation.setLoggerProvider(provider)
    instrumentation.setMeterProvider(metrics.getMeterProvider())
    return patching((keep) => {
      keepSpans(keep)
      keeping = keep
    })
  },

  Langfuse: async () => {
    const { LangfuseSpanProcessor } = await import('@langfuse/otel')
    const { observeOpenAI } = await import('@langfuse/openai')
    let keeping: Keep | undefined
    const processor = new LangfuseSpanProcessor({
      exporter: {
        export(spans, done) {
          for (const { name, attributes, events } of spans) keeping?.({ name, attributes, events })
          done({ code: 0 })
        },
        shutdown: async () => {},
      },
    })
    openTelemetry(processor)
    return {
      client(OpenAIClass, options, keep) {
        keeping = keep
        return observeOpenAI(new OpenAIClass(options))
      },
      flush: () => processor.forceFlush(),
    }
  },

  LangSmith: async () => {
    const { Client } = await import('langsmith')
    const { wrapOpenAI } = await import('langsmith/wrappers')
    /** Takes runs and forgets them; the real one turns them into JSON, which is not part of any variant's figures. */
    class Forgetting extends Client {
      override async createRun(): Promise<void> {}
      override async updateRun(): Promise<void> {}
    }
    return {
      client(OpenAIClass, options, keep) {
        // Looked at is what the real one would send, of which it leaves some out.
        const client =
          keep === undefined
            ? new Forgetting()
            : new Client({
                autoBatchTracing: false,
                fetchImplementation: async (_url, request) => {
                  keep(await new Response(request?.body).text())
                  return new Response('{}')
                },
              })
        return wrapOpenAI(new OpenAIClass(options), { client, tracingEnabled: true })
      },
    }
  },
} satisfies Record<string, Setup>

/** A tracer that changes the class itself, whose clients then are as ever. */
function patching(
  keepSpans: (keep: Keep | undefined) => void,
  patch?: (OpenAIClass: typeof OpenAI) => void,
): Tracer {
  let patched = false
  return {
    client(OpenAIClass, options, keep) {
      if (!patched) patch?.(OpenAIClass)
      patched = true
      keepSpans(keep)
      return new OpenAIClass(options)
    },
  }
}
