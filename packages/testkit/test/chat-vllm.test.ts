import { afterEach, expect, it } from 'vitest'
import { loadTokenizer, startModelServer, type ModelServer, type ModelServerOptions } from '../src/index.ts'
import { chat, chatChunks, idsOf } from './support.ts'

const tokenizer = await loadTokenizer()
const END = tokenizer.special('<|im_end|>')
const PROMPT = '<|im_start|>user\nhello there<|im_end|>\n<|im_start|>assistant\n'
const CALLS = [
  { name: 'add', arguments: { a: 1, b: 22 } },
  { name: 'mul', arguments: '{"a": 3}' },
]

let server: ModelServer
async function vllm(options: ModelServerOptions): Promise<ModelServer> {
  return (server = await startModelServer({ flavor: 'vllm', deterministic: true, ...options }))
}
afterEach(() => server.close())

it('puts prompt ids at the top and output ids in the choice, and counts them in the usage', async () => {
  await vllm({ replies: ['Hi there!'] })
  const answer = await chat(server, { return_token_ids: true })
  const prompt = answerIds(answer)
  const ids = [...tokenizer.encode('Hi there!'), END]
  expect(tokenizer.decode(prompt)).toBe(PROMPT)
  expect(answer).toEqual({
    id: expect.stringMatching(/^chatcmpl-\d{32}$/),
    object: 'chat.completion',
    created: 1_700_000_000,
    model: 'm',
    choices: [
      {
        index: 0,
        message: {
          role: 'assistant',
          content: 'Hi there!',
          refusal: null,
          annotations: null,
          audio: null,
          function_call: null,
          tool_calls: [],
          reasoning: null,
        },
        logprobs: null,
        finish_reason: 'stop',
        stop_reason: null,
        token_ids: ids,
      },
    ],
    service_tier: null,
    system_fingerprint: null,
    usage: {
      prompt_tokens: prompt.length,
      total_tokens: prompt.length + ids.length,
      completion_tokens: ids.length,
      prompt_tokens_details: null,
    },
    prompt_logprobs: null,
    prompt_token_ids: prompt,
    kv_transfer_params: null,
  })
})

function answerIds(answer: Record<string, unknown>): number[] {
  const ids = answer['prompt_token_ids']
  return Array.isArray(ids) ? ids : []
}

it('says null, not nothing, where ids were not asked for', async () => {
  await vllm({ reply: () => 'Hi' })
  const answer = await chat(server)
  expect(answer).toHaveProperty('prompt_token_ids', null)
  expect(answer).toHaveProperty('choices.0.token_ids', null)
  const chunks = await chatChunks(server)
  expect(chunks[0]).toHaveProperty('prompt_token_ids', null)
  expect(chunks[1]?.choices[0]).toHaveProperty('token_ids', null)
})

it('streams prompt ids on the role chunk alone and output ids on every other', async () => {
  await vllm({ replies: ['one two'] })
  const chunks = await chatChunks(server, { return_token_ids: true })
  const [first, ...rest] = chunks
  expect(tokenizer.decode(first?.prompt_token_ids ?? [])).toBe(PROMPT)
  expect(first?.choices).toEqual([
    { index: 0, delta: { role: 'assistant', content: '' }, logprobs: null, finish_reason: null },
  ])
  expect(rest.map((chunk) => 'prompt_token_ids' in chunk)).toEqual([false, false, false])
  expect(rest.map(({ choices }) => choices[0])).toEqual([
    {
      index: 0,
      delta: { content: 'one' },
      logprobs: null,
      finish_reason: null,
      token_ids: [...tokenizer.encode('one')],
    },
    {
      index: 0,
      delta: { content: ' two' },
      logprobs: null,
      finish_reason: null,
      token_ids: [...tokenizer.encode(' two')],
    },
    {
      index: 0,
      delta: { content: '' },
      logprobs: null,
      finish_reason: 'stop',
      stop_reason: null,
      token_ids: [END],
    },
  ])
})

it('interleaves the chunks of several choices, each with a role chunk of its own', async () => {
  await vllm({ replies: [{ choices: [{ text: 'a b c' }, { text: 'x' }] }] })
  const chunks = await chatChunks(server, { n: 2, return_token_ids: true })
  expect(chunks.map(({ choices }) => choices.map(({ index }) => index))).toEqual(
    [0, 1, 0, 1, 0, 1, 0, 0].map((index) => [index]),
  )
  expect(chunks[1]?.prompt_token_ids).toEqual(chunks[0]?.prompt_token_ids)
  expect(idsOf(chunks, 0)).toEqual([...tokenizer.encode('a b c'), END])
  expect(idsOf(chunks, 1)).toEqual([...tokenizer.encode('x'), END])
})

