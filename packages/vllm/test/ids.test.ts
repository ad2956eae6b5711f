import type { AnyReply } from '@agl/testkit'
import { describe, expect, it, vi } from 'vitest'
import { ask, collect, run, sent, tokens } from './support.ts'

const streamed = { ...ask, stream: true as const }
const usage = { include_usage: true }
const CALLS = [
  { name: 'add', arguments: { a: 1, b: 2 } },
  { name: 'add', arguments: { a: 3, b: 4 } },
]

/** A stream of exactly these chunks. */
function frames(...chunks: readonly object[]): AnyReply {
  return { frames: [...chunks.map((chunk) => ({ data: { id: 'c', model: 'm', ...chunk } })), '[DONE]'] }
}

function choice(index: number, ids: unknown, more: object = {}): object {
  return { choices: [{ index, delta: {}, token_ids: ids, ...more }] }
}

/** What is recorded of a streamed chat with these frames. */
async function recorded(reply: AnyReply, body: object = {}): Promise<Record<string, unknown>> {
  const { spans } = await run({ reply: () => reply }, async ({ client }) =>
    collect(await client.chat.completions.create({ ...streamed, ...body })),
  )
  return tokens(spans[0])
}

describe('token ids of chat completions', () => {
  it('are those of the answer, prompt and response', async () => {
    const { result, spans } = await run({ reply: () => 'forty two' }, ({ client }) =>
      client.chat.completions.create(ask),
    )
    const prompt = sent([result], 'prompt_token_ids')
    const response = sent([result], 'token_ids', 0)
    expect(prompt.length).toBeGreaterThan(5)
    expect(response).toHaveLength(4)
    expect(tokens(spans[0])).toEqual({
      prompt_token_ids: prompt,
      response_token_ids: response,
      'agl.tokens.complete': true,
    })
    expect(spans[0]?.attributes['response_token_ids']).toBeInstanceOf(Int32Array)
  })

  it.each([1, 2, 5])('are the same when streamed with %i tokens in a chunk', async (tokensPerChunk) => {
    const reply = () => ({ text: 'forty two, as always', reasoning: 'six sevens', tokensPerChunk })
    const { result, spans } = await run({ reply }, async ({ client }) => {
      const whole = await client.chat.completions.create(ask)
      const chunks = await collect(
        await client.chat.completions.create({ ...streamed, stream_options: usage }),
      )
      return { whole, chunks }
    })
    const [whole, stream] = spans
    expect(tokens(stream)).toEqual(tokens(whole))
    expect(tokens(stream)['response_token_ids']).toEqual(sent(result.chunks, 'token_ids', 0))
    expect(tokens(stream)['agl.tokens.complete']).toBe(true)
  })

  it('match the log probabilities, one for each', async () => {
    const { spans } = await run(
      { reply: () => 'forty two' },
      async ({ client }) => collect(await client.chat.completions.create(streamed)),
      { logprobs: true },
    )
    const entries: unknown = JSON.parse(String(spans[0]?.attributes['logprobs.content']))
    expect(entries).toHaveLength(4)
    expect(tokens(spans[0])['response_token_ids']).toHaveLength(4)
  })

  it('are kept by choice where choices are interleaved', async () => {
    const reply = () => ({ choices: [{ text: 'forty two' }, { text: 'a great many of them' }] })
    const { result, spans } = await run({ reply }, async ({ client }) =>
      collect(await client.chat.completions.create({ ...streamed, n: 2, stream_options: usage })),
    )
    const order = result.flatMap((chunk) => chunk.choices.map(({ index }) => index))
    expect(order.slice(0, 4)).toEqual([0, 1, 0, 1])
    const prompt = sent(result.slice(0, 1), 'prompt_token_ids')
    expect(tokens(spans[0])).toEqual({
      prompt_token_ids: prompt,
      response_token_ids: sent(result, 'token_ids', 0),
      'agl.choices.1.response_token_ids': sent(result, 'token_ids', 1),
      'agl.tokens.complete': true,
    })
  })

  it('include those of chunks that have no text, as around tool calls', async () => {
    const reply = () => ({ text: 'Adding', toolCalls: CALLS, interleaveToolCalls: true })
    const { result, spans } = await run({ reply }, async ({ client }) =>
      collect(await client.chat.completions.create({ ...streamed, stream_options: usage })),
    )
    const silent = result.filter((chunk) => Object.keys(chunk.choices[0]?.delta ?? { none: 1 }).length === 0)
    expect(silent.length).toBeGreaterThan(0)
    const chat = spans.find(({ name }) => name === 'openai.chat.completion')
    expect(tokens(chat)).toMatchObject({
      response_token_ids: sent(result, 'token_ids', 0),
      'agl.tokens.complete': true,
    })
  })

  it('are of unknown completeness where the stream has no usage', async () => {
    const { spans } = await run({ reply: () => 'forty two' }, async ({ client }) =>
      collect(await client.chat.completions.create(streamed)),
    )
    expect(Object.keys(tokens(spans[0]))).toEqual(['prompt_token_ids', 'response_token_ids'])
  })

  it('are compared with the last usage where every chunk has one', async () => {
    const options = { include_usage: true, continuous_usage_stats: true }
    const { spans } = await run({ reply: () => 'forty two' }, async ({ client }) =>
      collect(await client.chat.completions.create({ ...streamed, stream_options: options })),
    )
    expect(tokens(spans[0])['agl.tokens.complete']).toBe(true)
  })

  it.each(['break', 'abort', 'cut'] as const)('are a marked prefix after %s', async (how) => {
    const fault = how === 'cut' ? { cut: 'mid-stream' as const } : { stall: 'mid-stream' as const }
    const { result, spans } = await run(
      { reply: () => 'forty two', fault: () => ({ ...fault, after: 3 }) },
      async ({ client }) => {
        const chunks: unknown[] = []
        const stream = await client.chat.completions.create(streamed)
        try {
          for await (const chunk of stream) {
            chunks.push(chunk)
            if (chunks.length === 3 && how === 'break') break
            if (chunks.length === 3 && how === 'abort') stream.controller.abort()
          }
        } catch {
          chunks.push({ choices: [] })
        }
        return chunks
      },
    )
    expect(tokens(spans[0])).toEqual({
      prompt_token_ids: sent(result.slice(0, 1), 'prompt_token_ids'),
      response_token_ids: sent(result, 'token_ids', 0),
      'agl.tokens.complete': false,
      'agl.tokens.truncated': true,
    })
    expect(sent(result, 'token_ids', 0)).toHaveLength(2)
  })

  it('are a marked prefix where the stream just ends', async () => {
    const reply = frames({ prompt_token_ids: [1, 2], choices: [] }, choice(0, [3]))
    expect(await recorded(reply)).toEqual({
      prompt_token_ids: [1, 2],
      response_token_ids: [3],
      'agl.tokens.complete': false,
      'agl.tokens.truncated': true,
    })
  })

  it('are a marked prefix where the server breaks off with an error', async () => {
    for (const error of ['data', 'event', 'flat'] as const) {
      const { spans } = await run(
        { reply: () => 'forty two', fault: () => ({ error }) },
        async ({ client }) => collect(await client.chat.completions.create(streamed)).catch(() => []),
      )
      expect(tokens(spans[0])).toMatchObject({
        response_token_ids: [expect.any(Number)],
        'agl.tokens.complete': false,
        'agl.tokens.truncated': true,
      })
    }
  })

  it('are set aside where the usage tells of others', async () => {
    const reply = frames(
      { prompt_token_ids: [1, 2], choices: [] },
      choice(0, [3]),
      choice(1, [4]),
      choice(0, [5], { finish_reason: 'stop' }),
      choice(1, [6], { finish_reason: 'stop' }),
      { choices: [], usage: { prompt_tokens: 2, completion_tokens: 7 } },
    )
    expect(await recorded(reply)).toEqual({
      'agl.partial.prompt_token_ids': [1, 2],
      'agl.partial.response_token_ids': [3, 5],
      'agl.partial.choices.1.response_token_ids': [4, 6],
      'agl.tokens.complete': false,
    })
  })

  it('are set aside where output came without ids, unless the usage counts no others', async () => {
    const said = { choices: [{ index: 0, delta: { content: 'What is six times seven?' } }] }
    const told = [{ prompt_token_ids: [1], choices: [] }, said, choice(0, [3], { finish_reason: 'stop' })]
    expect(await recorded(frames(...told))).toEqual({
      'agl.partial.prompt_token_ids': [1],
      'agl.partial.response_token_ids': [3],
      'agl.tokens.complete': false,
    })
    const counted = { choices: [], usage: { prompt_tokens: 1, completion_tokens: 1 } }
    expect(await recorded(frames(...told, counted))).toEqual({
      prompt_token_ids: [1],
      response_token_ids: [3],
      'agl.tokens.complete': true,
    })
  })

  it.each([
    ['a refusal', { refusal: 'No.' }],
    ['the call of a function', { function_call: { name: '', arguments: '{}' } }],
    ['sound', { audio: { id: 'a', data: 'UklGRg==' } }],
    ['what we do not know', { thinking_blocks: [{ type: 'thinking' }] }],
  ])('are set aside where %s came without ids', async (_, delta) => {
    const said = { choices: [{ index: 0, delta }] }
    const told = [{ prompt_token_ids: [1], choices: [] }, choice(0, [2]), said, choice(0, [3])]
    expect(await recorded(frames(...told, choice(0, [4], { finish_reason: 'stop' })))).toMatchObject({
      'agl.partial.response_token_ids': [2, 3, 4],
      'agl.tokens.complete': false,
    })
  })

  it('stay where what came without ids is empty', async () => {
    const delta = {
      role: 'assistant',
      content: '',
      refusal: null,
      tool_calls: [],
      function_call: { name: null, arguments: '' },
      provider_specific_fields: {},
    }
    const told = [{ prompt_token_ids: [1], choices: [{ index: 0, delta }] }, choice(0, [2])]
    expect(await recorded(frames(...told, choice(0, [4], { finish_reason: 'stop' })))).toEqual({
      prompt_token_ids: [1],
      response_token_ids: [2, 4],
    })
  })

  it('are set aside where a cut stream had already told of others', async () => {
    const reply = frames(
      { prompt_token_ids: [1], choices: [] },
      { ...choice(0, [3]), usage: { prompt_tokens: 1, completion_tokens: 2 } },
    )
    expect(await recorded(reply)).toEqual({
      'agl.partial.prompt_token_ids': [1],
      'agl.partial.response_token_ids': [3],
      'agl.tokens.complete': false,
    })
  })

  it.each([
    ['null', null],
    ['absent', undefined],
  ])('are absent, not empty, where the server gives %s', async (_, ids) => {
    const reply = frames({ prompt_token_ids: ids, choices: [] }, choice(0, ids, { finish_reason: 'stop' }))
    expect(await recorded(reply)).toEqual({})
  })

  it('are refused, with one warning per process, where they are no lists of integers', async () => {
    const log = vi.spyOn(console, 'error').mockImplementation(() => undefined)
    const odd = [['7', '8'], [7.5], [-1], [2 ** 31], '7,8', { 0: 7 }, [null], [[7]]]
    const stop = { finish_reason: 'stop' }
    const replies = odd.map((ids) => frames({ prompt_token_ids: [1], choices: [] }, choice(0, ids, stop)))
    const { spans } = await run(
      { replies },
      async ({ client }) => {
        for (const _ of odd) await collect(await client.chat.completions.create(streamed))
        return true
      },
      {},
      { log: 'warn' },
    )
    const warnings = log.mock.calls.filter((call) => call.join(' ').includes('not lists of integers'))
    log.mockRestore()
    expect(warnings).toHaveLength(1)
    expect(spans.map(tokens)).toEqual(
      odd.map(() => ({ 'agl.partial.prompt_token_ids': [1], 'agl.tokens.complete': false })),
    )
  })

  it('may be 32,768 of a prompt', async () => {
    const prompt = Array.from({ length: 32_768 }, (_, i) => (i * 7919) % 150_000)
    const done = choice(0, [5], { finish_reason: 'stop' })
    const usageChunk = { choices: [], usage: { prompt_tokens: 32_768, completion_tokens: 1 } }
    expect(await recorded(frames({ prompt_token_ids: prompt, choices: [] }, done, usageChunk))).toEqual({
      prompt_token_ids: prompt,
      response_token_ids: [5],
      'agl.tokens.complete': true,
    })
  })

  it('are read from any server where the program asked for them itself', async () => {
    const { spans } = await run(
      { reply: () => 'forty two' },
      ({ client }) => {
        const body = { ...ask, return_token_ids: true }
        return client.chat.completions.create(body)
      },
      { match: () => false },
    )
    expect(tokens(spans[0])).toMatchObject({ 'agl.tokens.complete': true })
  })

  it('are left out with capture.tokens false', async () => {
    const { spans } = await run(
      {},
      ({ client }) => client.chat.completions.create(ask),
      {},
      { capture: { tokens: false } },
    )
    expect(Object.keys(tokens(spans[0])).filter((key) => key.endsWith('token_ids'))).toEqual([])
  })
})

