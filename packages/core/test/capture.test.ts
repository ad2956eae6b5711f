import { SpanStatusCode, trace as otel } from '@opentelemetry/api'
import { describe, expect, it } from 'vitest'
import {
  emitAnnotation,
  emitException,
  emitMessage,
  emitObject,
  emitReward,
  operation,
  spanToJSON,
  trace,
  type ActivityData,
  type ActivityStart,
  type CaptureOptions,
  type Span,
} from '@agl/core'
import { begin, byTrace, CHAT, hush, named, type Running, spansOf } from './support.ts'

const CANARY = 'canary-4711'

const LOGPROBS = [
  { token: CANARY, logprob: -0.5, bytes: [1], top_logprobs: [{ token: CANARY, logprob: -0.5, bytes: [1] }] },
  { token: 'x', logprob: -1, bytes: null, top_logprobs: [] },
]

const LLM_START: ActivityStart['llm'] = {
  ...CHAT,
  messages: [
    { role: 'system', content: CANARY },
    { role: 'user', content: [{ type: 'text', text: CANARY }], name: 'someone' },
    { role: 'assistant', toolCalls: [{ id: 'c0', name: 'find', arguments: CANARY }] },
    { role: 'tool', toolCallId: 'c0', content: CANARY },
  ],
  tools: [{ name: 'find', description: CANARY, parameters: { title: CANARY } }],
}

const LLM_DATA: ActivityData['llm'] = {
  response: { id: 'r1', model: 'toy-1' },
  choices: [
    {
      index: 0,
      role: 'assistant',
      content: CANARY,
      refusal: CANARY,
      reasoning: CANARY,
      finishReason: 'tool_calls',
      toolCalls: [{ id: 'c1', type: 'function', name: 'find', arguments: `{"q":"${CANARY}"}` }],
      logprobs: LOGPROBS,
      refusalLogprobs: LOGPROBS,
    },
    { index: 1, role: 'assistant', content: CANARY, finishReason: 'stop', logprobs: LOGPROBS },
    {
      index: 2,
      content: CANARY,
      logprobs: {
        tokens: [CANARY, 'x'],
        token_logprobs: [-0.5, -1],
        top_logprobs: [{ [CANARY]: -0.5 }],
        text_offset: [0, 1],
      },
    },
  ],
  usage: { promptTokens: 4, completionTokens: 2, totalTokens: 6 },
  tokens: {
    prompt: Int32Array.of(1, 2, 3, 4),
    choices: [
      { index: 0, response: Int32Array.of(5, 6) },
      { index: 1, response: Int32Array.of(7, 8), prompt: Int32Array.of(9) },
      { index: 2, response: Int32Array.of(10, 11), gap: true },
    ],
    complete: true,
  },
}

/** One of everything that can carry text, foreign spans in the vocabularies of other tools included. */
async function everything({ api }: Running): Promise<Span[]> {
  const remember = operation('remember', (text: string) => ({ text }))
  const forget = operation('forget', (text: string): never => {
    throw new Error(text)
  })
  return spansOf('run', async () => {
    const agent = api.activity('agent', { name: 'a', input: { text: CANARY } })
    const call = agent.run(() => api.activity('llm', LLM_START))
    call.end(LLM_DATA)
    const outer = api.activity('llm', { ...LLM_START, name: 'chat_model.llm' })
    outer.run(() => api.activity('llm', LLM_START).end(LLM_DATA))
    outer.end(LLM_DATA)
    api.activity('llm', LLM_START).fail(Object.assign(new RangeError(CANARY), { status: 400 }))
    api.activity('llm', { ...LLM_START, operation: 'completion' }).end({ ...LLM_DATA, finish: 'cancelled' })
    api
      .activity('embedding', { provider: 'OpenAI', request: { model: 'e' }, input: [CANARY] })
      .end({ count: 1 })
    api.activity('tool', { name: 't', parameters: { q: CANARY } }).end({ result: [CANARY] })
    api.activity('tool', { name: 't', parameters: CANARY }).fail(CANARY)
    for (const kind of ['workflow', 'chain', 'retriever'] as const) {
      api.activity(kind, { name: kind, input: CANARY }).end({ output: { docs: [CANARY] } })
    }
    agent.end({ output: CANARY })
    remember(CANARY)
    expect(() => forget(CANARY)).toThrow(CANARY)
    emitMessage(CANARY)
    emitObject({ text: CANARY })
    emitObject(CANARY)
    emitException(new Error(CANARY))
    emitReward(1)
    foreign()
  })
}