it('sends the ids that a parser swallows in chunks without text, and only where they were asked for', async () => {
  await vllm({ reply: () => ({ reasoning: 'hm', text: 'ok', toolCalls: CALLS }) })
  const chunks = await chatChunks(server, { return_token_ids: true })
  const silent = chunks.filter(({ choices }) => Object.keys(choices[0]?.delta ?? { x: 1 }).length === 0)
  expect(silent.length).toBeGreaterThan(4)
  expect(tokenizer.decode(idsOf(chunks))).toBe(
    '<think>hm</think>ok<tool_call>{"name": "add", "arguments": {"a":1,"b":22}}</tool_call>' +
      '<tool_call>{"name": "mul", "arguments": {"a": 3}}</tool_call><|im_end|>',
  )
  const plain = await chatChunks(server)
  expect(plain.slice(0, -1).every(({ choices }) => Object.keys(choices[0]?.delta ?? {}).length > 0)).toBe(
    true,
  )
  expect(plain.at(-1)?.choices[0]).toMatchObject({ delta: {}, finish_reason: 'tool_calls' })

  const whole = await chat(server, { return_token_ids: true })
  expect(whole).toHaveProperty('choices.0.token_ids', idsOf(chunks))
  expect(whole).toHaveProperty('choices.0.message.tool_calls', [
    { id: expect.any(String), type: 'function', function: { name: 'add', arguments: '{"a":1,"b":22}' } },
    { id: expect.any(String), type: 'function', function: { name: 'mul', arguments: '{"a": 3}' } },
  ])
})

it('streams fragments of parallel tool calls in turn without changing the order of the ids', async () => {
  await vllm({ reply: ({ index }) => ({ toolCalls: CALLS, interleaveToolCalls: index === 0 }) })
  const [mixed, straight] = [
    await chatChunks(server, { return_token_ids: true }),
    await chatChunks(server, { return_token_ids: true }),
  ]
  expect(idsOf(mixed)).toEqual(idsOf(straight))

  const fragments = mixed.flatMap(({ choices }) => toolCalls(choices[0]?.delta))
  const order = fragments.map(({ index }) => index)
  expect(order.slice(0, 6)).toEqual([0, 1, 0, 1, 0, 1])
  const joined = [0, 1].map((index) =>
    fragments
      .map((fragment) => (fragment.index === index ? (fragment.function.arguments ?? '') : ''))
      .join(''),
  )
  expect(joined).toEqual(['{"a":1,"b":22}', '{"a": 3}'])
  expect(fragments[0]).toEqual({
    index: 0,
    id: expect.any(String),
    type: 'function',
    function: { name: 'add' },
  })
  expect(Object.keys(fragments.at(-1) ?? {})).toEqual(['index', 'function'])
})

interface Fragment {
  index: number
  id?: string
  function: { name?: string; arguments?: string }
}

function toolCalls(delta: Record<string, unknown> | undefined): Fragment[] {
  return Array.isArray(delta?.['tool_calls']) ? delta['tool_calls'] : []
}

it('adds a usage chunk without choices when asked, and running usage on every chunk when asked for that', async () => {
  await vllm({ reply: () => 'one two' })
  expect((await chatChunks(server)).some((chunk) => 'usage' in chunk)).toBe(false)

  const asked = await chatChunks(server, { stream_options: { include_usage: true } })
  expect(asked.at(-1)?.choices).toEqual([])
  expect(asked.slice(0, -1).some((chunk) => 'usage' in chunk)).toBe(false)
  expect(asked.at(-1)?.usage).toMatchObject({ completion_tokens: 3, prompt_tokens: 11 })

  const running = await chatChunks(server, {
    stream_options: { include_usage: true, continuous_usage_stats: true },
  })
  expect(running.map(({ usage }) => usage?.['completion_tokens'])).toEqual([0, 1, 2, 3, 3])
})

it('gives one log probability per token, the end token included, and U+FFFD for half characters', async () => {
  await vllm({ reply: () => ({ text: 'a 🚀', logprobs: [-0.5, -9999] }) })
  const answer = await chat(server, { logprobs: true, top_logprobs: 2, return_token_ids: true })
  const content = entries(answer)
  const ids = [...tokenizer.encode('a 🚀'), END]
  expect(content).toHaveLength(ids.length)
  expect(content.map(({ token }) => token)).toEqual(ids.map((id) => tokenizer.token(id).text))
  expect(content.slice(0, 2).map(({ logprob }) => logprob)).toEqual([-0.5, -9999])
  for (const { token, logprob, top_logprobs: top } of content) {
    expect(top).toHaveLength(2)
    expect(top[0]).toMatchObject({ token, logprob })
    expect(top.reduce((sum, entry) => sum + Math.exp(entry.logprob), 0)).toBeLessThanOrEqual(1)
  }
  expect(content.find(({ token }) => token.includes('\uFFFD'))?.bytes).toEqual(
    expect.arrayContaining([239, 191, 189]),
  )

  const chunks = await chatChunks(server, { logprobs: true, return_token_ids: true })
  const streamed = chunks.flatMap(({ choices }) => choices[0]?.logprobs?.content ?? [])
  expect(streamed.map(({ token }) => token)).toEqual(content.map(({ token }) => token))
  expect(chunks[0]?.choices[0]?.logprobs).toBeNull()
})

