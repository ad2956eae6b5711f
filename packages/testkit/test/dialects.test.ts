import { describe, expect, it } from 'vitest'
import { loadTokenizer, startModelServer, type Flavor, type ModelServerOptions } from '../src/index.ts'
import { ask, chat, chatChunks, send, stream, type Body } from './support.ts'

const tokenizer = await loadTokenizer()
const END = tokenizer.special('<|im_end|>')
const PROMPT = '<|im_start|>user\nhello there<|im_end|>\n<|im_start|>assistant\n'
const IDS = [...tokenizer.encode('Hi there!'), END]
const CALLS = [{ name: 'add', arguments: { a: 1, b: 22 } }]
const WITH_IDS = { return_token_ids: true }

function serve(flavor: Flavor, options: ModelServerOptions = {}): ReturnType<typeof startModelServer> {
  return startModelServer({ flavor, reply: () => 'Hi there!', deterministic: true, ...options })
}

function first(answer: Body): Body {
  const [choice] = Array.isArray(answer['choices']) ? answer['choices'] : []
  return choice
}

/** The ids of a list that should be a prompt, as text. */
function decoded(ids: unknown): string {
  return Array.isArray(ids) ? tokenizer.decode(ids) : String(ids)
}

/** The ids of all chunks' first choices. */
function streamedIds(chunks: readonly { choices: { token_ids?: number[] | null }[] }[]): number[] {
  return chunks.flatMap(({ choices }) => choices[0]?.token_ids ?? [])
}

describe('vllm-0.10', () => {
  it('streams without the ids of what a parser swallows, while whole answers have them', async () => {
    await using server = await serve('vllm-0.10', { reply: () => ({ text: 'Adding', toolCalls: CALLS }) })
    const whole = await chat(server, WITH_IDS)
    const chunks = await chatChunks(server, { ...WITH_IDS, stream_options: { include_usage: true } })
    const ids = first(whole)['token_ids']
    expect(ids).toHaveLength(Number(Object(chunks.at(-1)?.usage).completion_tokens))
    expect(streamedIds(chunks).length).toBeLessThan(Array.isArray(ids) ? ids.length : 0)
    expect(
      chunks.filter(({ choices }) => Object.keys(choices[0]?.delta ?? { a: 1 }).length === 0),
    ).toHaveLength(1)
  })

  it('has no output ids of gpt-oss models, but those of the prompt', async () => {
    await using server = await serve('vllm-0.10')
    const answer = await chat(server, { ...WITH_IDS, model: 'openai/gpt-oss-20b' })
    expect(first(answer)['token_ids']).toBeNull()
    expect(decoded(answer['prompt_token_ids'])).toBe(PROMPT)
  })

  it('names thoughts reasoning_content and tells its version', async () => {
    await using server = await serve('vllm-0.10', { reply: () => ({ text: 'b', reasoning: 'a' }) })
    expect(first(await chat(server))['message']).toMatchObject({ reasoning_content: 'a', content: 'b' })
    expect(await (await fetch(`${server.url}/version`)).json()).toEqual({ version: '0.11.2' })
  })
})

describe('vllm-patched', () => {
  it('has the ids of all choices at the top of a whole chat answer, unasked', async () => {
    await using server = await serve('vllm-patched', {
      reply: () => ({ choices: [{ text: 'Hi there!' }, {}] }),
    })
    const answer = await chat(server, { n: 2 })
    expect(answer['response_token_ids']).toEqual([IDS, [END]])
    expect(decoded(answer['prompt_token_ids'])).toBe(PROMPT)
    expect(first(answer)).not.toHaveProperty('token_ids')
  })

  it('has none in streams or completions, asked or not', async () => {
    await using server = await serve('vllm-patched')
    const chunks = await chatChunks(server, WITH_IDS)
    const completion = await ask(server, '/v1/completions', { model: 'm', prompt: 'hi', ...WITH_IDS })
    expect(JSON.stringify([chunks, completion])).not.toContain('token_ids')
  })

  it('reports errors bare, in streams too', async () => {
    const bare = { object: 'error', message: expect.any(String), type: expect.any(String), param: null }
    await using server = await serve('vllm-patched', { faults: [{ status: 400 }, { error: 'data' }] })
    expect(await chat(server)).toEqual({ ...bare, code: 400 })
    const data = await stream(server, '/v1/chat/completions', { model: 'm', messages: [] })
    expect(data.at(-2)).toEqual({ ...bare, code: 500 })
  })
})

describe('litellm', () => {
  it('moves what it does not know of a choice aside, and keeps the top', async () => {
    await using server = await serve('litellm')
    const answer = await chat(server, WITH_IDS)
    expect(first(answer)).toEqual({
      index: 0,
      message: expect.objectContaining({ content: 'Hi there!' }),
      logprobs: null,
      finish_reason: 'stop',
      provider_specific_fields: { token_ids: IDS },
    })
    expect(decoded(answer['prompt_token_ids'])).toBe(PROMPT)
  })

  it('loses ids in streams: of the prompt, of chunks without text, of the end', async () => {
    await using server = await serve('litellm')
    const body = { ...WITH_IDS, logprobs: true, stream_options: { include_usage: true } }
    const chunks = await chatChunks(server, body)
    expect(streamedIds(chunks)).toEqual(IDS.slice(0, -1))
    expect(JSON.stringify(chunks)).not.toContain('prompt_token_ids')
    expect(chunks.at(0)?.choices[0]?.delta).toEqual({ role: 'assistant', content: expect.any(String) })
    expect(chunks.at(-2)?.choices).toEqual([{ index: 0, delta: {}, finish_reason: 'stop' }])
    expect(chunks.at(-1)).toMatchObject({ choices: [{ index: 0, delta: {} }], usage: expect.any(Object) })
  })

  it('reports errors with text for a code, and names its calls', async () => {
    await using server = await serve('litellm', { faults: [{ status: 404 }] })
    const response = await send(server, '/v1/chat/completions', { model: 'm', messages: [] })
    expect(await response.json()).toEqual({
      error: { message: expect.any(String), type: 'None', param: 'None', code: '404' },
    })
    expect(response.headers.get('x-litellm-call-id')).not.toBeNull()
  })
})

