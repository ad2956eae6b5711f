import { describe, expect, it } from 'vitest'
import {
  spanToJSON,
  type Activity,
  type ActivityData,
  type ActivityKind,
  type ActivityStart,
  type Choice,
  type Span,
  type TokenIds,
} from '@agl/core'
import { begin, CHAT, expectTree, hush, named, type Running, spansOf } from './support.ts'

type Attributes = Span['attributes']

/** The span of one activity that starts and ends with the given data. */
async function encoded<K extends ActivityKind>(
  kind: K,
  start: ActivityStart[K],
  data?: ActivityData[K],
  before?: (activity: Activity<K>) => void,
): Promise<Span> {
  await using running = await begin()
  const spans = await spansOf('run', () => {
    const activity = running.api.activity(kind, start)
    before?.(activity)
    activity.end(data)
  })
  const [span] = spans
  if (span === undefined) throw new Error('nothing was recorded')
  return span
}

const answer = (data: ActivityData['llm']): Promise<Attributes> =>
  encoded('llm', CHAT, data).then(({ attributes }) => attributes)

function keys(attributes: Attributes, pattern: RegExp): Attributes {
  return Object.fromEntries(Object.entries(attributes).filter(([key]) => pattern.test(key)))
}

describe('a model call', () => {
  it.each([
    ['chat', 'openai.chat.completion'],
    ['completion', 'openai.completion'],
    ['response', 'openai.response'],
  ] as const)('of kind %s is the span %s, whatever the provider', async (operation, name) => {
    const span = await encoded('llm', { ...CHAT, operation, provider: 'vLLM' })
    expect(span.name).toBe(name)
    expect(span.attributes).toMatchObject({ 'gen_ai.system': 'vLLM', 'gen_ai.request.type': operation })
    expect(span.status).toEqual({ statusCode: 'OK', description: null })
  })

  it('keeps the request by its wire names, falsy values included', async () => {
    const { attributes } = await encoded('llm', {
      ...CHAT,
      streaming: false,
      baseURL: 'http://127.0.0.1:8000/v1',
      request: {
        model: 'm',
        temperature: 0,
        top_p: 0.5,
        seed: 0,
        n: 2,
        logprobs: false,
        user: '',
        stop: ['a', 'b'],
        response_format: { type: 'json_object' },
        nothing: null,
        absent: undefined,
        odd: Number.NaN,
      },
    })
    expect(keys(attributes, /^(gen_ai\.request|agl\.base_url)/)).toEqual({
      'gen_ai.request.type': 'chat',
      'gen_ai.request.model': 'm',
      'gen_ai.request.temperature': 0,
      'gen_ai.request.top_p': 0.5,
      'gen_ai.request.seed': 0,
      'gen_ai.request.n': 2,
      'gen_ai.request.logprobs': false,
      'gen_ai.request.user': '',
      'gen_ai.request.stop': '["a","b"]',
      'gen_ai.request.response_format': '{"type":"json_object"}',
      'gen_ai.request.odd': 'NaN',
      'gen_ai.request.streaming': false,
      'agl.base_url': 'http://127.0.0.1:8000/v1',
    })
  })

  it('keeps the messages as they were when the call began', async () => {
    const messages: {
      role: string
      content?: unknown
      toolCallId?: string
      toolCalls?: object[]
      name?: string
    }[] = [
      { role: 'system', content: '' },
      { role: 'user', content: [{ type: 'text', text: 'hi' }], name: 'ann' },
      { role: 'assistant', toolCalls: [{ id: 'c1', type: 'function', name: 'f', arguments: '{}' }] },
      { role: 'tool', toolCallId: 'c1', content: '4' },
    ]
    // The list is the agent's own, and agents go on to change it.
    const start: ActivityStart['llm'] = JSON.parse(JSON.stringify(CHAT))
    Object.assign(start, { messages })
    const { attributes } = await encoded('llm', start, {}, () => {
      messages.push({ role: 'user', content: 'later' })
      if (messages[0] !== undefined) messages[0].content = 'changed'
    })
    expect(keys(attributes, /^gen_ai\.prompt/)).toEqual({
      'gen_ai.prompt.0.role': 'system',
      'gen_ai.prompt.0.content': '',
      'gen_ai.prompt.1.role': 'user',
      'gen_ai.prompt.1.content': '[{"type":"text","text":"hi"}]',
      'gen_ai.prompt.1.name': 'ann',
      'gen_ai.prompt.2.role': 'assistant',
      'gen_ai.prompt.2.tool_calls.0.id': 'c1',
      'gen_ai.prompt.2.tool_calls.0.type': 'function',
      'gen_ai.prompt.2.tool_calls.0.name': 'f',
      'gen_ai.prompt.2.tool_calls.0.arguments': '{}',
      'gen_ai.prompt.3.role': 'tool',
      'gen_ai.prompt.3.tool_call_id': 'c1',
      'gen_ai.prompt.3.content': '4',
    })
  })

  it('keeps the tools that were offered', async () => {
    const { attributes } = await encoded('llm', {
      ...CHAT,
      tools: [{ name: 'f', description: 'does', parameters: { type: 'object' } }, { name: 'g' }],
    })
    expect(keys(attributes, /functions/)).toEqual({
      'gen_ai.request.functions.0.name': 'f',
      'gen_ai.request.functions.0.description': 'does',
      'gen_ai.request.functions.0.parameters': '{"type":"object"}',
      'gen_ai.request.functions.1.name': 'g',
    })
  })

  it('keeps every choice, with its reason, refusal, reasoning and tool calls', async () => {
    const toolCalls = [
      { id: 'c1', type: 'function', name: 'f', arguments: '{"a":1}' },
      { name: 'g', arguments: 'not json' },
    ]
    const choices: Choice[] = [
      { index: 0, role: 'assistant', content: '', finishReason: 'tool_calls', toolCalls },
      { index: 1, role: 'assistant', refusal: 'no', reasoning: 'because', finishReason: 'stop' },
    ]
    expect(keys(await answer({ choices }), /^gen_ai\.completion/)).toEqual({
      'gen_ai.completion.0.role': 'assistant',
      'gen_ai.completion.0.finish_reason': 'tool_calls',
      'gen_ai.completion.0.content': '',
      'gen_ai.completion.0.tool_calls.0.id': 'c1',
      'gen_ai.completion.0.tool_calls.0.type': 'function',
      'gen_ai.completion.0.tool_calls.0.name': 'f',
      'gen_ai.completion.0.tool_calls.0.arguments': '{"a":1}',
      'gen_ai.completion.0.tool_calls.1.name': 'g',
      'gen_ai.completion.0.tool_calls.1.arguments': 'not json',
      'gen_ai.completion.1.role': 'assistant',
      'gen_ai.completion.1.finish_reason': 'stop',
      'gen_ai.completion.1.refusal': 'no',
      'gen_ai.completion.1.reasoning': 'because',
    })
  })

  it('has a zero-length child for each tool call of its first choice', async () => {
    await using running = await begin()
    const spans = await spansOf('run', () => {
      const toolCalls = [{ id: 'c1', type: 'custom', name: 'f', arguments: '{"a":1}' }]
      running.api.activity('llm', CHAT).end({
        choices: [
          { index: 1, toolCalls: [{ name: 'other', arguments: '' }] },
          { index: 0, toolCalls: [...toolCalls, { name: 'g', arguments: '' }] },
        ],
      })
    })
    expectTree(spans)
    const call = named(spans, 'openai.chat.completion')
    expect(spans.map((span) => span.name)).toEqual([
      'openai.chat.completion',
      'tool_call.f',
      'tool_call.g',
      'run.session',
    ])
    const tool = named(spans, 'tool_call.f')
    expect(tool.parentId).toBe(call.spanId)
    expect([tool.startTime, tool.endTime]).toEqual([call.endTime, call.endTime])
    expect(tool.attributes).toEqual({
      'agentops.span.kind': 'tool',
      'tool.name': 'f',
      'tool.parameters': '{"a":1}',
      'tool.call.id': 'c1',
      'tool.call.type': 'custom',
    })
    expect(named(spans, 'tool_call.g').attributes['tool.call.type']).toBe('function')
  })

  it('keeps usage, times, ids of the answer and of the request', async () => {
    const attributes = await answer({
      response: { id: 'r1', model: 'm-1', systemFingerprint: 'fp', serviceTier: 'default' },
      usage: { promptTokens: 0, completionTokens: 2, totalTokens: 2, cachedTokens: 0, reasoningTokens: 1 },
      timeToFirstToken: 250,
      requestId: 'req-1',
      httpStatus: 200,
    })
    expect(attributes).toMatchObject({
      'gen_ai.response.id': 'r1',
      'gen_ai.response.model': 'm-1',
      'gen_ai.openai.system_fingerprint': 'fp',
      'gen_ai.openai.service_tier': 'default',
      'gen_ai.usage.prompt_tokens': 0,
      'gen_ai.usage.completion_tokens': 2,
      'gen_ai.usage.total_tokens': 2,
      'gen_ai.usage.cache_read_input_tokens': 0,
      'gen_ai.usage.reasoning_tokens': 1,
      'agl.time_to_first_token': 0.25,
      'agl.request_id': 'req-1',
      'http.response.status_code': 200,
    })
  })

  it.each([undefined, ''])('has its span id for an answer without an id (%j)', async (id) => {
    const span = await encoded('llm', CHAT, { response: id === undefined ? {} : { id } })
    expect(span.attributes['gen_ai.response.id']).toBe(span.spanId)
  })

  it('claims nothing that the server did not say', async () => {
    const attributes = await answer({ choices: [{ index: 0, content: 'x' }] })
    expect(keys(attributes, /token|usage|logprobs/)).toEqual({})
  })

  it.each([
    ['cancelled', 'UNSET'],
    ['aborted', 'UNSET'],
    ['raw', 'OK'],
  ] as const)('that was %s says so, with the status %s', async (finish, statusCode) => {
    const span = await encoded('llm', CHAT, { finish })
    expect(span.attributes['agl.finish']).toBe(finish)
    expect(span.status).toEqual({ statusCode, description: null })
  })

  it('that failed keeps its HTTP status and request id', async () => {
    await using running = await begin()
    const spans = await spansOf('run', () => {
      class RateLimitError extends Error {}
      const error = Object.assign(new RateLimitError('slow down'), { status: 429, requestID: 'req-9' })
      running.api.activity('llm', CHAT).fail(error)
    })
    const span = named(spans, 'openai.chat.completion')
    expect(span.status).toEqual({ statusCode: 'ERROR', description: 'RateLimitError: slow down' })
    expect(span.attributes).toMatchObject({
      'error.type': 'RateLimitError',
      'exception.message': 'slow down',
      'http.response.status_code': 429,
      'agl.request_id': 'req-9',
    })
  })
})

