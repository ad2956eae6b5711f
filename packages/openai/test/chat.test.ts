import { context, trace as otel } from '@opentelemetry/api'
import { operation, record } from '@agl/core'
import { startModelServer } from '@agl/testkit'
import { AzureOpenAI } from 'openai'
import { describe, expect, it } from 'vitest'
import { ask, drain, only, parsed, running, spansOf } from './support.ts'

const streamed = { ...ask, stream: true as const }
const CALLS = [
  { id: 'call_a', name: 'add', arguments: { a: 1, b: 2 } },
  { id: 'call_b', name: 'mul', arguments: '{broken' },
]
running()

describe('what is recorded of a request', () => {
  it('has every setting by its wire name, those that are 0, false or empty too', async () => {
    const attributes = only(
      await spansOf('yes', ({ client }) =>
        client.chat.completions.create({
          ...ask,
          temperature: 0,
          top_p: 0,
          seed: 0,
          frequency_penalty: 0,
          parallel_tool_calls: false,
          stop: '',
          max_completion_tokens: 9,
          stream: false,
          user: '',
        }),
      ),
    )
    expect(attributes).toMatchObject({
      'gen_ai.system': 'OpenAI',
      'gen_ai.request.type': 'chat',
      'gen_ai.request.model': 'gpt-4o',
      'gen_ai.request.temperature': 0,
      'gen_ai.request.top_p': 0,
      'gen_ai.request.seed': 0,
      'gen_ai.request.frequency_penalty': 0,
      'gen_ai.request.parallel_tool_calls': false,
      'gen_ai.request.stop': '',
      'gen_ai.request.max_completion_tokens': 9,
      'gen_ai.request.streaming': false,
      'gen_ai.request.user': '',
    })
  })

  it('has the messages with their tool calls and parts, and the tools', async () => {
    const parameters = { type: 'object', properties: { a: { type: 'number' } } }
    const attributes = only(
      await spansOf('3', ({ client }) =>
        client.chat.completions.create({
          model: 'm',
          tools: [{ type: 'function', function: { name: 'add', description: 'Adds', parameters } }],
          messages: [
            { role: 'system', content: 'Be brief.' },
            { role: 'user', content: [{ type: 'text', text: 'one and two?' }], name: 'ann' },
            {
              role: 'assistant',
              content: null,
              tool_calls: [
                { id: 'call_1', type: 'function', function: { name: 'add', arguments: '{"a":1}' } },
              ],
            },
            { role: 'tool', tool_call_id: 'call_1', content: '3' },
          ],
        }),
      ),
    )
    expect(attributes).toMatchObject({
      'gen_ai.prompt.0.role': 'system',
      'gen_ai.prompt.1.content': '[{"type":"text","text":"one and two?"}]',
      'gen_ai.prompt.1.name': 'ann',
      'gen_ai.prompt.2.role': 'assistant',
      'gen_ai.prompt.2.tool_calls.0.id': 'call_1',
      'gen_ai.prompt.2.tool_calls.0.name': 'add',
      'gen_ai.prompt.2.tool_calls.0.arguments': '{"a":1}',
      'gen_ai.prompt.3.tool_call_id': 'call_1',
      'gen_ai.request.functions.0.name': 'add',
      'gen_ai.request.functions.0.description': 'Adds',
      'gen_ai.request.functions.0.parameters': JSON.stringify(parameters),
    })
    expect(attributes).not.toHaveProperty('gen_ai.prompt.2.content')
  })

  it('has the base URL without what may be a secret in it', async () => {
    await using server = await startModelServer({ reply: () => 'hi' })
    const { OpenAI } = await import('openai')
    const { host } = new URL(server.url)
    const client = new OpenAI({ apiKey: 'k', baseURL: `http://${host}/v1?key=hidden` })
    const { spans } = await record('test', () => client.chat.completions.create(ask).catch(() => undefined))
    expect(only(spans)['agl.base_url']).toBe(`${server.url}/v1`)
    expect(JSON.stringify(spans)).not.toContain('hidden')
  })
})