describe('token ids of completions', () => {
  const body = { model: 'm', prompt: ['six', 'seven eight'], n: 2 }
  const reply = () => ({ choices: [{ text: 'a' }, { text: 'b c' }, { text: 'd' }, { text: 'e f g' }] })

  it('belong to their choice, several prompts times n, whole and streamed', async () => {
    const { result, spans } = await run({ reply }, async ({ client }) => {
      const whole = await client.completions.create(body)
      const chunks = await collect(
        await client.completions.create({ ...body, stream: true, stream_options: usage }),
      )
      return { whole, chunks }
    })
    const ids = (key: string): number[][] => [0, 1, 2, 3].map((index) => sent([result.whole], key, index))
    const [first, , second] = ids('prompt_token_ids')
    expect(first).not.toEqual(second)
    const responses = ids('token_ids')
    const [whole, stream] = spans.map(tokens)
    expect(whole).toEqual({
      prompt_token_ids: first,
      'agl.choices.2.prompt_token_ids': second,
      'agl.choices.3.prompt_token_ids': second,
      response_token_ids: responses[0],
      'agl.choices.1.response_token_ids': responses[1],
      'agl.choices.2.response_token_ids': responses[2],
      'agl.choices.3.response_token_ids': responses[3],
      'agl.tokens.complete': true,
    })
    expect(stream).toEqual(whole)
  })

  it.each<[string, unknown, (number[] | null)[], number, boolean | undefined]>([
    ['all prompts', ['a', 'b'], [[1], [2, 3]], 3, true],
    ['all prompts, in ids', [[1], [2, 3]], [[1], [2, 3]], 3, true],
    [
      'prompts that are alike',
      ['a', 'a'],
      [
        [1, 2],
        [1, 2],
      ],
      4,
      true,
    ],
    ['another number', ['a', 'b'], [[1], [2, 3]], 30, false],
    ['the first prompt alone', ['a', 'b'], [[1], [2, 3]], 1, false],
    ['prompts of which one has no ids', ['a', 'b'], [[1], null], 3, undefined],
    ['the one prompt', [1], [[1]], 1, true],
    ['more than the one prompt', 'a', [[1]], 2, false],
  ])('are complete where the usage counts those of %s', async (_, prompt, prompts, count, complete) => {
    for (const n of [1, 2]) {
      const choices = prompts
        .flatMap((ids) => Array.from({ length: n }, () => ids))
        .map((ids, index) => ({ index, text: 'x', prompt_token_ids: ids, token_ids: [5] }))
      const counted = { prompt_tokens: count, completion_tokens: choices.length }
      const { spans } = await run(
        { reply: () => ({ body: JSON.stringify({ id: 'c', model: 'm', choices, usage: counted }) }) },
        ({ client }) => client.completions.create(JSON.parse(JSON.stringify({ model: 'm', prompt, n }))),
      )
      expect(spans[0]?.attributes['agl.tokens.complete']).toBe(complete)
    }
  })

  it('belong to their choice where a later prompt answers first, or alone', async () => {
    const entry = (index: number, prompt: number[] | null, ids: number[], finish: string | null): object => ({
      choices: [{ index, text: 'x', prompt_token_ids: prompt, token_ids: ids, finish_reason: finish }],
    })
    const late = [entry(1, [7, 8], [70], 'stop'), entry(0, [1, 2, 3], [10], 'stop')]
    const replies = [frames(...late), frames(entry(1, [7, 8], [70], 'stop'))]
    const { spans } = await run({ replies }, async ({ client }) => {
      await collect(await client.completions.create({ ...body, n: 1, stream: true }))
      return collect(await client.completions.create({ ...body, n: 1, stream: true }))
    })
    expect(spans.map(tokens)).toEqual([
      {
        prompt_token_ids: [1, 2, 3],
        response_token_ids: [10],
        'agl.choices.1.prompt_token_ids': [7, 8],
        'agl.choices.1.response_token_ids': [70],
      },
      { 'agl.choices.1.prompt_token_ids': [7, 8], 'agl.choices.1.response_token_ids': [70] },
    ])
  })

  it('are those of the output alone with echo, and may be none', async () => {
    const asked = { model: 'm', prompt: 'six', echo: true, logprobs: 1, return_token_ids: true }
    const { result, spans } = await run({ reply: () => 'forty' }, async ({ client }) => [
      await client.completions.create(asked),
    ])
    expect(tokens(spans[0])).toEqual({
      prompt_token_ids: sent(result, 'prompt_token_ids', 0),
      response_token_ids: sent(result, 'token_ids', 0),
      'agl.tokens.complete': true,
    })
  })
})
