import { loadTokenizer, type AnyReply, type Fault, type ModelServerOptions } from '@agl/testkit'
import { describe, expect, it } from 'vitest'
import {
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
const END = tokenizer.special('<|im_end|>')
const IDS = [...tokenizer.encode('forty two'), END]
const HOLE = { 'agl.tokens.complete': false }
const entry = (token: string, logprob: number): object => ({ token, logprob, bytes: null, top_logprobs: [] })
/** A program that streams a completion. */
const completedStream =
  (more: object = {}) =>
  async ({ client }: Context): Promise<unknown> =>
    collect(await client.completions.create({ model: 'm', prompt: 'six', ...more, stream: true }))

describe.each(CLIENTS)('%s', (_, make) => {
  describe('case 11: several tokens in a chunk', () => {
    it('are as many ids and log probabilities; times are those of chunks', async () => {
      const logprobs = { content: [entry('a', -1), entry('b', -2)] }
      const reply = sse(role([1]), piece(0, { content: 'ab' }, [8, 9], { logprobs, ...STOP }), {
        choices: [],
        usage: usage(1, 2),
      })
      const program = streamed({ logprobs: true })
      const { tokens, attributes } = await tell(make, { server: { reply: () => reply } }, program)
      expect(tokens).toMatchObject({ response_token_ids: [8, 9], 'agl.tokens.complete': true })
      expect(parsed(attributes['logprobs.content'])).toEqual(logprobs.content)
      expect(attributes['agl.time_to_first_token']).toBeGreaterThan(0)
    })

    it('are told from those that have another number of log probabilities', async () => {
      const answer = (ids: number[], logs: number[]): AnyReply => {
        const logprobs = { content: logs.map((value) => entry('a', value)) }
        return sse(role([1]), piece(0, { content: 'ab' }, ids, { logprobs, ...STOP }), {
          choices: [],
          usage: usage(1, ids.length),
        })
      }
      const replies = [answer([8, 9], [-1]), answer([8], [-1, -2])]
      const told: unknown[] = []
      for (const reply of replies)
        told.push((await tell(make, { server: { reply: () => reply } }, streamed())).tokens)
      expect(told).toEqual([
        // All the ids that are counted are there.
        { prompt_token_ids: [1], response_token_ids: [8, 9], ...HOLE },
        { 'agl.partial.prompt_token_ids': [1], 'agl.partial.response_token_ids': [8], ...HOLE },
      ])
    })
  })

  describe('case 12: a speculative chunk with the end inside', () => {
    it('has all its ids, the end included, while the text is shorter', async () => {
      const reply = sse(role([1]), piece(0, { content: 'x' }, [5, 6, 2], { ...STOP, stop_reason: 'y' }), {
        choices: [],
        usage: usage(1, 3),
      })
      const { tokens, attributes } = await tell(make, { server: { reply: () => reply } }, streamed())
      expect(tokens).toMatchObject({ response_token_ids: [5, 6, 2], 'agl.tokens.complete': true })
      expect(attributes['gen_ai.completion.0.content']).toBe('x')
    })
  })

  describe('case 13: no usage', () => {
    it('leaves usage out and completeness unknown; the ids are there', async () => {
      const setting = { server: { flavor: 'vllm' as const, reply: () => 'forty two' } }
      const { tokens, attributes } = await tell(make, setting, streamed())
      expect(tokens).toEqual({ prompt_token_ids: expect.any(Array), response_token_ids: IDS })
      expect(Object.keys(attributes).filter((key) => key.startsWith('gen_ai.usage'))).toEqual([])
      expect(JSON.stringify(attributes)).not.toContain('NaN')
    })
  })

  describe('case 14: usage on every chunk', () => {
    it('counts by the last one', async () => {
      const options = { stream_options: { include_usage: true, continuous_usage_stats: true } }
      const setting = { server: { flavor: 'vllm' as const, reply: () => 'forty two' } }
      const { tokens, attributes } = await tell(make, setting, streamed(options))
      expect(attributes['gen_ai.usage.completion_tokens']).toBe(IDS.length)
      expect(tokens['agl.tokens.complete']).toBe(true)
    })
  })

  describe('case 15: ids that the server left out', () => {
    const toolCalls = [{ name: 'add', arguments: { a: 1 } }]

    it('in streams of vLLM 0.10.2 to 0.12 set the others aside', async () => {
      const reply = () => ({ text: 'Adding', toolCalls })
      const setting = { server: { flavor: 'vllm-0.10' as const, reply } }
      const { tokens } = await tell(make, setting, streamed(WITH_USAGE))
      expect(tokens).toEqual({
        'agl.partial.prompt_token_ids': expect.any(Array),
        'agl.partial.response_token_ids': expect.any(Array),
        ...HOLE,
      })
    })

    it('of gpt-oss are missed, whole and streamed', async () => {
      const setting = { server: { flavor: 'vllm-0.10' as const, reply: () => 'forty two' } }
      for (const program of [
        asked({ model: 'gpt-oss-20b' }),
        streamed({ model: 'gpt-oss-20b', ...WITH_USAGE }),
      ]) {
        const { tokens } = await tell(make, setting, program)
        expect(tokens).toEqual({ prompt_token_ids: expect.any(Array), ...HOLE })
      }
    })

    it('are missed from a server that was asked and sent none, not where nobody asked', async () => {
      const setting = { server: { reply: () => 'forty two' } }
      expect((await tell(make, setting, asked())).tokens).toEqual(HOLE)
      const nobody = { ...setting, options: { tokenIds: false } }
      expect((await tell(make, nobody, asked())).tokens).toEqual({})
    })
  })

  describe('case 16: vLLM before 0.10.2 with the patch', () => {
    it('gives each choice its own ids, asked or not', async () => {
      const reply = () => ({ choices: [{ text: 'forty two' }, { text: 'no' }] })
      for (const options of [{}, { tokenIds: false }]) {
        const setting = { server: { flavor: 'vllm-patched' as const, reply }, options }
        const { tokens, result } = await tell(make, setting, asked({ n: 2 }))
        expect(tokens).toEqual({
          prompt_token_ids: Object(result).prompt_token_ids,
          response_token_ids: IDS,
          'agl.choices.1.response_token_ids': [...tokenizer.encode('no'), END],
          'agl.tokens.complete': true,
        })
      }
    })

    it('has none in streams, which is told where usage counts them', async () => {
      const setting = { server: { flavor: 'vllm-patched' as const, reply: () => 'forty two' } }
      expect((await tell(make, setting, streamed())).tokens).toEqual({})
      expect((await tell(make, setting, streamed(WITH_USAGE))).tokens).toEqual(HOLE)
    })

    it('and too few lists is incomplete', async () => {
      const choice = (index: number): object => ({ index, message: { content: 'a' }, ...STOP })
      const reply = whole({
        prompt_token_ids: [1],
        response_token_ids: [[2]],
        choices: [choice(0), choice(1)],
        usage: usage(1, 2),
      })
      const { tokens } = await tell(make, { server: { reply: () => reply } }, asked({ n: 2 }))
      expect(tokens).toEqual({
        'agl.partial.prompt_token_ids': [1],
        'agl.partial.response_token_ids': [2],
        ...HOLE,
      })
    })
  })

  describe('case 17: LiteLLM', () => {
    const server = { flavor: 'litellm' as const, reply: () => 'forty two' }

    it('has the ids of whole answers in provider_specific_fields', async () => {
      const { tokens, result } = await tell(make, { server }, asked({ n: 2 }))
      expect(tokens).toEqual({
        prompt_token_ids: Object(result).prompt_token_ids,
        response_token_ids: IDS,
        'agl.choices.1.response_token_ids': IDS,
        'agl.tokens.complete': true,
      })
    })

    it('has them there in completions too, the prompt’s as well', async () => {
      const { tokens } = await tell(make, { server }, completed())
      expect(tokens).toEqual({
        prompt_token_ids: [...tokenizer.encode('six')],
        response_token_ids: IDS,
        'agl.tokens.complete': true,
      })
    })

    it('loses ids in streams, with usage and without', async () => {
      const partial = { 'agl.partial.response_token_ids': IDS.slice(0, -1), ...HOLE }
      expect((await tell(make, { server }, streamed())).tokens).toEqual(partial)
      expect((await tell(make, { server }, streamed(WITH_USAGE))).tokens).toEqual(partial)
    })

    it('may have them in the fields of each streamed choice', async () => {
      const aside = (ids: number[]): object => ({ provider_specific_fields: { token_ids: ids } })
      const reply = sse(
        { choices: [{ index: 0, delta: { role: 'assistant', content: 'a' }, ...aside([3]) }] },
        { choices: [{ index: 0, delta: { content: 'b' }, ...aside([4]), ...STOP }], usage: usage(2, 2) },
      )
      const { tokens } = await tell(make, { server: { reply: () => reply } }, streamed())
      expect(tokens).toEqual({ response_token_ids: [3, 4], 'agl.tokens.complete': true })
    })
  })

  describe('case 18: completions', () => {
    const prompts = { prompt: ['six', 'seven eight'], n: 2 }
    const reply = () => ({ choices: [{ text: 'a' }, { text: 'b c' }, { text: 'd' }, { text: 'e f' }] })
    const ids = (text: string): number[] => [...tokenizer.encode(text), END]

    it.each([
      ['vllm', completed(prompts)],
      ['vllm', completedStream({ ...prompts, ...WITH_USAGE })],
      ['sglang', completed(prompts)],
      ['sglang', completedStream({ ...prompts, ...WITH_USAGE })],
      ['litellm', completed(prompts)],
    ] as const)('%s: each choice has the ids of its own prompt', async (flavor, program) => {
      const { tokens } = await tell(make, { server: { flavor, reply } }, program)
      expect(tokens).toEqual({
        prompt_token_ids: [...tokenizer.encode('six')],
        'agl.choices.2.prompt_token_ids': [...tokenizer.encode('seven eight')],
        'agl.choices.3.prompt_token_ids': [...tokenizer.encode('seven eight')],
        response_token_ids: ids('a'),
        'agl.choices.1.response_token_ids': ids('b c'),
        'agl.choices.2.response_token_ids': ids('d'),
        'agl.choices.3.response_token_ids': ids('e f'),
        'agl.tokens.complete': true,
      })
    })

    it('an echo with log probabilities that begin with null, and nothing generated', async () => {
      const echo = { echo: true, max_tokens: 0, logprobs: 1, return_token_ids: true }
      const setting = { server: { flavor: 'vllm' as const, reply: () => 'forty' } }
      for (const program of [completed(echo), completedStream({ ...echo, ...WITH_USAGE })]) {
        const { tokens, attributes } = await tell(make, setting, program)
        expect(tokens).toEqual({
          prompt_token_ids: [...tokenizer.encode('six')],
          response_token_ids: [],
          'agl.tokens.complete': true,
        })
        expect(parsed(attributes['logprobs.content'])).toMatchObject({ token_logprobs: [null] })
      }
    })

    it('an echo spelled in ids has no ids of the output, as nothing tells it from the prompt', async () => {
      const echo = { echo: true, logprobs: 1, return_tokens_as_token_ids: true }
      const setting = { server: { flavor: 'vllm' as const, reply: () => 'forty' } }
      expect((await tell(make, setting, completed(echo))).tokens).toEqual({})
    })
  })

  describe('case 19: thoughts', () => {
    it.each([['reasoning'], ['reasoning_content'], ['reasoning', 'reasoning_content']] as const)(
      'are read once from %s %s',
      async (...reasoningFields) => {
        const reply = () => ({ text: 'b', reasoning: 'thought' })
        const setting = { server: { flavor: 'vllm' as const, reply, reasoningFields } }
        for (const program of [asked(), streamed()]) {
          const { attributes } = await tell(make, setting, program)
          expect(attributes['gen_ai.completion.0.reasoning']).toBe('thought')
          expect(attributes['gen_ai.completion.0.content']).toBe('b')
        }
      },
    )

    it('that are hidden hide the ids: none are missing then', async () => {
      const reply = () => ({ text: 'b', reasoning: 'thought' })
      const setting = { server: { flavor: 'vllm' as const, reply } }
      const hide = { include_reasoning: false }
      for (const program of [asked(hide), streamed({ ...hide, ...WITH_USAGE })]) {
        const { tokens, attributes, status } = await tell(make, setting, program)
        expect(tokens).toEqual({})
        expect(attributes['gen_ai.usage.completion_tokens']).toBeGreaterThan(0)
        expect(status?.statusCode).toBe('OK')
      }
    })
  })

  describe('case 20: oddities of transport', () => {
    const oddities: Record<string, Fault['sse']> = {
      'lines that end in CRLF': { newline: '\r\n' },
      comments: { comments: true },
      'characters split between packets': { splitUtf8: true },
      'no final blank line': { finalBlankLine: false },
      'no [DONE]': { done: false },
      'none of these at the end': { done: false, finalBlankLine: false },
    }

    it.each(Object.entries(oddities))(
      '%s: the same result as without us, and its ids',
      async (_name, shape) => {
        const server: ModelServerOptions = {
          flavor: 'vllm',
          reply: () => 'fünf 🙂',
          fault: () => ({ sse: shape ?? {} }),
        }
        const program = streamed({ return_token_ids: true })
        const { result, tokens } = await tell(make, { server }, program)
        expect(result).toEqual(await without(make, { server }, program))
        const [prompt, ...chunks] = Array.isArray(result) ? result : []
        const ids: unknown = chunks.flatMap((chunk) => chunk.choices[0]?.token_ids ?? [])
        expect(tokens).toMatchObject({ prompt_token_ids: prompt.prompt_token_ids, response_token_ids: ids })
      },
    )

    it('data after [DONE] is not read', async () => {
      const frames = [
        role([1]),
        piece(0, { content: 'a' }, [3], STOP),
        '[DONE]',
        piece(0, { content: 'b' }, [9]),
      ]
      const reply: AnyReply = { frames: frames.map((data) => ({ data })) }
      const setting = { server: { reply: () => reply } }
      const { result, tokens } = await tell(make, setting, streamed())
      expect(result).toEqual(await without(make, setting, streamed()))
      expect(tokens).toEqual({ prompt_token_ids: [1], response_token_ids: [3] })
    })

    it('a first chunk with 200,000 ids', async () => {
      const prompt = Array.from({ length: 200_000 }, (_id, i) => (i * 7919) % 150_000)
      const reply = sse(role(prompt), piece(0, { content: 'a' }, [3], STOP), {
        choices: [],
        usage: usage(200_000, 1),
      })
      const { tokens } = await tell(make, { server: { reply: () => reply } }, streamed())
      expect(tokens).toEqual({
        prompt_token_ids: prompt,
        response_token_ids: [3],
        'agl.tokens.complete': true,
      })
    })

    it('a socket that is cut', async () => {
      const server: ModelServerOptions = {
        flavor: 'vllm',
        reply: () => 'forty two',
        fault: () => ({ cut: 'mid-stream', after: 2 }),
      }
      const program = streamed({ return_token_ids: true })
      const { result, tokens, status } = await tell(make, { server }, program)
      expect(result).toEqual(await without(make, { server }, program))
      expect(status?.statusCode).toBe('ERROR')
      expect(tokens).toMatchObject({ response_token_ids: IDS.slice(0, 1), 'agl.tokens.truncated': true })
    })

    it.each<[string, ModelServerOptions]>([
      ['an empty body with 500', { flavor: 'vllm', fault: () => ({ status: 500 }) }],
      ['an error that is a text with 401', { flavor: 'vllm', apiKey: 'another' }],
      ['a bare error of old vLLM', { flavor: 'vllm-patched', fault: () => ({ status: 400 }) }],
    ])('%s: the error of the client, no ids', async (_name, server) => {
      for (const program of [asked(), streamed()]) {
        const { result, tokens, status } = await tell(make, { server }, program)
        expect(result).toEqual(await without(make, { server }, program))
        expect(status?.statusCode).toBe('ERROR')
        expect(tokens).toEqual({})
      }
    })

    it('log probabilities of -Infinity, which JSON has no word for, are flagged and stay as they came', async () => {
      const values = [-0.5, -9999, -3.4028234663852886e38, -9998.5]
      const content = values.map((value) => entry('a', value))
      const choice = (index: number): object => ({
        index,
        message: { role: 'assistant', content: 'aaaa' },
        logprobs: { content: index === 0 ? content : content.slice(0, 2) },
        ...STOP,
      })
      const reply = whole({ choices: [choice(0), choice(1)] })
      const { attributes } = await tell(make, { server: { reply: () => reply } }, asked({ n: 2 }))
      expect(parsed(attributes['logprobs.content'])).toEqual(content)
      expect(parsed(attributes['agl.logprob_flags'])).toEqual({ 1: '-inf', 2: '-inf' })
      expect(parsed(attributes['agl.choices.1.logprob_flags'])).toEqual({ 1: '-inf' })

      const lists = { tokens: ['a', 'a', 'a'], token_logprobs: [null, -9999, -1], text_offset: [0, 1, 2] }
      const text = whole({ choices: [{ index: 0, text: 'aaa', logprobs: lists, ...STOP }] })
      const completion = await tell(make, { server: { reply: () => text } }, completed())
      expect(parsed(completion.attributes['agl.logprob_flags'])).toEqual({ 1: '-inf' })

      const chunk = piece(0, { content: 'a' }, [3], { logprobs: { content: [entry('a', -9999)] }, ...STOP })
      const stream = await tell(make, { server: { reply: () => sse(role([1]), chunk) } }, streamed())
      expect(parsed(stream.attributes['agl.logprob_flags'])).toEqual({ 0: '-inf' })
    })

    it('log probabilities that are all numbers have no flags', async () => {
      const setting = { server: { flavor: 'vllm' as const }, options: { logprobs: true } }
      const { attributes } = await tell(make, setting, asked())
      expect(attributes['logprobs.content']).toEqual(expect.any(String))
      expect(attributes).not.toHaveProperty('agl.logprob_flags')
    })
  })
})