function foreign(): void {
  const span = otel.getTracer('other tools').startSpan('foreign', {
    attributes: {
      'gen_ai.input.messages': `[{"content":"${CANARY}"}]`,
      'gen_ai.output.messages': `[{"content":"${CANARY}"}]`,
      'gen_ai.system_instructions': CANARY,
      'gen_ai.tool.definitions': CANARY,
      'gen_ai.tool.call.arguments': CANARY,
      'gen_ai.tool.call.result': CANARY,
      'gen_ai.prompt': CANARY,
      'gen_ai.completion': CANARY,
      'gen_ai.prompt.0.content': CANARY,
      'gen_ai.completion.0.content': CANARY,
      'gen_ai.completion.0.tool_calls.0.arguments': CANARY,
      'input.value': CANARY,
      'output.value': CANARY,
      'llm.input_messages.0.message.content': CANARY,
      'llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments': CANARY,
      'llm.prompts': [CANARY, CANARY],
      'llm.tools.0.tool.json_schema': CANARY,
      'retrieval.documents.0.document.content': CANARY,
      'embedding.embeddings.0.embedding.text': CANARY,
      'traceloop.entity.input': CANARY,
      'traceloop.entity.output': CANARY,
      'ai.prompt': CANARY,
      'ai.prompt.messages': CANARY,
      'ai.response.text': CANARY,
      'ai.response.toolCalls': CANARY,
      'ai.toolCall.args': CANARY,
      'mcp.request.argument': CANARY,
      'mcp.response.value': CANARY,
      'http.route': '/kept',
    },
  })
  span.addEvent('gen_ai.content.prompt', { 'gen_ai.prompt': CANARY })
  span.recordException(new Error(CANARY))
  span.setStatus({ code: SpanStatusCode.ERROR, message: CANARY })
  span.end()
}

/** A tracer whose own provider takes in foreign spans. */
function tracing(capture: CaptureOptions): Promise<Running> {
  const exporter = { export: (_: unknown, done: (result: { code: number }) => void) => done({ code: 0 }) }
  return begin({ capture, exporters: [{ ...exporter, shutdown: () => Promise.resolve() }] })
}

function leaks(spans: readonly Span[]): string[] {
  return spans.flatMap((span) => {
    const { name, status, attributes, events } = spanToJSON(span)
    const places = Object.entries({ ...attributes, name, status, events })
    return places
      .filter(([, value]) => JSON.stringify(value).includes(CANARY))
      .map(([key]) => `${span.name}: ${key}`)
  })
}

const withIds = (spans: readonly Span[]): string[] =>
  spans.flatMap((span) => Object.keys(span.attributes).filter((key) => key.endsWith('token_ids')))

describe('by default', () => {
  it('everything is recorded', async () => {
    await using running = await tracing({})
    const spans = await everything(running)
    expect(new Set(leaks(spans).map((leak) => leak.split(':')[0]))).toEqual(
      new Set(spans.map((span) => span.name).filter((name) => !/session|annotation|chat_model/.test(name))),
    )
  })
})

