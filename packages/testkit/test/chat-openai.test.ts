import { afterEach, expect, it } from 'vitest'
import { loadTokenizer, startModelServer, type ModelServer, type ModelServerOptions } from '../src/index.ts'
import { ask, chat, chatChunks, HELLO, pieces, send, stream } from './support.ts'

const tokenizer = await loadTokenizer()

let server: ModelServer
async function openai(options: ModelServerOptions): Promise<ModelServer> {
  return (server = await startModelServer({ deterministic: true, ...options }))
}
afterEach(() => server.close())

it('answers in the shape of api.openai.com, without ids, even where they are asked for', async () => {
  await openai({ replies: ['Hi there!'] })
  expect(await chat(server, { return_token_ids: true })).toEqual({
    id: expect.stringMatching(/^chatcmpl-/),
    object: 'chat.completion',
    created: 1_700_000_000,
    model: 'm',
    choices: [
      {
        index: 0,
        message: { role: 'assistant', content: 'Hi there!', refusal: null, annotations: [] },
        logprobs: null,
        finish_reason: 'stop',
      },
    ],
    service_tier: 'default',
    system_fingerprint: 'fp_testkit',
    usage: {
      prompt_tokens: 11,
      total_tokens: 15,
      completion_tokens: 4,
      prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
      completion_tokens_details: {
        reasoning_tokens: 0,
        audio_tokens: 0,
        accepted_prediction_tokens: 0,
        rejected_prediction_tokens: 0,
      },
    },
  })
})

it('streams a role chunk, the text, a finish chunk, and a usage chunk when asked', async () => {
  await openai({ reply: () => 'one two' })
  const chunks = await chatChunks(server, { stream_options: { include_usage: true } })
  expect(chunks.map(({ choices, usage }) => [choices[0]?.delta, choices[0]?.finish_reason, usage])).toEqual([
    [{ role: 'assistant', content: '', refusal: null }, null, null],
    [{ content: 'one' }, null, null],
    [{ content: ' two' }, null, null],
    [{}, 'stop', null],
    [undefined, undefined, expect.objectContaining({ completion_tokens: 3 })],
  ])
  expect((await chatChunks(server)).some((chunk) => 'usage' in chunk)).toBe(false)
})

it('never streams half a character, and keeps the log probabilities of the tokens that it held back', async () => {
  const text = 'go 👩‍🚀 日本'
  await openai({ reply: () => text })
  const chunks = await chatChunks(server, { logprobs: true, top_logprobs: 1 })
  const said = pieces(chunks, 'content')
  expect(said.join('')).toBe(text)
  expect(said.some((piece) => piece.includes('\uFFFD'))).toBe(false)

  const streamed = chunks.flatMap(({ choices }) => choices[0]?.logprobs?.content ?? [])
  const whole = await chat(server, { logprobs: true, top_logprobs: 1 })
  expect(whole).toHaveProperty('choices.0.logprobs', { content: streamed, refusal: null })
  const bytes = streamed.flatMap((entry) =>
    'bytes' in entry && Array.isArray(entry.bytes) ? entry.bytes : [],
  )
  expect(new TextDecoder().decode(Uint8Array.from(bytes))).toBe(text)
  expect(streamed.map(({ token }) => token)).toContain('\\xf0\\x9f')
})

it('has refusals with log probabilities of their own', async () => {
  await openai({ reply: () => ({ refusal: 'I cannot.' }) })
  const answer = await chat(server, { logprobs: true })
  expect(answer).toMatchObject({
    choices: [
      {
        message: { content: null, refusal: 'I cannot.' },
        logprobs: { content: null, refusal: [{ token: 'I' }, { token: ' cannot' }, { token: '.' }] },
      },
    ],
  })
  const chunks = await chatChunks(server, { logprobs: true })
  expect(pieces(chunks, 'refusal').join('')).toBe('I cannot.')
  expect(chunks[1]?.choices[0]?.logprobs).toMatchObject({ content: null, refusal: [{ token: 'I' }] })
})

it('streams tool calls by index: name and id first, then pieces of the arguments', async () => {
  await openai({ replies: [{ toolCalls: [{ id: 'call_1', name: 'add', arguments: { a: 1 } }] }] })
  const chunks = await chatChunks(server)
  const deltas = chunks.flatMap(({ choices }) => choices.map(({ delta }) => delta['tool_calls'] ?? null))
  expect(deltas[1]).toEqual([
    { index: 0, id: 'call_1', type: 'function', function: { name: 'add', arguments: '' } },
  ])
  expect(deltas[2]).toEqual([{ index: 0, function: { arguments: '{"' } }])
  expect(chunks.at(-1)?.choices[0]?.finish_reason).toBe('tool_calls')
})

it('counts thoughts without showing them, or shows them under the names given', async () => {
  await openai({ replies: [{ reasoning: 'hm', text: 'ok' }] })
  const hidden = await chat(server)
  expect(hidden).toHaveProperty('usage.completion_tokens_details.reasoning_tokens', 1)
  expect(JSON.stringify(hidden)).not.toContain('hm')
  await server.close()

  await openai({
    reply: () => ({ reasoning: 'hm', text: 'ok' }),
    reasoningFields: ['reasoning', 'reasoning_content'],
  })
  expect(await chat(server)).toMatchObject({
    choices: [{ message: { reasoning: 'hm', reasoning_content: 'hm' } }],
  })
  const chunks = await chatChunks(server)
  expect(chunks[1]?.choices[0]?.delta).toEqual({ reasoning: 'hm', reasoning_content: 'hm' })
})

