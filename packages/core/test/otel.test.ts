import { setImmediate as tick } from 'node:timers/promises'
import {
  context,
  createTraceState,
  diag,
  ROOT_CONTEXT,
  SpanStatusCode,
  trace as otel,
  type Tracer,
} from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { suppressTracing } from '@opentelemetry/core'
import * as sdk3 from '@opentelemetry/sdk-trace'
import * as sdk2 from '@opentelemetry/sdk-trace-base'
import { afterEach, describe, expect, it } from 'vitest'
import {
  emitMessage,
  emitReward,
  lightningSpanProcessor,
  record,
  start,
  trace,
  type Span,
  type SpanExporterLike,
} from '@agl/core'
import { begin, byTrace, CHAT, expectTree, hush, named, spansOf } from './support.ts'

/** What the tests read of a span, in both majors of the SDK. */
interface OtelSpan {
  name: string
  attributes: Record<string, unknown>
  parentSpanContext?: { spanId: string } | undefined
  spanContext(): { traceId: string; spanId: string }
  status: { code: number; message?: string | undefined }
}

/** An exporter that keeps what it gets. */
function keepingExporter(): SpanExporterLike & { spans: OtelSpan[]; down: boolean } {
  const exporter = {
    spans: new Array<OtelSpan>(),
    down: false,
    export(spans: OtelSpan[], done: (result: { code: number }) => void): void {
      exporter.spans.push(...spans)
      done({ code: 0 })
    },
    shutdown(): Promise<void> {
      exporter.down = true
      return Promise.resolve()
    },
  }
  return exporter
}

interface Use {
  sampled?: boolean
  ours?: boolean
  processors?: ReturnType<typeof lightningSpanProcessor>[]
}

interface Used {
  tracer: Tracer
  exported: OtelSpan[]
}

/** The user's own set-up: a global provider with an exporter, and a context manager. */
const SDKS: [string, (use?: Use) => Used][] = [
  [
    'SDK 2.x',
    ({ sampled = true, ours = true, processors = [] } = {}) => {
      const exporter = new sdk2.InMemorySpanExporter()
      const provider = new sdk2.BasicTracerProvider({
        ...(sampled ? {} : { sampler: new sdk2.AlwaysOffSampler() }),
        spanProcessors: [
          ...(ours ? [lightningSpanProcessor()] : []),
          new sdk2.SimpleSpanProcessor(exporter),
          ...processors,
        ],
      })
      otel.setGlobalTracerProvider(provider)
      context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
      return { tracer: otel.getTracer('user'), exported: exporter.getFinishedSpans() }
    },
  ],
  [
    'SDK 3.x',
    ({ sampled = true, ours = true, processors = [] } = {}) => {
      const exporter = new sdk3.InMemorySpanExporter()
      const provider = new sdk3.TracerProvider({
        ...(sampled ? {} : { sampler: new sdk3.AlwaysOffSampler() }),
        spanProcessors: [
          ...(ours ? [lightningSpanProcessor()] : []),
          new sdk3.SimpleSpanProcessor({ exporter }),
          ...processors,
        ],
      })
      otel.setGlobalTracerProvider(provider)
      context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
      return { tracer: otel.getTracer('user'), exported: exporter.getFinishedSpans() }
    },
  ],
]

afterEach(() => {
  otel.disable()
  context.disable()
  diag.disable()
})

/** The record's parent of each span, by names. */
function parents(spans: readonly Span[]): Record<string, string | undefined> {
  const names = new Map(spans.map((span) => [span.spanId, span.name]))
  return Object.fromEntries(
    spans.map((span) => [span.name, span.parentId === null ? 'none' : names.get(span.parentId)]),
  )
}