describe('content: false', () => {
  it('keeps every text of every kind of span out of the record, and the ids that would spell it', async () => {
    hush()
    await using running = await tracing({ content: false })
    const spans = await everything(running)
    expect(leaks(spans)).toEqual([])
    expect(withIds(spans)).toEqual([])
    await running.lightning.flush()
    expect(JSON.stringify(running.sink.spans.map(spanToJSON))).not.toContain(CANARY)
    expect(JSON.stringify(running.sink.traces)).not.toContain(CANARY)
  })

  it('keeps names, numbers, roles, reasons and log probabilities', async () => {
    hush()
    await using running = await tracing({ content: false })
    const spans = await everything(running)
    const call = named(spans, 'openai.chat.completion')
    expect(call.attributes).toMatchObject({
      'gen_ai.request.model': 'toy',
      'gen_ai.request.functions.0.name': 'find',
      'gen_ai.response.id': 'r1',
      'gen_ai.completion.0.role': 'assistant',
      'gen_ai.completion.0.finish_reason': 'tool_calls',
      'gen_ai.completion.1.finish_reason': 'stop',
      'gen_ai.usage.total_tokens': 6,
    })
    for (const key of ['logprobs.content', 'logprobs.refusal', 'agl.choices.1.logprobs.content']) {
      expect(JSON.parse(String(call.attributes[key]))).toEqual([{ logprob: -0.5 }, { logprob: -1 }])
    }
    expect(JSON.parse(String(call.attributes['agl.choices.2.logprobs.content']))).toEqual({
      token_logprobs: [-0.5, -1],
    })
    const failed = spans.find((span) => span.attributes['error.type'] === 'RangeError')
    expect(failed?.status.statusCode).toBe('ERROR')
    expect(failed?.attributes).toMatchObject({
      'exception.type': 'RangeError',
      'http.response.status_code': 400,
    })
    expect(named(spans, 't.tool').attributes).toMatchObject({ 'tool.name': 't' })
    expect(named(spans, 'foreign').attributes).toEqual({ 'http.route': '/kept' })
    expect(named(spans, 'foreign').status.statusCode).toBe('ERROR')
  })

  it('with tokens: true keeps ids and logprobs as they are', async () => {
    hush()
    await using running = await tracing({ content: false, tokens: true })
    const call = named(await everything(running), 'openai.chat.completion')
    expect(call.attributes).toMatchObject({
      prompt_token_ids: Int32Array.of(1, 2, 3, 4),
      response_token_ids: Int32Array.of(5, 6),
      'agl.choices.1.response_token_ids': Int32Array.of(7, 8),
    })
    expect(JSON.parse(String(call.attributes['logprobs.content']))).toEqual(LOGPROBS)
    expect(call.attributes).not.toHaveProperty('gen_ai.completion.0.content')
  })

  it('spares what the user names on purpose: annotations and attributes', async () => {
    await using running = await begin({ capture: { content: false } })
    await trace('run', { attributes: { customer: 'c1' } }, () => emitAnnotation({ grade: 'good' }))
    const spans = running.lightning.lastTrace()
    expect(spans.map((span) => span.attributes)).toEqual([
      { grade: 'good' },
      expect.objectContaining({ customer: 'c1' }),
    ])
  })

  it('holds for activities outside any trace', async () => {
    await using running = await begin({ capture: { content: false } })
    running.api.activity('llm', LLM_START).end(LLM_DATA)
    await running.lightning.flush()
    expect(byTrace(running.sink.spans)).toHaveLength(1)
    expect(leaks(running.sink.spans)).toEqual([])
  })
})

describe('tokens: false', () => {
  it('keeps texts, and of tokens only their log probabilities', async () => {
    hush()
    await using running = await tracing({ tokens: false })
    const spans = await everything(running)
    const call = named(spans, 'openai.chat.completion')
    expect(withIds(spans)).toEqual([])
    expect(call.attributes['gen_ai.completion.0.content']).toBe(CANARY)
    expect(JSON.parse(String(call.attributes['logprobs.content']))).toEqual([
      { logprob: -0.5 },
      { logprob: -1 },
    ])
  })
})