describe('token ids', () => {
  const ids = (tokens: TokenIds): Promise<Attributes> =>
    answer({ tokens }).then((attributes) => keys(attributes, /token_ids|agl\.tokens/))

  it('of the first choice have the names that trainers read, those of others names of their own', async () => {
    expect(
      await ids({
        prompt: Int32Array.of(1, 2),
        choices: [
          { index: 0, response: Int32Array.of(3) },
          { index: 1, response: Int32Array.of(4), prompt: Int32Array.of(5) },
        ],
        complete: true,
      }),
    ).toEqual({
      prompt_token_ids: Int32Array.of(1, 2),
      response_token_ids: Int32Array.of(3),
      'agl.choices.1.response_token_ids': Int32Array.of(4),
      'agl.choices.1.prompt_token_ids': Int32Array.of(5),
      'agl.tokens.complete': true,
    })
  })

  it('are unknown to be complete where there was nothing to compare with, and may be known not to be', async () => {
    expect(await ids({ choices: [{ index: 0, response: Int32Array.of(3) }] })).toEqual({
      response_token_ids: Int32Array.of(3),
    })
    expect(await ids({ choices: [], complete: false })).toEqual({ 'agl.tokens.complete': false })
  })

  it('with a gap stand aside, with their prompt, where no trainer reads them', async () => {
    expect(
      await ids({
        prompt: Int32Array.of(1),
        choices: [
          { index: 0, response: Int32Array.of(2), gap: true },
          { index: 1, response: Int32Array.of(3), gap: true },
        ],
        complete: false,
      }),
    ).toEqual({
      'agl.partial.prompt_token_ids': Int32Array.of(1),
      'agl.partial.response_token_ids': Int32Array.of(2),
      'agl.partial.choices.1.response_token_ids': Int32Array.of(3),
      'agl.tokens.complete': false,
    })
  })

  it('with a gap in a further choice leave the first as it is', async () => {
    expect(
      await ids({
        prompt: Int32Array.of(1),
        choices: [
          { index: 0, response: Int32Array.of(2) },
          { index: 1, response: Int32Array.of(3), gap: true },
        ],
      }),
    ).toEqual({
      prompt_token_ids: Int32Array.of(1),
      response_token_ids: Int32Array.of(2),
      'agl.partial.choices.1.response_token_ids': Int32Array.of(3),
    })
  })

  it('of a call that was cut are marked', async () => {
    expect(await ids({ choices: [{ index: 0, response: Int32Array.of(2) }], truncated: true })).toEqual({
      response_token_ids: Int32Array.of(2),
      'agl.tokens.truncated': true,
    })
  })
})