describe.each(SDKS)("with the user's own %s", (_name, use) => {
  it("takes the user's spans into the trace, each under what it happens in", async () => {
    const { tracer, exported } = use()
    await using running = await begin()
    const spans = await spansOf('run', async () => {
      const agent = running.api.activity('agent', { name: 'a' })
      await agent.run(() =>
        tracer.startActiveSpan('outer', { attributes: { list: ['x', 'y'], zero: 0 } }, async (outer) => {
          await tick()
          const tool = running.api.activity('tool', { name: 't' })
          tool.run(() => tracer.startActiveSpan('inner', (inner) => (emitReward(1), inner.end())))
          tool.end()
          emitMessage('in outer')
          outer.addEvent('noted', { count: 2 })
          outer.setStatus({ code: SpanStatusCode.ERROR, message: 'went wrong' })
          outer.end()
        }),
      )
      agent.end()
    })
    expectTree(spans)
    expect(parents(spans)).toEqual({
      'agentlightning.annotation': 'inner',
      inner: 't.tool',
      't.tool': 'outer',
      'agentlightning.message': 'outer',
      outer: 'a.agent',
      'a.agent': 'run.session',
      'run.session': 'none',
    })
    const outer = named(spans, 'outer')
    expect(outer).toMatchObject({
      status: { statusCode: 'ERROR', description: 'went wrong' },
      attributes: { list: ['x', 'y'], zero: 0 },
      events: [{ name: 'noted', attributes: { count: 2 }, timestamp: expect.any(Number) }],
    })
    const times = [outer.startTime, outer.events[0]?.timestamp ?? 0, outer.endTime]
    expect(times).toEqual([...times].sort((a, b) => a - b))
    for (const time of times) expect(Math.abs(time - named(spans, 'a.agent').endTime)).toBeLessThan(60)

    const ids = new Map(exported.map((span) => [span.spanContext().spanId, span.name]))
    const above = (name: string): string | undefined =>
      ids.get(exported.find((span) => span.name === name)?.parentSpanContext?.spanId ?? '')
    expect(ids.size).toBe(5)
    expect(above('inner')).toBe('execute_tool t')
    expect(above('execute_tool t')).toBe('outer')
    expect(above('outer')).toBe('invoke_agent a')
    expect(above('invoke_agent a')).toBe('invoke_workflow run')
    expect(spans.find((span) => span.name === 't.tool')?.spanId).toBe(
      exported.find((span) => span.name === 'execute_tool t')?.spanContext().spanId,
    )
    expect(new Set(exported.map((span) => span.spanContext().traceId))).toEqual(
      new Set(spans.map((span) => span.traceId)),
    )
  })

  it('leaves spans outside any trace alone, also the one around a trace', async () => {
    const { tracer, exported } = use()
    await using running = await begin()
    await tracer.startActiveSpan('request', async (request) => {
      await trace('run', () => tracer.startSpan('within').end())
      tracer.startSpan('between').end()
      request.end()
    })
    const spans = running.lightning.lastTrace()
    expect(parents(spans)).toEqual({ within: 'run.session', 'run.session': 'none' })
    const request = exported.find((span) => span.name === 'request')
    const root = exported.find((span) => span.name === 'invoke_workflow run')
    expect(root?.parentSpanContext?.spanId).toBe(request?.spanContext().spanId)
    await running.lightning.flush()
    expect(running.sink.spans).toEqual(spans)
  })

  it('records everything of its own under a sampler that drops everything', async () => {
    const { tracer, exported } = use({ sampled: false })
    await using running = await begin()
    const spans = await spansOf('run', () =>
      tracer.startActiveSpan('dropped', (dropped) => {
        const call = running.api.activity('llm', CHAT)
        call.run(() => emitMessage('x'))
        call.end({ usage: { promptTokens: 3 } })
        dropped.end()
      }),
    )
    expect(parents(spans)).toEqual({
      'agentlightning.message': 'openai.chat.completion',
      'openai.chat.completion': 'run.session',
      'run.session': 'none',
    })
    expectTree(spans)
    for (const span of spans) {
      expect(span.spanId).toMatch(/^(?!0{16})[0-9a-f]{16}$/)
      expect(span.traceId).toMatch(/^(?!0{32})[0-9a-f]{32}$/)
    }
    expect(named(spans, 'openai.chat.completion').attributes['gen_ai.usage.prompt_tokens']).toBe(3)
    expect(exported).toEqual([])
  })

  it('never makes a span the parent that is not in the record', async () => {
    const { tracer, exported } = use({ ours: false })
    await using running = await begin()
    const spans = await spansOf('run', () =>
      tracer.startActiveSpan('not ours to see', (span) => {
        running.api.activity('tool', { name: 't' }).end()
        emitMessage('x')
        span.end()
      }),
    )
    expect(parents(spans)).toEqual({
      't.tool': 'run.session',
      'agentlightning.message': 'run.session',
      'run.session': 'none',
    })
    const tool = exported.find((span) => span.name === 'execute_tool t')
    expect(tool?.parentSpanContext?.spanId).toBe(
      exported.find((span) => span.name === 'not ours to see')?.spanContext().spanId,
    )
  })

  it('records nothing where tracing is suppressed', async () => {
    const { tracer, exported } = use()
    await using running = await begin()
    const spans = await spansOf('run', () => {
      const call = running.api.activity('llm', CHAT)
      context.with(suppressTracing(context.active()), () => {
        expect(running.api.recording()).toBe(false)
        const hidden = running.api.activity('llm', CHAT)
        expect(hidden.run(() => (tracer.startSpan('hidden').end(), 5))).toBe(5)
        hidden.fail(new Error('hidden'))
      })
      call.end()
    })
    expect(spans.map((span) => span.name)).toEqual(['openai.chat.completion', 'run.session'])
    expect(exported.map((span) => span.name)).toEqual(['chat toy', 'invoke_workflow run'])
  })

  it('keeps more attributes than the SDK allows a span', async () => {
    use()
    await using running = await begin()
    const messages = Array.from({ length: 200 }, (_, i) => ({ role: 'user', content: `message ${i}` }))
    const spans = await spansOf('long', () =>
      running.api
        .activity('llm', { ...CHAT, messages })
        .end({ choices: [{ index: 0, content: 'answer' }], usage: { totalTokens: 9 } }),
    )
    const { attributes } = named(spans, 'openai.chat.completion')
    expect(Object.keys(attributes).length).toBeGreaterThan(400)
    expect(attributes).toMatchObject({
      'gen_ai.prompt.199.content': 'message 199',
      'gen_ai.completion.0.content': 'answer',
      'gen_ai.usage.total_tokens': 9,
    })
  })

  it('shows the exporters of the user a few attributes by their GenAI names, and no content', async () => {
    const { exported } = use()
    await using running = await begin()
    await trace('run', () => {
      running.api
        .activity('llm', { ...CHAT, messages: [{ role: 'user', content: 'secret' }] })
        .end({ response: { id: 'r1', model: 'toy-1' }, usage: { promptTokens: 1, completionTokens: 2 } })
      running.api.activity('llm', CHAT).fail(new RangeError('secret'))
    })
    const [call, failed] = exported
    expect(call?.name).toBe('chat toy')
    expect(call?.attributes).toEqual({
      'gen_ai.operation.name': 'chat',
      'gen_ai.provider.name': 'OpenAI',
      'gen_ai.request.model': 'toy',
      'gen_ai.response.id': 'r1',
      'gen_ai.response.model': 'toy-1',
      'gen_ai.usage.input_tokens': 1,
      'gen_ai.usage.output_tokens': 2,
    })
    expect(failed?.status).toEqual({ code: SpanStatusCode.ERROR, message: 'RangeError' })
    const seen = exported.map(({ name, attributes, status }) => ({ name, attributes, status }))
    expect(JSON.stringify(seen)).not.toContain('secret')
  })

  it("keeps concurrent traces apart, the user's spans included", async () => {
    const { tracer } = use()
    await using running = await begin()
    await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        trace(`t${i}`, () =>
          tracer.startActiveSpan(`u${i}`, async (user) => {
            await tick()
            const tool = running.api.activity('tool', { name: `${i}` })
            await tool.run(async () => {
              await tick()
              tracer.startSpan(`v${i}`).end()
            })
            tool.end()
            user.end()
          }),
        ),
      ),
    )
    await running.lightning.flush()
    const groups = byTrace(running.sink.spans)
    expect(groups).toHaveLength(50)
    for (const spans of groups) {
      const i = spans.at(-1)?.name.match(/\d+/)?.[0]
      expect(spans.map((span) => span.name)).toEqual([`v${i}`, `${i}.tool`, `u${i}`, `t${i}.session`])
      expectTree(spans)
    }
  })

  it('takes in a span that ends after its trace', async () => {
    const { tracer } = use()
    await using running = await begin()
    const late = await trace('run', () => tracer.startSpan('late'))
    late.end()
    expect(running.lightning.lastTrace().map((span) => span.name)).toEqual(['run.session', 'late'])
    await running.lightning.flush()
    expect(byTrace(running.sink.spans)).toHaveLength(1)
  })

  it('takes in values that the record has no place for', async () => {
    const { tracer } = use()
    await using running = await begin()
    await trace('run', () => {
      const span = tracer.startSpan('odd')
      span.setAttribute('holes', ['a', null, undefined, 'b'])
      span.setAttribute('number', Number.NaN)
      span.setAttribute('numbers', [1, Number.POSITIVE_INFINITY])
      span.setAttribute('fine', 'yes')
      span.addEvent('odd', { holes: [true, null] })
      span.end()
    })
    const span = named(running.lightning.lastTrace(), 'odd')
    expect(span.attributes['fine']).toBe('yes')
    for (const value of [
      ...Object.values(span.attributes),
      ...Object.values(span.events[0]?.attributes ?? {}),
    ]) {
      const items: readonly unknown[] = Array.isArray(value) ? value : [value]
      expect(new Set(items.map((item) => typeof item)).size).toBe(1)
      for (const item of items) {
        expect(['string', 'number', 'boolean']).toContain(typeof item)
        expect(JSON.parse(JSON.stringify(item))).toBe(item)
      }
    }
  })

  it('keeps the links of a span', async () => {
    const { tracer } = use()
    await using running = await begin({ capture: { redact: (text) => text.replace('secret', 'x') } })
    const ids = { traceId: 'a'.repeat(32), spanId: 'b'.repeat(16), traceFlags: 1 }
    const traceState = createTraceState('vendor=one,other=t61rcWkgMzE')
    await trace('run', () => {
      const links = [
        { context: ids },
        {
          context: { ...ids, isRemote: true, traceState },
          attributes: { why: 'retry', 'input.value': 'secret', holes: ['a', null] },
        },
      ]
      tracer.startSpan('linked', { links }).end()
    })
    const context = { traceId: ids.traceId, spanId: ids.spanId }
    expect(named(running.lightning.lastTrace(), 'linked').links).toEqual([
      { context: { ...context, isRemote: false, traceState: {} }, attributes: null },
      {
        context: { ...context, isRemote: true, traceState: { vendor: 'one', other: 't61rcWkgMzE' } },
        attributes: { why: 'retry', 'input.value': 'x', holes: '["a", null]' },
      },
    ])
  })

  it("is not disturbed by a processor of the user's that throws", async () => {
    hush()
    const broken = { ...lightningSpanProcessor(), onStart: () => undefined, onEnd: fails }
    use({ processors: [broken] })
    await using running = await begin()
    const { result, spans } = await record('run', () => {
      running.api.activity('tool', { name: 't' }).end()
      return 'fine'
    })
    expect(result).toBe('fine')
    expect(spans.map((span) => span.name)).toEqual(['t.tool', 'run.session'])
  })

  it('puts a span whose parent is elsewhere under the activity that it happens in', async () => {
    const { tracer } = use()
    await using running = await begin()
    const remote = { traceId: 'a'.repeat(32), spanId: 'b'.repeat(16), traceFlags: 1 }
    const spans = await spansOf('run', () => {
      const tool = running.api.activity('tool', { name: 't' })
      tool.run(() =>
        context.with(otel.setSpanContext(context.active(), remote), () =>
          tracer.startSpan('elsewhere').end(),
        ),
      )
      tool.end()
    })
    expect(parents(spans)).toEqual({ elsewhere: 't.tool', 't.tool': 'run.session', 'run.session': 'none' })
  })

  it("keeps the user's provider and context manager at shutdown", async () => {
    const { tracer } = use()
    const complaints: unknown[] = []
    const complain = (...words: unknown[]): void => void complaints.push(words)
    diag.setLogger({ error: complain, warn: complain, info: complain, debug: () => {}, verbose: () => {} })
    complaints.length = 0
    const running = await begin()
    await running.lightning.shutdown()
    await tracer.startActiveSpan('user', async (user) => {
      await tick()
      expect(otel.getActiveSpan()).toBe(user)
      expect(user.isRecording()).toBe(true)
      user.end()
    })
    expect(complaints).toEqual([])
  })

  it('refuses exporters beside a provider and leaves nothing behind', async () => {
    const { tracer, exported } = use()
    context.disable()
    const exporter = keepingExporter()
    const error = await start({ exporters: [exporter] }).catch((caught: unknown) => caught)
    expect(error).toMatchObject({
      name: 'AglError',
      code: 'provider_conflict',
      message: expect.stringContaining('lightningSpanProcessor()'),
    })
    expect(contextTravels()).toBe(false)
    tracer.startSpan('user').end()
    expect(exported.map((span) => span.name)).toEqual(['user'])
    await using running = await begin()
    await trace('after', () => emitMessage('x'))
    expect(running.lightning.lastTrace()).toHaveLength(2)
  })
})