it('refuses unknown fields with strictFields', async () => {
  await openai({ strictFields: true })
  const refused = await send(server, '/v1/chat/completions', {
    model: 'm',
    messages: HELLO,
    return_token_ids: true,
  })
  expect(refused.status).toBe(400)
  expect(await refused.json()).toEqual({
    error: {
      message: 'Unrecognized request argument supplied: return_token_ids',
      type: 'invalid_request_error',
      param: 'return_token_ids',
      code: null,
    },
  })
  const known = {
    stream: true,
    stream_options: { include_usage: true },
    tools: [],
    temperature: 0,
    seed: 1,
    logprobs: true,
  }
  expect((await send(server, '/v1/chat/completions', { model: 'm', messages: HELLO, ...known })).status).toBe(
    200,
  )
})

it("answers on Azure's paths, with its filter chunk in front of a stream", async () => {
  await openai({ reply: () => 'Hi', apiKey: 'k' })
  const path = '/openai/deployments/my-gpt/chat/completions?api-version=2025-01-01'
  expect((await send(server, path, { messages: HELLO })).status).toBe(401)
  const response = await send(server, path, { messages: HELLO }, { headers: { 'api-key': 'k' } })
  expect(await response.json()).toMatchObject({ model: 'my-gpt', choices: [{ message: { content: 'Hi' } }] })
  const streamed = await send(
    server,
    path,
    { messages: HELLO, stream: true },
    { headers: { 'api-key': 'k' } },
  )
  expect(await streamed.text()).toMatch(/^data: \{"choices":\[\],.*"prompt_filter_results"/)
})

it('lets a reply replace id, model, usage and finish, add fields, or leave usage out', async () => {
  const reply = {
    text: 'Hi',
    id: 'x',
    model: 'gpt-9',
    finish: 'content_filter',
    usage: { prompt_tokens: 7 },
    extra: { note: 1 },
  }
  await openai({ replies: [reply, { text: 'Hi', usage: null }] })
  expect(await chat(server)).toMatchObject({
    id: 'x',
    model: 'gpt-9',
    choices: [{ finish_reason: 'content_filter' }],
    usage: { prompt_tokens: 7, completion_tokens: 2 },
    note: 1,
  })
  expect(await chat(server)).not.toHaveProperty('usage')
})

it('embeds texts and tokens as unit vectors, packed when asked, alike for alike', async () => {
  await openai({
    replies: [
      {},
      {},
      {
        vectors: [
          [1, 0],
          [0, 1],
        ],
      },
    ],
  })
  const ids = [...tokenizer.encode('red apple')]
  const plain = await ask(server, '/v1/embeddings', {
    model: 'e',
    input: ['red apple', 'a green tree'],
    dimensions: 8,
  })
  expect(plain).toMatchObject({ object: 'list', model: 'e', usage: { prompt_tokens: 5, total_tokens: 5 } })
  const [first, second] = vectors(plain)
  expect(first).toHaveLength(8)
  expect(Math.hypot(...(first ?? []))).toBeCloseTo(1)
  expect(second).not.toEqual(first)

  const packed = await ask(server, '/v1/embeddings', {
    model: 'e',
    input: [ids],
    dimensions: 8,
    encoding_format: 'base64',
  })
  const bytes = Buffer.from(String(vectors(packed)[0]), 'base64')
  expect([...new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + 32))]).toEqual(
    first?.map((value) => Math.fround(value)),
  )
  expect(vectors(await ask(server, '/v1/embeddings', { model: 'e', input: ['a', 'b'] }))).toEqual([
    [1, 0],
    [0, 1],
  ])
})

function vectors(answer: Record<string, unknown>): number[][] {
  return Array.isArray(answer['data']) ? answer['data'].map(({ embedding }) => embedding) : []
}

it('replays recorded frames as they are', async () => {
  await openai({
    replies: [
      {
        frames: [
          { choices: [{ index: 0, delta: { content: 'a' } }] },
          { event: 'note', data: { x: 1 } },
          { raw: 'data: {"x":2}\n\n' },
          '[DONE]',
        ],
      },
    ],
  })
  const response = await send(server, '/v1/chat/completions', { messages: HELLO, stream: true })
  expect(await response.text()).toBe(
    'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n' +
      'event: note\ndata: {"x":1}\n\ndata: {"x":2}\n\ndata: [DONE]\n\n',
  )
})

it('sends a raw body with its status and headers', async () => {
  await openai({
    replies: [{ body: '<html>', status: 502, headers: { 'content-type': 'text/html' } }, { body: { a: 1 } }],
  })
  const page = await send(server, '/v1/chat/completions', { messages: HELLO })
  expect([page.status, page.headers.get('content-type'), await page.text()]).toEqual([
    502,
    'text/html',
    '<html>',
  ])
  expect(await chat(server)).toEqual({ a: 1 })
})

it('streams the completions endpoint as well', async () => {
  await openai({ replies: ['one two'] })
  const data = await stream(server, '/v1/completions', {
    model: 'm',
    prompt: 'count',
    stream_options: { include_usage: true },
  })
  expect(data.at(-1)).toBe('[DONE]')
  expect(data[0]).toMatchObject({
    object: 'text_completion',
    choices: [{ text: 'one', finish_reason: null }],
    usage: null,
  })
  expect(data.at(-2)).toMatchObject({ choices: [], usage: { prompt_tokens: 1, completion_tokens: 3 } })
})