describe('log probabilities', () => {
  const list = [{ token: 'a', logprob: -0.1, bytes: [97], top_logprobs: [] }]

  it('are JSON text, of content and of refusal, of each choice', async () => {
    const attributes = await answer({
      choices: [
        { index: 0, logprobs: list, refusalLogprobs: [] },
        { index: 1, logprobs: list },
        { index: 2, logprobs: null },
      ],
    })
    expect(keys(attributes, /logprobs/)).toEqual({
      'logprobs.content': JSON.stringify(list),
      'logprobs.refusal': '[]',
      'agl.choices.1.logprobs.content': JSON.stringify(list),
    })
  })

  it('that are no data cost nothing but themselves', async () => {
    hush()
    const cyclic: unknown[] = []
    cyclic.push(cyclic)
    await using running = await begin({ capture: { tokens: false } })
    const spans = await spansOf('run', () =>
      running.api.activity('llm', CHAT).end({ choices: [{ index: 0, content: 'x', logprobs: cyclic }] }),
    )
    expect(named(spans, 'openai.chat.completion').attributes).toMatchObject({
      'gen_ai.completion.0.content': 'x',
      'logprobs.content': '[]',
    })
  })
})

describe("a framework's call around the client's", () => {
  async function nested(
    name: string | undefined,
    run: (running: Running, inner: () => void) => void,
  ): Promise<Span[]> {
    await using running = await begin()
    const messages = [{ role: 'user', content: 'x' }]
    const data: ActivityData['llm'] = {
      response: { id: 'r1' },
      choices: [{ index: 0, content: 'y', toolCalls: [{ name: 'f', arguments: '' }] }],
      usage: { totalTokens: 3 },
      tokens: { prompt: Int32Array.of(1), choices: [{ index: 0, response: Int32Array.of(2) }] },
      timeToFirstToken: 5,
    }
    const spans = await spansOf('run', () => {
      const start = name === undefined ? { ...CHAT, messages } : { ...CHAT, messages, name }
      const outer = running.api.activity('llm', { ...start, attributes: { own: 1 } })
      outer.run(() => run(running, () => running.api.activity('llm', { ...CHAT, messages }).end(data)))
      outer.end(data)
    })
    return spans
  }

  it('leaves everything that counts to the innermost', async () => {
    const spans = await nested('ChatToy', (_, inner) => inner())
    const outer = named(spans, 'ChatToy')
    expect(outer.attributes).toEqual({
      own: 1,
      'agentops.span.kind': 'llm',
      'agl.time_to_first_token': 0.005,
    })
    const inner = named(spans, 'openai.chat.completion')
    expect(inner.parentId).toBe(outer.spanId)
    expect(inner.attributes).toMatchObject({
      'gen_ai.response.id': 'r1',
      'gen_ai.usage.total_tokens': 3,
      response_token_ids: Int32Array.of(2),
    })
    expect(spans.filter((span) => span.name.startsWith('tool_call.'))).toHaveLength(1)
    expectTree(spans)
  })

  it('is known by any call below it, and has a name where the framework gives none', async () => {
    const spans = await nested(undefined, ({ api }, inner) => {
      const chain = api.activity('chain', { name: 'between' })
      chain.run(inner)
      chain.end()
    })
    expect(spans.map((span) => span.name)).toEqual([
      'openai.chat.completion',
      'tool_call.f',
      'between.chain',
      'chat_model.llm',
      'run.session',
    ])
  })

  it('is the innermost itself where nothing below it calls', async () => {
    const spans = await nested('ChatToy', () => undefined)
    expect(named(spans, 'openai.chat.completion').attributes['gen_ai.response.id']).toBe('r1')
  })
})