describe('without any OpenTelemetry SDK', () => {
  it('registers a context manager and takes it away at shutdown', async () => {
    expect(contextTravels()).toBe(false)
    const running = await begin()
    expect(contextTravels()).toBe(true)
    await running.lightning.shutdown()
    expect(contextTravels()).toBe(false)
  })

  it('brings a context manager for a trace without a tracer, and the next tracer takes it away', async () => {
    await trace('bare', async () => {
      await tick()
      emitMessage('inside')
    })
    const running = await begin()
    expect(contextTravels()).toBe(true)
    await running.lightning.shutdown()
    expect(contextTravels()).toBe(false)
    await trace('again', async () => {
      await tick()
      emitMessage('inside')
    })
    expect(contextTravels()).toBe(true)
  })

  it('does not take away the context manager that the program has put in the place of ours', async () => {
    const running = await begin()
    context.disable()
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
    await running.lightning.shutdown()
    expect(contextTravels()).toBe(true)
  })

  it('carries the context of a trace that outlives its tracer, and of the next tracer after it', async () => {
    const first = await begin()
    let release = (): void => undefined
    const gate = new Promise<void>((resolve) => (release = resolve))
    const long = trace('long', async () => {
      await gate
      emitMessage('still inside')
      return 'fine'
    })
    await first.lightning.shutdown()
    const second = await begin()
    release()
    expect(await long).toBe('fine')
    await trace('next', async () => {
      await tick()
      emitReward(1)
    })
    expect(second.lightning.lastTrace().map((span) => span.name)).toEqual([
      'agentlightning.annotation',
      'next.session',
    ])
    await second.lightning.shutdown()
    expect(contextTravels()).toBe(false)
  })

  it('has valid ids of its own and the context that others may send on', async () => {
    await using running = await begin()
    const { spans, result } = await record('run', () => {
      const call = running.api.activity('llm', CHAT)
      const active = call.run(() => otel.getActiveSpan()?.spanContext())
      call.end()
      return active
    })
    expectTree(spans)
    expect(spans.every((span) => /^[0-9a-f]{16}$/.test(span.spanId))).toBe(true)
    expect(result).toMatchObject({ spanId: spans[0]?.spanId, traceId: spans[0]?.traceId, traceFlags: 1 })
    expect(otel.isSpanContextValid(result ?? { traceId: '', spanId: '', traceFlags: 0 })).toBe(true)
  })

  it('binds functions to a context', async () => {
    await using running = await begin()
    const bound = await trace('run', () => context.bind(context.active(), () => emitMessage('bound')))
    bound()
    expect(running.lightning.lastTrace().map((span) => span.name)).toEqual([
      'run.session',
      'agentlightning.message',
    ])
  })
})