describe('sglang', () => {
  it('has ids inside the choices of a whole chat, and refuses to stream them', async () => {
    await using server = await serve('sglang')
    const answer = await chat(server, WITH_IDS)
    expect(first(answer)).toMatchObject({ token_ids: IDS, matched_stop: null })
    expect(decoded(first(answer)['prompt_token_ids'])).toBe(PROMPT)
    expect(answer).not.toHaveProperty('prompt_token_ids')
    const refused = await send(server, '/v1/chat/completions', { messages: [], stream: true, ...WITH_IDS })
    expect(refused.status).toBe(400)
  })

  it('has log probabilities with ids in meta_info', async () => {
    await using server = await serve('sglang')
    const body = { return_meta_info: true, return_prompt_token_ids: true, logprobs: true }
    const choice = first(await chat(server, body))
    const { output_token_logprobs: triples } = Object(choice['meta_info'])
    expect(triples).toHaveLength(IDS.length)
    expect(triples[0]).toEqual([expect.any(Number), IDS[0], 'Hi'])
    expect(decoded(choice['prompt_token_ids'])).toBe(PROMPT)
  })

  it.each<[string, Body, Record<string, string>]>([
    ['by body', { return_input_ids: true, return_output_ids: true }, {}],
    ['by header', {}, { 'x-sglext-return-input-ids': 'true', 'x-sglext-return-output-ids': 'true' }],
  ])('has sglext when asked %s, in streams once, at the end', async (_, body, headers) => {
    await using server = await serve('sglang')
    const asked = { model: 'm', messages: [{ role: 'user', content: 'hello there' }], n: 2, ...body }
    const response = await send(server, '/v1/chat/completions', asked, { headers })
    const whole: Body = JSON.parse(await response.text())
    expect(whole['sglext']).toMatchObject({ output_ids: [IDS, IDS] })
    const streamed = await send(server, '/v1/chat/completions', { ...asked, stream: true }, { headers })
    const lines = (await streamed.text()).split('\n').filter((line) => line.includes('sglext'))
    expect(lines).toHaveLength(1)
    expect(JSON.parse(lines[0]?.slice('data: '.length) ?? '')).toMatchObject({
      choices: [],
      sglext: whole['sglext'],
    })
    expect(decoded(Object(whole['sglext']).input_ids)).toBe(PROMPT)
  })

  it('streams completions with ids in each choice', async () => {
    await using server = await serve('sglang')
    const data = await stream(server, '/v1/completions', { model: 'm', prompt: 'hi', ...WITH_IDS })
    const chunks = data.slice(0, -1).map((chunk) => first(Object(chunk)))
    expect(chunks.flatMap((choice) => choice['token_ids'])).toEqual(IDS)
    expect(chunks[0]?.['prompt_token_ids']).toEqual([...tokenizer.encode('hi')])
  })
})

describe('llamacpp', () => {
  const idsOf = (choice: Body): unknown[] => {
    const { content } = Object(choice['logprobs'])
    return Array.isArray(content) ? content.map((entry) => Object(entry).id) : []
  }

  it('has an id and the true bytes in each log probability, in completions too', async () => {
    await using server = await serve('llamacpp', { reply: () => '🙂' })
    const choice = first(await chat(server, { logprobs: true, top_logprobs: 0 }))
    const { content } = Object(choice['logprobs'])
    expect(idsOf(choice)).toEqual([...tokenizer.encode('🙂'), END])
    const bytes = content.slice(0, -1).flatMap((entry: Body) => entry['bytes'])
    expect(new TextDecoder().decode(Uint8Array.from(bytes))).toBe('🙂')
    expect(content[0].token).toBe('')
    const completion = await ask(server, '/v1/completions', { model: 'm', prompt: 'hi', logprobs: 1 })
    expect(idsOf(first(completion))).toEqual(idsOf(choice))
  })

  it('streams them on the chunks before the last', async () => {
    await using server = await serve('llamacpp')
    const chunks = await chatChunks(server, { logprobs: true })
    expect(chunks.flatMap(({ choices }) => idsOf(Object(choices[0])))).toEqual(IDS.slice(0, -1))
    expect(chunks.at(-1)).toMatchObject({
      choices: [{ index: 0, delta: {}, finish_reason: 'stop' }],
      timings: { predicted_n: IDS.length },
    })
    const data = await stream(server, '/v1/completions', { model: 'm', prompt: 'hi', logprobs: 1 })
    const pieces = data.slice(0, -1).map((chunk) => first(Object(chunk)))
    expect(pieces.flatMap(idsOf)).toEqual(IDS.slice(0, -1))
    expect(pieces.map(({ text }) => text).join('')).toBe('Hi there!')
  })

  it('has ids beside the answer with return_tokens and verbose', async () => {
    await using server = await serve('llamacpp')
    const answer = await chat(server, { return_tokens: true, verbose: true })
    expect(Object(answer['__verbose']).tokens).toEqual(IDS)
    expect(await chat(server, { return_tokens: true })).not.toHaveProperty('__verbose')
  })
})
