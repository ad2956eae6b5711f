import type { ModelServerOptions } from '@agl/testkit'
import { describe, expect, it } from 'vitest'
import { drain, only, parsed, running, spansOf } from './support.ts'

running()

const RESPONSE = 'openai.response'

describe('the Responses API', () => {
  it('has instructions and input items as messages', async () => {
    const attributes = only(
      await spansOf('3', ({ client }) =>
        client.responses.create({
          model: 'gpt-4o',
          temperature: 0,
          store: false,
          instructions: 'Be brief.',
          tools: [{ type: 'function', name: 'add', parameters: { type: 'object' }, strict: true }],
          input: [
            { role: 'user', content: 'one and two?' },
            { type: 'function_call', call_id: 'call_1', name: 'add', arguments: '{"a":1}' },
            { type: 'function_call_output', call_id: 'call_1', output: '3' },
          ],
        }),
      ),
      RESPONSE,
    )
    expect(attributes).toMatchObject({
      'gen_ai.request.type': 'response',
      'gen_ai.request.temperature': 0,
      'gen_ai.request.store': false,
      'gen_ai.request.functions.0.name': 'add',
      'gen_ai.prompt.0.role': 'system',
      'gen_ai.prompt.0.content': 'Be brief.',
      'gen_ai.prompt.1.content': 'one and two?',
      'gen_ai.prompt.2.tool_calls.0.id': 'call_1',
      'gen_ai.prompt.2.tool_calls.0.arguments': '{"a":1}',
      'gen_ai.prompt.3.role': 'tool',
      'gen_ai.prompt.3.tool_call_id': 'call_1',
      'gen_ai.prompt.3.content': '3',
    })
  })

  it.each([false, true])('has text, function calls, usage and ids (streamed: %s)', async (stream) => {
    const reply = { text: 'Adding', toolCalls: [{ id: 'call_a', name: 'add', arguments: { a: 1 } }] }
    const spans = await spansOf(reply, async ({ client }) => {
      const answer = await client.responses.create({ model: 'gpt-4o', input: 'go', stream })
      if (Symbol.asyncIterator in answer) await drain(answer)
    })
    expect(only(spans, RESPONSE)).toMatchObject({
      'gen_ai.completion.0.content': 'Adding',
      'gen_ai.completion.0.finish_reason': 'tool_calls',
      'gen_ai.completion.0.tool_calls.0.id': 'call_a',
      'gen_ai.completion.0.tool_calls.0.arguments': '{"a":1}',
      'gen_ai.usage.completion_tokens': expect.any(Number),
      'gen_ai.response.id': expect.stringMatching(/^resp_/),
      'gen_ai.response.model': 'gpt-4o',
    })
    expect(only(spans, 'tool_call.add')['tool.call.id']).toBe('call_a')
  })

  const created = { type: 'response.created', response: { id: 'resp_1', model: 'm', output: [] } }
  const delta = { type: 'response.output_text.delta', delta: 'for', item_id: 'i', output_index: 0 }
  const item = { type: 'message', content: [{ type: 'output_text', text: 'forty two' }] }
  const consume = async (frames: readonly object[], fault = {}): Promise<ReturnType<typeof spansOf>> =>
    spansOf(
      { frames: frames.map((data) => ({ event: String(Object(data).type), data })) },
      async ({ client }) => {
        const stream = await client.responses.create({ model: 'm', input: 'q', stream: true })
        await drain(stream).catch(() => undefined)
      },
      { fault: () => fault },
    )

  it('says what was incomplete', async () => {
    const response = {
      id: 'resp_1',
      status: 'incomplete',
      incomplete_details: { reason: 'max_output_tokens' },
      output: [item],
    }
    const spans = await consume([created, delta, { type: 'response.incomplete', response }])
    expect(only(spans, RESPONSE)).toMatchObject({
      'gen_ai.completion.0.content': 'forty two',
      'gen_ai.completion.0.finish_reason': 'max_output_tokens',
    })
  })

  it('ends a failed one with its error', async () => {
    const error = { code: 'server_error', message: 'The model fell over.' }
    const response = { id: 'resp_1', status: 'failed', error, output: [] }
    const spans = await consume([created, delta, { type: 'response.failed', response }])
    const [span] = spans
    expect(span?.status).toEqual({ statusCode: 'ERROR', description: 'server_error: The model fell over.' })
    expect(span?.attributes['gen_ai.response.id']).toBe('resp_1')
  })

  it('keeps what came before the connection broke', async () => {
    const done = {
      type: 'response.output_item.done',
      item: { type: 'function_call', call_id: 'c', name: 'f' },
    }
    const spans = await consume([created, done, delta, delta], { cut: 'mid-stream', after: 3 })
    const span = spans.find(({ name }) => name === RESPONSE)
    expect(span?.status.statusCode).toBe('ERROR')
    expect(span?.attributes).toMatchObject({
      'gen_ai.completion.0.content': 'for',
      'gen_ai.completion.0.tool_calls.0.name': 'f',
      'error.type': 'TypeError',
    })
  })

  it('joins the texts of several items, and has reasoning and log probabilities', async () => {
    const output = [
      { type: 'reasoning', summary: [{ type: 'summary_text', text: 'six sevens' }] },
      { type: 'message', content: [{ type: 'output_text', text: 'forty', logprobs: [{ token: 'forty' }] }] },
      { type: 'message', content: [{ type: 'output_text', text: ' two', logprobs: [{ token: ' two' }] }] },
    ]
    const reply = { body: { id: 'resp_1', object: 'response', status: 'completed', output } }
    const attributes = only(
      await spansOf(reply, ({ client }) => client.responses.create({ model: 'm', input: 'q' })),
      RESPONSE,
    )
    expect(attributes).toMatchObject({
      'gen_ai.completion.0.content': 'forty two',
      'gen_ai.completion.0.reasoning': 'six sevens',
      'logprobs.content': '[{"token":"forty"},{"token":" two"}]',
    })
  })
})