describe('the option "exporters"', () => {
  it("exports our spans and the user's, and takes the user's into the record", async () => {
    const exporter = keepingExporter()
    const running = await begin({ exporters: [exporter] })
    await trace('run', () => {
      running.api.activity('llm', CHAT).end()
      otel.getTracer('user').startSpan('user').end()
    })
    expect(parents(running.lightning.lastTrace())).toEqual({
      'openai.chat.completion': 'run.session',
      user: 'run.session',
      'run.session': 'none',
    })
    await running.lightning.flush()
    expect(exporter.spans.map((span) => span.name)).toEqual(['chat toy', 'user', 'invoke_workflow run'])
    otel.getTracer('user').startSpan('last').end()
    await running.lightning.shutdown()
    expect(exporter.spans.map((span) => span.name).at(-1)).toBe('last')
    expect(exporter.down).toBe(true)
    expect(otel.getTracer('user').startSpan('gone').isRecording()).toBe(false)
  })

  it("tells the service's name beside what the SDK tells of the process", async () => {
    const exporter = new sdk2.InMemorySpanExporter()
    await using running = await begin({ exporters: [exporter], serviceName: 'tested' })
    await trace('run', () => otel.getTracer('user').startSpan('user').end())
    await running.lightning.flush()
    const seen = exporter.getFinishedSpans().map(({ name, resource }) => ({ name, ...resource.attributes }))
    const told = { 'service.name': 'tested', 'telemetry.sdk.name': 'opentelemetry' }
    expect(seen).toMatchObject([
      { name: 'user', ...told },
      { name: 'invoke_workflow run', ...told },
    ])
  })

  it('leaves the name of a service that has none to the SDK', async () => {
    const exporter = new sdk2.InMemorySpanExporter()
    await using running = await begin({ exporters: [exporter] })
    await trace('run', () => emitMessage('x'))
    await running.lightning.flush()
    expect(exporter.getFinishedSpans()[0]?.resource.attributes['service.name']).toMatch(/^unknown_service/)
  })

  it('takes the exporters of either SDK', async () => {
    const [two, three] = [new sdk2.InMemorySpanExporter(), new sdk3.InMemorySpanExporter()]
    await using running = await begin({ exporters: [two, three] })
    await trace('run', () => emitMessage('x'))
    await running.lightning.flush()
    expect(two.getFinishedSpans().map((span) => span.name)).toEqual(['invoke_workflow run'])
    expect(three.getFinishedSpans().map((span) => span.name)).toEqual(['invoke_workflow run'])
  })

  it('does not wait for ever for an exporter that hangs', async () => {
    const never = new Promise<void>(() => undefined)
    const hanging = { export: () => undefined, forceFlush: () => never, shutdown: () => never }
    const running = await begin({ exporters: [hanging] })
    await trace('run', () => emitMessage('x'))
    expect(await running.lightning.flush({ timeout: 10 })).toEqual({ written: 2, dropped: 0 })
    expect(await running.lightning.shutdown({ timeout: 10 })).toEqual({ written: 2, dropped: 0 })
  })

  it('never lets an exporter break a flush or a shutdown', async () => {
    const { lines } = hush()
    const exporter = { ...keepingExporter(), export: fails, shutdown: () => Promise.reject(new Error('no')) }
    const running = await begin({ exporters: [exporter] })
    await trace('run', () => emitMessage('x'))
    await expect(running.lightning.flush()).resolves.toEqual({ written: 2, dropped: 0 })
    await expect(running.lightning.shutdown()).resolves.toEqual({ written: 2, dropped: 0 })
    expect(contextTravels()).toBe(false)
    expect(otel.getTracer('user').startSpan('gone').isRecording()).toBe(false)
    expect(lines().join('\n')).toContain('exporter')
  })
})

function fails(): never {
  throw new Error('broken')
}

function contextTravels(): boolean {
  const key = Symbol('probe')
  return context.with(ROOT_CONTEXT.setValue(key, 1), () => context.active().getValue(key) === 1)
}