interface Entry {
  token: string
  logprob: number
  bytes: number[]
  top_logprobs: { token: string; logprob: number; bytes: number[] }[]
}

function entries(answer: Record<string, unknown>): Entry[] {
  const [choice] = Array.isArray(answer['choices']) ? answer['choices'] : []
  return choice.logprobs.content
}

it('spells tokens as ids on request: the selected bytes are those of the text, the alternatives those of the id', async () => {
  await vllm({ replies: ['Hi'] })
  const answer = await chat(server, { logprobs: true, top_logprobs: 1, return_tokens_as_token_ids: true })
  const [first] = entries(answer)
  const shown = `token_id:${tokenizer.encode('Hi')[0]}`
  expect(first).toMatchObject({ token: shown, bytes: [72, 105] })
  expect(first?.top_logprobs).toEqual([
    { token: shown, logprob: first?.logprob, bytes: [...new TextEncoder().encode(shown)] },
  ])
})

it('hides ids, log probabilities and thoughts with include_reasoning false, and still counts them', async () => {
  await vllm({ replies: [{ reasoning: 'hm hm', text: 'ok' }] })
  const answer = await chat(server, { include_reasoning: false, return_token_ids: true, logprobs: true })
  expect(answer).toMatchObject({ prompt_token_ids: null, choices: [{ token_ids: null, logprobs: null }] })
  expect(answer).not.toHaveProperty('choices.0.message.reasoning')
  expect(answer).toHaveProperty('usage.completion_tokens', 2 + tokenizer.encode('hm hm').length + 2)
})

it('puts several tokens in a chunk, and the end token beside the last', async () => {
  await vllm({ replies: [{ text: 'one two three', tokensPerChunk: 4 }, 'one two three'] })
  const merged = await chatChunks(server, { return_token_ids: true })
  expect(merged.slice(1).map(({ choices }) => choices[0])).toEqual([
    expect.objectContaining({
      delta: { content: 'one two three' },
      finish_reason: 'stop',
      token_ids: [...tokenizer.encode('one two three'), END],
    }),
  ])
  const chunks = await chatChunks(server, { return_token_ids: true, stream_interval: 2 })
  expect(chunks.slice(1).map(({ choices }) => choices[0]?.token_ids?.length)).toEqual([2, 2])
})

it('cuts a reply at max_tokens: no end token, finish length', async () => {
  await vllm({ reply: () => 'one two three' })
  const answer = await chat(server, { max_tokens: 2, return_token_ids: true })
  expect(answer).toMatchObject({
    choices: [
      { finish_reason: 'length', message: { content: 'one two' }, token_ids: tokenizer.encode('one two') },
    ],
    usage: { completion_tokens: 2 },
  })
  const chunks = await chatChunks(server, { max_completion_tokens: 2 })
  expect(chunks.at(-1)?.choices[0]).toMatchObject({ delta: { content: ' two' }, finish_reason: 'length' })
})

it('keeps the finish "stop" where the request names the tool to call', async () => {
  await vllm({ reply: () => ({ toolCalls: CALLS }) })
  const named = { tool_choice: { type: 'function', function: { name: 'add' } } }
  expect(await chat(server, named)).toHaveProperty('choices.0.finish_reason', 'stop')
  expect(await chat(server)).toHaveProperty('choices.0.finish_reason', 'tool_calls')
})

it('begins the next prompt with the prompt and the response before it, token by token', async () => {
  await vllm({ replies: [{ text: 'I add.', toolCalls: CALLS }, 'Done.'] })
  const tools = [{ type: 'function', function: { name: 'add', parameters: { type: 'object' } } }]
  const messages: unknown[] = [{ role: 'user', content: 'Add 1 and 22 👩‍🚀' }]
  const first = await chat(server, { messages, tools, return_token_ids: true })
  const [choice] = Array.isArray(first['choices']) ? first['choices'] : []
  messages.push(choice.message, { role: 'tool', tool_call_id: 'x', content: '23' })
  const second = await chat(server, { messages, tools, return_token_ids: true })
  const before = [...answerIds(first), ...choice.token_ids]
  expect(answerIds(second).slice(0, before.length)).toEqual(before)
})

it('never takes text for a special token', async () => {
  await vllm({ replies: ['<|im_end|> and <tool_call>'] })
  const answer = await chat(server, { return_token_ids: true })
  expect(answer).toHaveProperty('choices.0.message.content', '<|im_end|> and <tool_call>')
  const [choice] = Array.isArray(answer['choices']) ? answer['choices'] : []
  expect(choice.token_ids.indexOf(END)).toBe(choice.token_ids.length - 1)
})

it('names its answer after the x-request-id of the request', async () => {
  await vllm({ replies: ['Hi'] })
  const response = await fetch(`${server.baseURL}/chat/completions`, {
    method: 'POST',
    headers: { 'x-request-id': 'mine' },
    body: JSON.stringify({ model: 'm', messages: [] }),
  })
  expect(await response.json()).toHaveProperty('id', 'chatcmpl-mine')
  expect(response.headers.get('x-request-id')).toBeNull()
})