describe('completions', () => {
  const body = { model: 'gpt-3.5-turbo-instruct', logprobs: 2, n: 2, prompt: ['six', 'seven'] }
  const replies = [{ choices: [{ text: 'one two' }, { text: 'three' }] }]

  it('are recorded alike, whole and streamed, with a choice for each prompt and n', async () => {
    const [whole, streamed] = await spansOf([...replies, ...replies], async ({ client }) => {
      await client.completions.create(body)
      await drain(await client.completions.create({ ...body, stream: true }))
    })
    expect(whole?.attributes).toMatchObject({
      'gen_ai.request.type': 'completion',
      'gen_ai.prompt.0.content': 'six',
      'gen_ai.prompt.1.content': 'seven',
      'gen_ai.completion.0.content': 'one two',
      'gen_ai.completion.3.content': expect.any(String),
    })
    const same = ([key]: [string, unknown]): boolean => /completion\.|logprobs|choices/.test(key)
    const told = (attributes: object): object => Object.fromEntries(Object.entries(attributes).filter(same))
    expect(told(streamed?.attributes ?? {})).toEqual(told(whole?.attributes ?? {}))
    expect(parsed(whole?.attributes['logprobs.content'])).toMatchObject({
      tokens: ['one', ' two', expect.any(String)],
      token_logprobs: expect.any(Array),
    })
  })

  it.each([
    ['a text', 'six', ['six']],
    ['token ids', [1, 2, 3], ['[1,2,3]']],
    ['lists of token ids', [[1, 2], [3]], ['[1,2]', '[3]']],
  ])('take %s for a prompt', async (_, prompt, expected) => {
    const attributes = only(
      await spansOf('x', ({ client }) => client.completions.create({ model: 'm', prompt })),
      'openai.completion',
    )
    const prompts = Object.entries(attributes).filter(([key]) => /^gen_ai\.prompt\.\d+\.content$/.test(key))
    expect(prompts.map(([, value]) => value)).toEqual(expected)
  })
})

describe('embeddings', () => {
  it('are recorded by their number and length, without the vectors', async () => {
    const input = ['red', 'green', 'blue']
    const spans = await spansOf(['', ''], async ({ client }) => {
      await client.embeddings.create({ model: 'text-embedding-3-small', input, encoding_format: 'float' })
      await client.embeddings.create({ model: 'text-embedding-3-small', input })
    })
    const expected = {
      'gen_ai.system': 'OpenAI',
      'gen_ai.request.model': 'text-embedding-3-small',
      'gen_ai.prompt.0.content': JSON.stringify(input),
      'agl.embedding.count': 3,
      'agl.embedding.dimensions': 64,
      'gen_ai.usage.prompt_tokens': expect.any(Number),
    }
    expect(spans.map(({ attributes }) => attributes)).toEqual([
      expect.objectContaining(expected),
      expect.objectContaining(expected),
    ])
    expect(JSON.stringify(spans.map(({ attributes }) => attributes))).not.toMatch(/\b0\.\d{3}/)
  })

  it('end as aborted or raw where their program gives them up or takes the response itself', async () => {
    const stalls: ModelServerOptions = { faults: [{ stall: 'before-headers' }] }
    const aborted = await spansOf(
      '',
      async ({ client }) => {
        const signal = AbortSignal.timeout(30)
        await client.embeddings.create({ model: 'm', input: 'x' }, { signal }).catch(() => undefined)
      },
      stalls,
    )
    const raw = await spansOf('', async ({ client }) => {
      const response = await client.embeddings.create({ model: 'm', input: 'x' }).asResponse()
      await response.text()
    })
    expect(only(aborted, 'openai.embedding')['agl.finish']).toBe('aborted')
    expect(only(raw, 'openai.embedding')['agl.finish']).toBe('raw')
  })
})