describe('other activities', () => {
  it('of tools keep name, call and both ends', async () => {
    const span = await encoded(
      'tool',
      { name: 'add', callId: 'c1', type: 'function', parameters: { a: 1 } },
      { result: 0 },
    )
    expect(span.name).toBe('add.tool')
    expect(span.attributes).toEqual({
      'agentops.span.kind': 'tool',
      'operation.name': 'add',
      'tool.name': 'add',
      'tool.parameters': '{"a":1}',
      'tool.call.id': 'c1',
      'tool.call.type': 'function',
      'tool.result': 0,
    })
  })

  it.each(['agent', 'workflow', 'chain', 'retriever'] as const)(
    'of kind %s keep name, input and output',
    async (kind) => {
      const span = await encoded(kind, { name: 'solve', input: ['x'] }, { output: 'y' })
      expect(span.name).toBe(`solve.${kind}`)
      expect(span.attributes).toEqual({
        'agentops.span.kind': kind,
        'operation.name': 'solve',
        [`agentops.${kind}.input`]: '["x"]',
        [`agentops.${kind}.output`]: 'y',
      })
      expect(span.status.statusCode).toBe('OK')
    },
  )

  it('of embeddings keep what was asked and how much came', async () => {
    const span = await encoded(
      'embedding',
      { provider: 'OpenAI', request: { model: 'e', dimensions: 8 }, input: ['a', 'b'] },
      { response: { model: 'e-1' }, usage: { promptTokens: 2 }, count: 2, dimensions: 8 },
    )
    expect(span.name).toBe('openai.embedding')
    expect(span.attributes).toEqual({
      'gen_ai.system': 'OpenAI',
      'gen_ai.request.type': 'embedding',
      'gen_ai.request.model': 'e',
      'gen_ai.request.dimensions': 8,
      'gen_ai.prompt.0.content': '["a","b"]',
      'gen_ai.response.model': 'e-1',
      'gen_ai.usage.prompt_tokens': 2,
      'agl.embedding.count': 2,
      'agl.embedding.dimensions': 8,
    })
  })

  it('keep values that JSON has no form for as text', async () => {
    const cyclic: { self?: unknown } = {}
    cyclic.self = cyclic
    const { attributes } = await encoded('tool', { name: 't', parameters: { big: 12n } }, { result: cyclic })
    expect(attributes['tool.parameters']).toBe('{"big":"12"}')
    expect(attributes['tool.result']).toMatch(/^\[not serializable/)
  })

  it('keep further attributes as values that are legal everywhere', async () => {
    const cyclic: { self?: unknown } = {}
    cyclic.self = cyclic
    const { attributes } = await encoded(
      'agent',
      { name: 'a', attributes: { zero: 0, nested: { deep: { list: ['x', 'y'] } }, ids: Int32Array.of(1) } },
      {
        attributes: {
          none: null,
          absent: undefined,
          nan: Number.NaN,
          numbers: [1, Number.POSITIVE_INFINITY],
          mixed: [1, 'a'],
          date: new Date(0),
          cyclic,
        },
      },
    )
    expect(attributes).toMatchObject({
      zero: 0,
      'nested.deep.list': ['x', 'y'],
      ids: Int32Array.of(1),
      nan: 'NaN',
      numbers: ['1', 'Infinity'],
      'mixed.0': 1,
      'mixed.1': 'a',
      cyclic: expect.stringMatching(/^\[not serializable/),
    })
    expect(attributes).not.toHaveProperty('absent')
    const legal = (value: unknown): boolean => ['string', 'number', 'boolean'].includes(typeof value)
    for (const value of Object.values(attributes)) {
      expect(
        Array.isArray(value) || value instanceof Int32Array ? [...value].every(legal) : legal(value),
      ).toBe(true)
    }
    const json = spanToJSON(await encoded('agent', { name: 'a' }, { attributes })).attributes
    expect(JSON.parse(JSON.stringify(json))).toEqual(json)
  })
})