describe('redact', () => {
  const hide = (text: string): string => text.replaceAll(CANARY, '***')

  it('changes every text, and drops the ids and the words of logprobs of what it changed', async () => {
    hush()
    await using running = await tracing({ redact: hide })
    const spans = await everything(running)
    expect(leaks(spans)).toEqual([])
    expect(withIds(spans)).toEqual([])
    const call = named(spans, 'openai.chat.completion')
    expect(call.attributes['gen_ai.completion.0.content']).toBe('***')
    expect(JSON.parse(String(call.attributes['logprobs.content']))).toEqual([
      { logprob: -0.5 },
      { logprob: -1 },
    ])
    expect(named(spans, 'tool_call.find').attributes['tool.parameters']).toBe('{"q":"***"}')
    expect(named(spans, 'foreign').status.description).toBe('***')
    expect(named(spans, 'foreign').attributes['llm.prompts']).toEqual(['***', '***'])
  })

  it('leaves ids of messages alone that it did not change', async () => {
    await using running = await begin({ capture: { redact: (text) => text.replace('secret', '***') } })
    const spans = await spansOf('run', () => {
      const { tokens, ...data } = LLM_DATA
      const choices = [
        { index: 0, content: 'open', logprobs: LOGPROBS },
        { index: 1, content: 'secret', logprobs: LOGPROBS },
      ]
      const messages = [{ role: 'user', content: 'open' }]
      running.api
        .activity('llm', { ...CHAT, messages })
        .end({ ...data, choices, ...(tokens === undefined ? {} : { tokens }) })
    })
    const { attributes } = named(spans, 'openai.chat.completion')
    expect(attributes).toMatchObject({
      prompt_token_ids: Int32Array.of(1, 2, 3, 4),
      response_token_ids: Int32Array.of(5, 6),
      'gen_ai.completion.1.content': '***',
    })
    expect(attributes).not.toHaveProperty(['agl.choices.1.response_token_ids'])
    expect(JSON.parse(String(attributes['logprobs.content']))).toEqual(LOGPROBS)
    expect(String(attributes['agl.choices.1.logprobs.content'])).not.toContain(CANARY)
  })

  it('drops the ids of a prompt of which it changed one message', async () => {
    await using running = await begin({ capture: { redact: (text) => text.replace('secret', '***') } })
    const spans = await spansOf('run', () => {
      const messages = [
        { role: 'system', content: 'open' },
        { role: 'user', content: 'secret' },
      ]
      running.api.activity('llm', { ...CHAT, messages }).end({
        choices: [{ index: 0, content: 'open' }],
        tokens: {
          prompt: Int32Array.of(1),
          choices: [{ index: 0, response: Int32Array.of(2), prompt: Int32Array.of(3) }],
        },
      })
    })
    const { attributes } = named(spans, 'openai.chat.completion')
    expect(Object.keys(attributes).filter((key) => key.endsWith('token_ids'))).toEqual(['response_token_ids'])
  })

  it.each<[string, NonNullable<CaptureOptions['redact']>]>([
    [
      'throws',
      () => {
        throw new Error('no')
      },
    ],
    ['gives nothing', () => undefined],
    // @ts-expect-error a program without types may give anything
    ['gives a promise', async (text) => text],
  ])('that %s drops the field and its ids', async (_, redact) => {
    hush()
    await using running = await tracing({ redact })
    const spans = await everything(running)
    expect(leaks(spans)).toEqual([])
    expect(withIds(spans)).toEqual([])
    const call = named(spans, 'openai.chat.completion')
    expect(Object.keys(call.attributes)).not.toContain('gen_ai.completion.0.content')
    expect(call.attributes['gen_ai.completion.0.role']).toBe('assistant')
  })

  it('is told the field and the span of each text', async () => {
    const seen: string[] = []
    await using running = await begin({
      capture: { redact: (text, { key, span }) => (seen.push(`${span} ${key} ${text}`), text) },
    })
    await trace('run', () => {
      running.api.activity('tool', { name: 't', parameters: 'in' }).end({ result: 'out' })
      running.api.activity('tool', { name: 'u' }).fail(new Error('broken'))
    })
    expect(seen).toEqual([
      't.tool tool.parameters in',
      't.tool tool.result out',
      'u.tool exception.message broken',
      'u.tool status.description Error: broken',
    ])
  })
})