describe.each([
  ['whole', false],
  ['streamed', true],
] as const)('what is recorded of an answer, %s', (_, stream) => {
  const call = (reply: Parameters<typeof spansOf>[0], body: object = {}, options = {}) =>
    spansOf(
      reply,
      async ({ client }) => {
        const answer = await client.chat.completions.create({ ...ask, ...body, stream })
        if (Symbol.asyncIterator in answer) await drain(answer)
      },
      options,
    )

  it('has all choices', async () => {
    const choices = [{ text: 'forty two' }, { text: 'many', finish: 'length' }, { text: 'none' }]
    const attributes = only(await call({ choices }, { n: 3 }))
    expect(attributes).toMatchObject({
      'gen_ai.completion.0.role': 'assistant',
      'gen_ai.completion.0.content': 'forty two',
      'gen_ai.completion.0.finish_reason': 'stop',
      'gen_ai.completion.1.content': 'many',
      'gen_ai.completion.1.finish_reason': 'length',
      'gen_ai.completion.2.content': 'none',
    })
  })

  it('has parallel tool calls, each with a span of its own', async () => {
    const spans = await call({ toolCalls: CALLS, interleaveToolCalls: true })
    const attributes = only(spans)
    expect(attributes).toMatchObject({
      'gen_ai.completion.0.finish_reason': 'tool_calls',
      'gen_ai.completion.0.tool_calls.0.id': 'call_a',
      'gen_ai.completion.0.tool_calls.0.name': 'add',
      'gen_ai.completion.0.tool_calls.0.arguments': '{"a":1,"b":2}',
      'gen_ai.completion.0.tool_calls.1.id': 'call_b',
      'gen_ai.completion.0.tool_calls.1.name': 'mul',
      'gen_ai.completion.0.tool_calls.1.arguments': '{broken',
    })
    const chat = spans.find(({ name }) => name === 'openai.chat.completion')
    const tools = spans.filter(({ name }) => name.startsWith('tool_call.'))
    expect(tools.map(({ name, parentId }) => [name, parentId])).toEqual([
      ['tool_call.add', chat?.spanId],
      ['tool_call.mul', chat?.spanId],
    ])
  })

  it.each([['reasoning'], ['reasoning_content'], ['reasoning', 'reasoning_content']] as const)(
    'has the reasoning once, by whatever name: %s %s',
    async (...reasoningFields) => {
      const attributes = only(
        await call({ reasoning: 'six sevens', text: '42' }, {}, { flavor: 'vllm', reasoningFields }),
      )
      expect(attributes['gen_ai.completion.0.reasoning']).toBe('six sevens')
      expect(attributes['gen_ai.completion.0.content']).toBe('42')
    },
  )

  it('has a refusal and its log probabilities', async () => {
    const attributes = only(await call({ refusal: 'I will not' }, { logprobs: true }))
    expect(attributes['gen_ai.completion.0.refusal']).toBe('I will not')
    const entries = parsed(attributes['logprobs.refusal'])
    expect(Array.isArray(entries) && entries.map((entry) => Object(entry).token).join('')).toBe('I will not')
    expect(attributes).not.toHaveProperty('logprobs.content')
  })

  it('has a log probability for each token of each choice', async () => {
    const choices = [{ text: 'forty two', logprobs: [-0.5, -0.25, -9999] }, { text: 'a lot' }]
    const attributes = only(await call({ choices }, { n: 2, logprobs: true, top_logprobs: 2 }))
    const tokens = (key: string): unknown => {
      const entries = parsed(attributes[key])
      return Array.isArray(entries) ? entries.map((entry) => Object(entry).token).join('') : entries
    }
    expect(parsed(attributes['logprobs.content'])).toMatchObject([{ logprob: -0.5 }, { logprob: -0.25 }, {}])
    expect(tokens('logprobs.content')).toBe('forty two')
    expect(tokens('agl.choices.1.logprobs.content')).toBe('a lot')
  })

  it('has usage with its details, ids and the model that answered', async () => {
    const usage = {
      prompt_tokens: 10,
      completion_tokens: 5,
      total_tokens: 15,
      prompt_tokens_details: { cached_tokens: 8 },
      completion_tokens_details: { reasoning_tokens: 3 },
    }
    const reply = {
      text: 'hi',
      usage,
      model: 'gpt-4o-2024',
      id: 'chatcmpl-1',
      extra: { system_fingerprint: 'fp' },
    }
    const attributes = only(await call(reply, stream ? { stream_options: { include_usage: true } } : {}))
    expect(attributes).toMatchObject({
      'gen_ai.usage.prompt_tokens': 10,
      'gen_ai.usage.completion_tokens': 5,
      'gen_ai.usage.total_tokens': 15,
      'gen_ai.usage.cache_read_input_tokens': 8,
      'gen_ai.usage.reasoning_tokens': 3,
      'gen_ai.response.id': 'chatcmpl-1',
      'gen_ai.response.model': 'gpt-4o-2024',
      'gen_ai.openai.system_fingerprint': 'fp',
      'http.response.status_code': 200,
      'agl.request_id': expect.stringMatching(/^req_/),
    })
  })

  it('has no usage where the server gave none, rather than a guess', async () => {
    const attributes = only(await call({ text: 'hi', usage: null }))
    expect(Object.keys(attributes).filter((key) => key.startsWith('gen_ai.usage'))).toEqual([])
  })

  it('has the time to the first token if it was streamed', async () => {
    const attributes = only(await call('hi'))
    expect(typeof attributes['agl.time_to_first_token']).toBe(stream ? 'number' : 'undefined')
  })
})

