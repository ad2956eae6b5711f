import { record, start } from '@agl/core'
import { openai } from '@agl/openai'
import { loadTokenizer, startModelServer, type AnyReply } from '@agl/testkit'
import { createRequire } from 'node:module'
import OpenAI from 'openai'
import { describe, expect, it } from 'vitest'
import {
  ask,
  asked,
  CLIENTS,
  collect,
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
const IDS = [...tokenizer.encode('forty two'), tokenizer.special('<|im_end|>')]
const reply = () => 'forty two'
const OFF = { tokenIds: false }

describe.each(CLIENTS)('%s', (_, make) => {
  describe('SGLang', () => {
    const server = { flavor: 'sglang' as const, reply }
    const told = {
      prompt_token_ids: expect.any(Array),
      response_token_ids: IDS,
      'agl.tokens.complete': true,
    }

    it('has the ids of a whole chat in its choices', async () => {
      const { tokens } = await tell(make, { server }, asked({ n: 2 }))
      expect(tokens).toEqual({ ...told, 'agl.choices.1.response_token_ids': IDS })
    })

    it('has them in sglext, in streams on the last chunk', async () => {
      const fields = { return_input_ids: true, return_output_ids: true, n: 2 }
      const setting = { server, options: OFF }
      for (const program of [asked(fields), streamed({ ...fields, ...WITH_USAGE })]) {
        const { tokens } = await tell(make, setting, program)
        expect(tokens).toEqual({ ...told, 'agl.choices.1.response_token_ids': IDS })
      }
    })

    it('has them in the triples of meta_info', async () => {
      const fields = { return_prompt_token_ids: true, return_meta_info: true, logprobs: true }
      const { tokens } = await tell(make, { server, options: OFF }, asked(fields))
      expect(tokens).toEqual(told)
    })
  })

  describe('llama.cpp', () => {
    const server = { flavor: 'llamacpp' as const, reply }

    it('has the ids of the output in its log probabilities, or beside the answer', async () => {
      const told = { response_token_ids: IDS, 'agl.tokens.complete': true }
      for (const fields of [{ logprobs: true }, { return_tokens: true, verbose: true }])
        expect((await tell(make, { server }, asked(fields))).tokens).toEqual(told)
      const completion = async ({ client }: Context): Promise<unknown> =>
        client.completions.create({ model: 'm', prompt: 'six', logprobs: 1 })
      expect((await tell(make, { server }, completion)).tokens).toEqual(told)
    })

    it('leaves out the end in streams, which its usage shows', async () => {
      const { tokens } = await tell(make, { server }, streamed({ logprobs: true, ...WITH_USAGE }))
      expect(tokens).toEqual({
        'agl.partial.response_token_ids': IDS.slice(0, -1),
        'agl.tokens.complete': false,
      })
    })
  })

  describe('the Responses API of vLLM', () => {
    const server = { flavor: 'vllm' as const, reply }
    const told = {
      prompt_token_ids: expect.any(Array),
      response_token_ids: IDS,
      'agl.tokens.complete': true,
    }

    it('gives ids as raw messages, whole and at the end of a stream', async () => {
      const body = { model: 'm', input: 'six' }
      for (const program of [
        async ({ client }: Context) => client.responses.create(body),
        async ({ client }: Context) => collect(await client.responses.create({ ...body, stream: true })),
      ])
        expect((await tell(make, { server }, program)).tokens).toEqual(told)
    })

    it('gives log probabilities of its text only, which are not compared with the ids', async () => {
      const program = async ({ client }: Context): Promise<unknown> =>
        client.responses.create({ model: 'm', input: 'six' })
      const { tokens, attributes } = await tell(make, { server, options: { logprobs: true } }, program)
      expect(tokens).toEqual(told)
      expect(JSON.parse(String(attributes['logprobs.content']))).toHaveLength(IDS.length - 1)
    })

    it('joins the parts of an output; messages without ids among them are a hole, and alone nothing', async () => {
      const raw = (...lists: (number[] | undefined)[]): object[] =>
        lists.map((tokens) => ({ type: 'raw_message_tokens', message: 'm', tokens }))
      const answer = (output: object[]): AnyReply =>
        whole({
          object: 'response',
          output: [],
          input_messages: raw([1, 2]),
          output_messages: output,
          usage: { input_tokens: 2, output_tokens: 3 },
        })
      const program = async ({ client }: Context): Promise<unknown> =>
        client.responses.create({ model: 'm', input: 'six' })
      const outputs = [raw([3, 4], [5]), raw([3, 4, 5], undefined), [{ author: 'assistant' }]]
      const found: unknown[] = []
      for (const output of outputs)
        found.push((await tell(make, { server: { reply: () => answer(output) } }, program)).tokens)
      expect(found).toEqual([
        { prompt_token_ids: [1, 2], response_token_ids: [3, 4, 5], 'agl.tokens.complete': true },
        { 'agl.partial.prompt_token_ids': [1, 2], 'agl.tokens.complete': false },
        { prompt_token_ids: [1, 2], 'agl.tokens.complete': false },
      ])
    })
  })

  it('the stream helper carries the last ids only; the record has all', async () => {
    const program = async ({ client }: Context): Promise<unknown> =>
      client.chat.completions.stream(ask).finalChatCompletion()
    const setting = { server: { flavor: 'vllm' as const, reply } }
    const { result, tokens } = await tell(make, setting, program)
    expect(Object(result).choices[0].token_ids).toEqual(IDS.slice(-1))
    expect(tokens['response_token_ids']).toEqual(IDS)
  })

  it('an answer from LiteLLM’s cache has the ids of the prompt alone, and is incomplete', async () => {
    const choice = { index: 0, message: { role: 'assistant', content: 'a' }, ...STOP }
    const cached = whole({ prompt_token_ids: [1, 2], choices: [choice], usage: usage(2, 1) })
    const { tokens } = await tell(make, { server: { reply: () => cached } }, asked())
    expect(tokens).toEqual({ prompt_token_ids: [1, 2], 'agl.tokens.complete': false })

    const slices = sse(
      { choices: [{ index: 0, delta: { role: 'assistant', content: 'a ' } }] },
      { choices: [{ index: 0, delta: { content: 'b' } }] },
      { choices: [{ index: 0, delta: {}, ...STOP }] },
    )
    expect((await tell(make, { server: { reply: () => slices } }, streamed())).tokens).toEqual({})
  })

  it('a retry is one call with the ids of the answer', async () => {
    const server = { flavor: 'vllm' as const, reply, faults: [{ status: 503 }] }
    const setting = { server, client: { maxRetries: 1 } }
    const { result, spans, tokens } = await tell(make, setting, async (context) => {
      await asked()(context)
      return context.server.requests.length
    })
    expect(result).toBe(2)
    expect(spans).toHaveLength(1)
    expect(tokens['response_token_ids']).toEqual(IDS)
  })

  it('asResponse() leaves the answer to the program, without ids', async () => {
    const program = async ({ client }: Context): Promise<unknown> => {
      const response = await client.chat.completions.create({ ...ask }).asResponse()
      return response.status
    }
    const { attributes, tokens, result } = await tell(make, { server: { flavor: 'vllm', reply } }, program)
    expect(result).toBe(200)
    expect(attributes['agl.finish']).toBe('raw')
    expect(tokens).toEqual({})
  })

  it('streams that share a client keep their ids apart', async () => {
    const server = { flavor: 'vllm' as const, reply: ({ text }: { text: string }) => text }
    const texts = ['one', 'two two', 'three three three', 'four four four four']
    const { spans } = await tell(make, { server }, ({ client }) =>
      Promise.all(
        texts.map(async (content) =>
          collect(
            await client.chat.completions.create({
              model: 'm',
              messages: [{ role: 'user', content }],
              stream: true,
            }),
          ),
        ),
      ),
    )
    const ids = spans.map(({ attributes }) => String(attributes['response_token_ids']))
    const end = tokenizer.special('<|im_end|>')
    expect(ids.toSorted()).toEqual(texts.map((text) => String([...tokenizer.encode(text), end])).toSorted())
  })

  describe('bad input', () => {
    it.each(['NaN', '-Infinity', 'Infinity'])('%s in the JSON: the error of the client', async (value) => {
      const body = JSON.stringify({
        choices: [
          {
            index: 0,
            message: { content: 'a' },
            delta: { content: 'a' },
            token_ids: [4],
            logprobs: { content: [{ token: 'a', logprob: 'VALUE' }] },
          },
        ],
      }).replace('"VALUE"', value)
      const json: AnyReply = { body, headers: { 'content-type': 'application/json' } }
      const stream: AnyReply = {
        frames: [{ data: role([1]) }, { data: piece(0, { content: 'b' }, [3]) }, { data: body }, '[DONE]'],
      }
      for (const [given, program] of [
        [json, asked()],
        [stream, streamed()],
      ] as const) {
        const setting = { server: { reply: () => given } }
        const { result, status, tokens } = await tell(make, setting, program)
        expect(result).toEqual(await without(make, setting, program))
        expect(result).toHaveProperty('thrown')
        expect(status?.statusCode).toBe('ERROR')
        const prefix = {
          prompt_token_ids: [1],
          response_token_ids: [3],
          'agl.tokens.complete': false,
          'agl.tokens.truncated': true,
        }
        expect(tokens).toEqual(given === json ? {} : prefix)
      }
    })

    it.each([
      ['texts', ['3', '4']],
      ['fractions', [3.5]],
      ['negative', [-1]],
      ['too large', [2 ** 31]],
      ['nested', [[3]]],
      ['with a null', [3, null]],
      ['no list', 3],
    ])('ids that are %s are not recorded, wherever they are', async (_name, ids) => {
      const message = { role: 'assistant', content: 'a' }
      const choice = { index: 0, message, ...STOP }
      const answers = [
        { choices: [{ ...choice, token_ids: ids }] },
        { choices: [{ ...choice, provider_specific_fields: { token_ids: ids } }] },
        { choices: [choice], sglext: { output_ids: [ids] } },
        { choices: [choice], response_token_ids: [ids] },
        { choices: [choice], __verbose: { tokens: ids } },
      ]
      const found: unknown[] = []
      for (const answer of answers) {
        const given = whole({ ...answer, prompt_token_ids: [1], usage: usage(1, 1) })
        found.push((await tell(make, { server: { reply: () => given } }, asked())).tokens)
      }
      const told = { 'agl.partial.prompt_token_ids': [1], 'agl.tokens.complete': false }
      expect(found).toEqual(answers.map(() => told))
    })

    it('two choices with one index are not taken for one', async () => {
      const choice = { index: 0, message: { role: 'assistant', content: 'a' }, token_ids: [3], ...STOP }
      const given = whole({ prompt_token_ids: [1], choices: [choice, choice], usage: usage(1, 2) })
      const { tokens } = await tell(make, { server: { reply: () => given } }, asked({ n: 2 }))
      expect(tokens).toEqual({
        'agl.partial.prompt_token_ids': [1],
        'agl.partial.response_token_ids': [3],
        'agl.tokens.complete': false,
      })
    })

    it('a hole in the ids of a stream is no clean prefix when it is cut', async () => {
      const given = sse(role([1]), piece(0, { content: 'a' }, [3]), piece(0, { content: 'b' }, ['x']))
      const { tokens } = await tell(make, { server: { reply: () => given } }, streamed())
      expect(tokens).toEqual({
        'agl.partial.prompt_token_ids': [1],
        'agl.partial.response_token_ids': [3],
        'agl.tokens.complete': false,
      })
    })
  })
})

describe('without vllm()', () => {
  it('openai() alone records the ids that a server sends, and asks for none', async () => {
    await using server = await startModelServer({ flavor: 'vllm-patched', reply })
    await using _ = await start({ plugins: [openai()], log: 'silent' })
    const client = new OpenAI({ apiKey: 'k', baseURL: server.baseURL })
    const { spans } = await record('test', () => client.chat.completions.create(ask))
    expect(spans[0]?.attributes).toMatchObject({
      response_token_ids: Int32Array.from(IDS),
      'agl.tokens.complete': true,
    })
    expect(server.requests[0]?.body).toEqual(ask)
  })
})

describe('two copies of the client', () => {
  it('ES module and CommonJS at once are both asked and read', async () => {
    const module: unknown = createRequire(import.meta.url)('openai')
    const Copy: unknown = Object(module).OpenAI
    expect(Copy).not.toBe(OpenAI)
    if (typeof Copy !== 'function') throw new Error('There is no CommonJS copy.')
    for (const [, make] of [
      ['esm', (options: object) => new OpenAI(options)],
      ['cjs', (options: object): OpenAI => Reflect.construct(Copy, [options])],
    ] as const) {
      const { tokens } = await tell(make, { server: { flavor: 'vllm', reply } }, asked())
      expect(tokens['response_token_ids']).toEqual(IDS)
    }
  })
})
