import { loadTokenizer } from '@agl/testkit'
import { describe, expect, it } from 'vitest'
import {
  ask,
  asked,
  CLIENTS,
  collect,
  completed,
  parsed,
  piece,
  role,
  sse,
  STOP,
  streamed,
  tell,
  usage,
  whole,
  WITH_USAGE,
  without,
  type Context,
} from './support.ts'

const tokenizer = await loadTokenizer()

describe.each(CLIENTS)('%s', (_, make) => {
  describe('case 1: a usage chunk without choices', () => {
    it.each([
      ['no choice', []],
      ['one empty choice, as from LiteLLM', [{ index: 0, delta: {} }]],
    ])('is read with %s', async (_name, choices) => {
      const reply = sse(role([1, 2]), piece(0, { content: 'a' }, [3], STOP), { choices, usage: usage(2, 1) })
      const { attributes, tokens } = await tell(make, { server: { reply: () => reply } }, streamed())
      expect(attributes).toMatchObject({
        'gen_ai.usage.prompt_tokens': 2,
        'gen_ai.usage.completion_tokens': 1,
        'gen_ai.completion.0.content': 'a',
      })
      expect(tokens).toEqual({
        prompt_token_ids: [1, 2],
        response_token_ids: [3],
        'agl.tokens.complete': true,
      })
    })
  })

  describe('case 2: two choices, interleaved', () => {
    const told = {
      prompt_token_ids: [1, 2],
      response_token_ids: [10, 11],
      'agl.choices.1.response_token_ids': [20, 21],
      'agl.tokens.complete': true,
    }
    const parts = [
      piece(0, { content: 'a' }, [10]),
      piece(1, { content: 'b' }, [20]),
      piece(1, { content: 'c' }, [21], STOP),
      piece(0, { content: 'd' }, [11], STOP),
    ]

    it('gives two lists of ids and the prompt once', async () => {
      const reply = sse(role([1, 2], 0), role([1, 2], 1), ...parts, { choices: [], usage: usage(2, 4) })
      const setting = { server: { reply: () => reply } }
      const { tokens, attributes } = await tell(make, setting, streamed({ n: 2 }))
      expect(tokens).toEqual(told)
      expect(attributes).toMatchObject({
        'gen_ai.completion.0.content': 'ad',
        'gen_ai.completion.1.content': 'bc',
      })
    })

    it('does so where choice 1 begins, and where a chunk has several choices', async () => {
      const begins = sse(role([1, 2], 1), role([1, 2], 0), ...parts, { choices: [], usage: usage(2, 4) })
      const both = [
        { index: 1, delta: { content: 'bc' }, token_ids: [20, 21], ...STOP },
        { index: 0, delta: { content: 'ad' }, token_ids: [10, 11], ...STOP },
      ]
      const together = sse(role([1, 2], 0), { choices: both }, { choices: [], usage: usage(2, 4) })
      for (const reply of [begins, together]) {
        const { tokens } = await tell(make, { server: { reply: () => reply } }, streamed({ n: 2 }))
        expect(tokens).toEqual(told)
      }
    })
  })

  describe('case 3: tool calls with chunks that have no text', () => {
    const call = (index: number, fn: object, more: object = {}): object => ({
      tool_calls: [{ index, function: fn, ...more }],
    })
    const reply = sse(
      role([1]),
      piece(0, {}, [2]),
      piece(0, call(0, { name: 'add' }, { id: 'call_a', type: 'function' }), [3]),
      piece(0, call(0, { arguments: '{"a"' }), [4]),
      piece(0, {}, [5]),
      piece(0, call(1, { name: 'mul' }, { type: 'function' }), [6]),
      piece(0, call(0, { arguments: ': 1}' }), [7]),
      piece(0, call(1, { arguments: '{}' }), [8]),
      piece(0, {}, [9], { finish_reason: 'tool_calls' }),
      { choices: [], usage: usage(1, 8) },
    )

    it('keeps all ids and joins arguments by the index of their call', async () => {
      const { tokens, spans } = await tell(make, { server: { reply: () => reply } }, streamed())
      expect(tokens).toEqual({
        prompt_token_ids: [1],
        response_token_ids: [2, 3, 4, 5, 6, 7, 8, 9],
        'agl.tokens.complete': true,
      })
      expect(spans[0]?.attributes).toMatchObject({
        'gen_ai.completion.0.finish_reason': 'tool_calls',
        'gen_ai.completion.0.tool_calls.0.id': 'call_a',
        'gen_ai.completion.0.tool_calls.0.arguments': '{"a": 1}',
        'gen_ai.completion.0.tool_calls.1.name': 'mul',
        'gen_ai.completion.0.tool_calls.1.arguments': '{}',
      })
      expect(spans.map(({ name }) => name)).toEqual([
        'openai.chat.completion',
        'tool_call.add',
        'tool_call.mul',
      ])
    })
  })

  describe('case 4: log probabilities of a refusal', () => {
    const refusal = [{ token: 'No', logprob: -0.5, bytes: [78, 111], top_logprobs: [] }]
    const logprobs = { content: null, refusal }

    it('are stored apart from those of content, of which there are none', async () => {
      const choice = {
        index: 0,
        message: { role: 'assistant', content: null, refusal: 'No' },
        logprobs,
        ...STOP,
      }
      const chunk = { choices: [{ index: 0, delta: { refusal: 'No' }, logprobs, ...STOP }] }
      for (const [reply, program] of [
        [whole({ choices: [choice] }), asked({ logprobs: true })],
        [sse(role(), chunk), streamed({ logprobs: true })],
      ] as const) {
        const { attributes } = await tell(make, { server: { reply: () => reply } }, program)
        expect(parsed(attributes['logprobs.refusal'])).toEqual(refusal)
        expect(attributes).not.toHaveProperty('logprobs.content')
        expect(attributes['gen_ai.completion.0.refusal']).toBe('No')
      }
    })
  })

  describe('case 5: null', () => {
    it('is as good as absent for ids and log probabilities, whole and streamed', async () => {
      const message = { role: 'assistant', content: 'a' }
      const choice = { index: 0, message, logprobs: null, token_ids: null, ...STOP }
      const nothing = { prompt_token_ids: null, response_token_ids: null, sglext: null }
      for (const [reply, program] of [
        [whole({ choices: [choice], ...nothing }), asked()],
        [
          sse(
            role(null),
            piece(0, { content: 'a' }, null, { logprobs: null, ...STOP, prompt_token_ids: null }),
          ),
          streamed(),
        ],
        [
          whole({ choices: [{ index: 0, text: 'a', logprobs: null, token_ids: null, ...STOP }] }),
          completed(),
        ],
      ] as const) {
        const { tokens, attributes } = await tell(make, { server: { reply: () => reply } }, program)
        expect(tokens).toEqual({})
        expect(Object.keys(attributes).filter((key) => key.includes('logprobs.'))).toEqual([])
      }
    })

    it('comes before the real ones', async () => {
      const reply = sse(
        role(null),
        { ...role([]), choices: [] },
        piece(0, {}, null),
        { ...piece(0, { content: 'a' }, [3], STOP), prompt_token_ids: [1, 2] },
        { choices: [], prompt_token_ids: null, usage: usage(2, 1) },
      )
      const { tokens } = await tell(make, { server: { reply: () => reply } }, streamed())
      expect(tokens).toEqual({
        prompt_token_ids: [1, 2],
        response_token_ids: [3],
        'agl.tokens.complete': true,
      })
    })
  })

  describe('case 6: the program gives up in mid-stream', () => {
    const ways: Record<string, (context: Context) => Promise<unknown>> = {
      async break({ client }) {
        let seen = 0
        for await (const _chunk of await client.chat.completions.create({ ...ask, stream: true }))
          if (++seen === 3) break
        return seen
      },
      async signal({ client }) {
        const controller = new AbortController()
        const { signal } = controller
        const stream = await client.chat.completions.create({ ...ask, stream: true }, { signal })
        let seen = 0
        for await (const _chunk of stream) if (++seen === 3) controller.abort()
        return seen
      },
      async controller({ client }) {
        const stream = await client.chat.completions.create({ ...ask, stream: true })
        let seen = 0
        for await (const _chunk of stream) if (++seen === 3) stream.controller.abort()
        return seen
      },
      async helper({ client }) {
        const stream = client.chat.completions.stream(ask)
        let seen = 0
        stream.on('chunk', () => {
          if (++seen === 3) stream.abort()
        })
        return stream.done().catch((error: unknown) => String(error))
      },
    }

    it.each(Object.entries(ways))('by %s: ends once, with a marked prefix', async (how, program) => {
      const setting = {
        server: {
          flavor: 'vllm' as const,
          reply: () => 'forty two and more',
          fault: () => ({ stall: 'mid-stream' as const, after: 3 }),
        },
      }
      const { result, tokens, attributes, spans, status } = await tell(make, setting, program)
      expect(result).toEqual(await without(make, setting, program))
      expect(spans).toHaveLength(1)
      expect(attributes['agl.finish']).toBe(how === 'break' ? 'cancelled' : 'aborted')
      expect(status?.statusCode).toBe('UNSET')
      expect(tokens).toEqual({
        prompt_token_ids: expect.any(Array),
        response_token_ids: tokenizer.encode('forty two and more').slice(0, 2),
        'agl.tokens.complete': false,
        'agl.tokens.truncated': true,
      })
    })
  })

  describe('case 7: an error in mid-stream', () => {
    it.each([
      ['vllm', 'data'],
      ['vllm', 'flat'],
      ['vllm', 'event'],
      ['vllm-0.10', 'data'],
      ['litellm', 'data'],
    ] as const)(
      'of %s as %s is recorded and reaches the program as ever; the ids so far stay',
      async (flavor, error) => {
        const setting = { server: { flavor, reply: () => 'forty two', fault: () => ({ error, after: 2 }) } }
        const program = streamed({ return_token_ids: true })
        const { result, tokens, status } = await tell(make, setting, program)
        expect(result).toEqual(await without(make, setting, program))
        expect(status?.statusCode).toBe('ERROR')
        expect(status?.description).toContain('The generation failed.')
        expect(tokens).toMatchObject({ 'agl.tokens.complete': false, 'agl.tokens.truncated': true })
        const known = tokenizer.encode('forty two')
        expect([known.slice(0, 1), known.slice(0, 2)]).toContainEqual(tokens['response_token_ids'])
      },
    )
  })

  describe('case 8: log probabilities that spell token_id:N', () => {
    const asIds = {
      logprobs: true,
      top_logprobs: 2,
      return_tokens_as_token_ids: true,
      return_token_ids: false,
    }
    const ids = [...tokenizer.encode('forty two'), tokenizer.special('<|im_end|>')]
    const server = { flavor: 'vllm' as const, reply: () => 'forty two' }

    it.each([
      ['whole', asked(asIds)],
      ['streamed', streamed({ ...asIds, ...WITH_USAGE })],
      ['of completions', completed({ ...asIds, logprobs: 2 })],
      [
        'of streamed completions',
        async ({ client }: Context) => {
          const body = {
            model: 'm',
            prompt: 'six',
            ...asIds,
            logprobs: 2,
            stream: true as const,
            ...WITH_USAGE,
          }
          return collect(await client.completions.create(body))
        },
      ],
    ] as const)('give the ids and no text: %s', async (_name, program) => {
      const { tokens, attributes } = await tell(make, { server }, program)
      expect(tokens).toEqual({ response_token_ids: ids, 'agl.tokens.complete': true })
      expect(attributes['gen_ai.completion.0.content']).toBe('forty two')
    })

    const literal = (bytes: number[] | null) => {
      const entry = { token: 'token_id:5', logprob: -1, bytes, top_logprobs: [] }
      const choice = { message: { role: 'assistant', content: 'token_id:5' }, logprobs: { content: [entry] } }
      return whole({ choices: [{ index: 0, ...choice, ...STOP }], usage: usage(1, 1) })
    }
    const spelled = [...new TextEncoder().encode('token_id:5')]

    it.each([
      ['bytes of that text', spelled],
      ['no bytes', null],
    ])('stay text where the model wrote that itself: %s', async (_name, bytes) => {
      const setting = { server: { reply: () => literal(bytes) } }
      const { tokens, attributes } = await tell(make, setting, asked({ return_token_ids: false }))
      expect(tokens).toEqual({})
      expect(attributes['gen_ai.completion.0.content']).toBe('token_id:5')
    })

    it('are ids where the server has been told to spell them so, which its bytes show', async () => {
      const setting = { server: { reply: () => literal([104, 105]) } }
      const { tokens } = await tell(make, setting, asked({ return_token_ids: false }))
      expect(tokens).toEqual({ response_token_ids: [5], 'agl.tokens.complete': true })
    })
  })

  describe('case 9: tokens that are pieces of a character', () => {
    const ids = tokenizer.encode('🙂')

    it.each([
      ['vllm', [239, 191, 189]],
      ['llamacpp', undefined],
    ] as const)('%s: the text is that of the server, the bytes stay as they came', async (flavor, bytes) => {
      const setting = { server: { flavor, reply: () => '🙂' } }
      const program = asked({ logprobs: true, top_logprobs: 0 })
      const { result, tokens, attributes } = await tell(make, setting, program)
      expect(attributes['gen_ai.completion.0.content']).toBe('🙂')
      expect(tokens['response_token_ids']).toEqual([...ids, tokenizer.special('<|im_end|>')])
      const sent: unknown = Object(result).choices[0].logprobs.content
      expect(parsed(attributes['logprobs.content'])).toEqual(sent)
      expect(sent).toMatchObject([{ bytes: bytes ?? [240, 159] }, {}, {}])
    })

    it('a missing list of bytes is no trouble', async () => {
      const content = ids.map((id) => ({ token: '\uFFFD', logprob: -1, bytes: null, id }))
      const choice = { index: 0, message: { content: '🙂' }, logprobs: { content }, ...STOP }
      const reply = whole({ choices: [choice], usage: usage(1, ids.length) })
      const { tokens } = await tell(make, { server: { reply: () => reply } }, asked())
      expect(tokens).toEqual({ response_token_ids: [...ids], 'agl.tokens.complete': true })
    })
  })

  describe('case 10: a prompt that the server cut', () => {
    it('is what the ids say, which agree with the usage', async () => {
      const message = { role: 'assistant', content: 'a' }
      const reply = whole({
        prompt_token_ids: [8, 9],
        choices: [{ index: 0, message, token_ids: [3], ...STOP }],
        usage: usage(2, 1),
      })
      const program = asked({ truncate_prompt_tokens: 2 })
      const { tokens, attributes } = await tell(make, { server: { reply: () => reply } }, program)
      expect(tokens).toEqual({
        prompt_token_ids: [8, 9],
        response_token_ids: [3],
        'agl.tokens.complete': true,
      })
      expect(attributes['gen_ai.prompt.0.content']).toBe('What is six times seven?')
    })
  })
})