describe('streams', () => {
  it('have the last usage where every chunk has one', async () => {
    const attributes = only(
      await spansOf(
        'one two three',
        async ({ client }) => {
          const options = { include_usage: true, continuous_usage_stats: true }
          await drain(await client.chat.completions.create({ ...streamed, stream_options: options }))
        },
        { flavor: 'vllm' },
      ),
    )
    expect(attributes['gen_ai.usage.completion_tokens']).toBe(4)
  })

  it('keep tool calls apart that a server numbers all the same, and join those that it does not number', async () => {
    const piece = (call: object) => ({ id: 'c', choices: [{ index: 0, delta: { tool_calls: [call] } }] })
    const call = (more: object) => ({ function: {}, ...more })
    const frames = [
      piece({ index: 0, id: 'x', type: 'function', function: { name: 'f', arguments: '' } }),
      piece({ index: 0, function: { arguments: '{"a"' } }),
      piece({ index: 0, function: { arguments: ':1}' } }),
      piece({ index: 0, id: 'y', type: 'function', function: { name: 'g', arguments: '{}' } }),
      piece(call({ id: 'z', function: { name: 'h', arguments: '[' } })),
      piece(call({ function: { arguments: ']' } })),
      '[DONE]',
    ]
    const spans = await spansOf({ frames }, async ({ client }) => {
      await drain(await client.chat.completions.create(streamed))
    })
    expect(
      spans
        .filter(({ name }) => name.startsWith('tool_call.'))
        .map(({ name, attributes }) => [name, attributes['tool.call.id'], attributes['tool.parameters']]),
    ).toEqual([
      ['tool_call.f', 'x', '{"a":1}'],
      ['tool_call.g', 'y', '{}'],
      ['tool_call.h', 'z', '[]'],
    ])
  })

  it('do not become the parent of what the program does between their chunks', async () => {
    const step = operation('step', () => 'done')
    const during: unknown[] = []
    const { spans } = await record('test', async () => {
      await using server = await startModelServer({ reply: () => 'forty two' })
      const { OpenAI } = await import('openai')
      const client = new OpenAI({ apiKey: 'k', baseURL: server.baseURL })
      const before = otel.getSpan(context.active())?.spanContext().spanId
      for await (const _ of await client.chat.completions.create(streamed)) {
        step()
        during.push(otel.getSpan(context.active())?.spanContext().spanId === before)
      }
      step()
    })
    const root = spans.at(-1)
    expect(new Set(during)).toEqual(new Set([true]))
    const parents = spans.slice(0, -1).map(({ parentId }) => parentId)
    expect(new Set(parents)).toEqual(new Set([root?.spanId]))
    expect(spans.length).toBeGreaterThan(4)
  })

  it('make the call itself the parent of what happens inside it', async () => {
    await using server = await startModelServer({ reply: () => 'hi' })
    const { OpenAI } = await import('openai')
    const send = operation('send', (url: string | URL | Request, init?: RequestInit) => fetch(url, init))
    const client = new OpenAI({ apiKey: 'k', baseURL: server.baseURL, fetch: send })
    const { spans } = await record('test', async () => client.chat.completions.create(ask))
    const chat = spans.find(({ name }) => name === 'openai.chat.completion')
    const inside = spans.find(({ attributes }) => attributes['agentlightning.operation.name'] === 'send')
    expect(inside?.parentId).toBe(chat?.spanId)
  })
})

describe('traces', () => {
  it('get their own calls, however many run at once on one client', async () => {
    await using server = await startModelServer({
      reply: ({ text }) => `re ${text}`,
      fault: ({ index }) => ({ latency: { first: (7 * index) % 20, chunk: (3 * index) % 5 } }),
    })
    const { OpenAI } = await import('openai')
    const client = new OpenAI({ apiKey: 'k', baseURL: server.baseURL })
    const one = (content: string) =>
      record(content, async () => {
        const body = { model: 'm', messages: [{ role: 'user' as const, content }] }
        await Promise.all([
          client.chat.completions.create(body),
          client.chat.completions.create({ ...body, stream: true }).then(drain),
        ])
      })
    const names = Array.from({ length: 12 }, (_, i) => `number ${i}`)
    const outcomes = await Promise.all(names.map(one))
    const said = outcomes.map(({ spans }) =>
      spans.slice(0, -1).map(({ attributes }) => attributes['gen_ai.completion.0.content']),
    )
    expect(said).toEqual(names.map((name) => [`re ${name}`, `re ${name}`]))
  })

  it('get Azure calls as well', async () => {
    await using server = await startModelServer({ reply: () => 'hi' })
    const client = new AzureOpenAI({ apiKey: 'k', endpoint: server.url, apiVersion: 'v', deployment: 'mine' })
    const { spans } = await record('test', () => client.chat.completions.create(ask))
    expect(only(spans)).toMatchObject({
      'gen_ai.completion.0.content': 'hi',
      'agl.base_url': `${server.url}/openai`,
    })
  })
})
