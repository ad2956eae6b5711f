import { afterEach, expect, it } from 'vitest'
import { loadTokenizer, startModelServer, type ModelServer, type Reply } from '../src/index.ts'
import { ask, stream, type Body } from './support.ts'

const tokenizer = await loadTokenizer()
const END = tokenizer.special('<|im_end|>')
const PATH = '/v1/completions'

let server: ModelServer
async function vllm(reply: Reply | string): Promise<void> {
  server = await startModelServer({ flavor: 'vllm', deterministic: true, reply: () => reply })
}
afterEach(() => server.close())

it('puts prompt ids and output ids inside the choice, numbered over prompts and choices', async () => {
  await vllm({ choices: [{ text: 'one' }, { text: 'two' }] })
  const answer = await ask(server, PATH, {
    model: 'm',
    prompt: ['red', 'big tree'],
    n: 2,
    return_token_ids: true,
  })
  const choice = (index: number, text: string, prompt: string): Body => ({
    index,
    text,
    logprobs: null,
    finish_reason: 'stop',
    stop_reason: null,
    token_ids: [...tokenizer.encode(text), END],
    prompt_logprobs: null,
    prompt_token_ids: [...tokenizer.encode(prompt)],
  })
  expect(answer).toEqual({
    id: expect.stringMatching(/^cmpl-/),
    object: 'text_completion',
    created: 1_700_000_000,
    model: 'm',
    choices: [
      choice(0, 'one', 'red'),
      choice(1, 'two', 'red'),
      choice(2, 'one', 'big tree'),
      choice(3, 'two', 'big tree'),
    ],
    usage: { prompt_tokens: 3, total_tokens: 11, completion_tokens: 8, prompt_tokens_details: null },
  })
})

it('takes prompts as token ids', async () => {
  await vllm('ok')
  const ids = [...tokenizer.encode('red apple')]
  const one = await ask(server, PATH, { model: 'm', prompt: ids, return_token_ids: true })
  const two = await ask(server, PATH, { model: 'm', prompt: [ids, [5]], return_token_ids: true })
  expect(one).toMatchObject({ choices: [{ prompt_token_ids: ids }] })
  expect(two).toMatchObject({ choices: [{ prompt_token_ids: ids }, { prompt_token_ids: [5] }] })
})

it('streams prompt ids in the first chunk of each index, null later, and offsets that go on across chunks', async () => {
  await vllm('one two')
  const data = await stream(server, PATH, {
    model: 'm',
    prompt: ['red', 'sky'],
    return_token_ids: true,
    logprobs: 1,
  })
  expect(data.pop()).toBe('[DONE]')
  expect(data.map((chunk) => pick(chunk, 'index'))).toEqual([0, 1, 0, 1, 0, 1])
  const first = data.filter((chunk) => pick(chunk, 'index') === 0)
  expect(first.map((chunk) => pick(chunk, 'prompt_token_ids'))).toEqual([
    [...tokenizer.encode('red')],
    null,
    null,
  ])
  expect(first.map((chunk) => pick(chunk, 'token_ids'))).toEqual(
    [...tokenizer.encode('one two'), END].map((id) => [id]),
  )
  expect(first.map((chunk) => pick(chunk, 'logprobs'))).toMatchObject([
    { tokens: ['one'], text_offset: [0] },
    { tokens: [' two'], text_offset: [3] },
    { tokens: ['<|im_end|>'], text_offset: [7] },
  ])
})

function pick(chunk: unknown, key: string): unknown {
  const choices: unknown = Reflect.get(Object(chunk), 'choices')
  return Array.isArray(choices) ? choices[0]?.[key] : undefined
}

it('echoes the prompt with its log probabilities, the first of them null', async () => {
  await vllm('two')
  const body = { model: 'm', prompt: 'one big', echo: true, logprobs: 2 }
  const answer = await ask(server, PATH, body)
  expect(answer).toMatchObject({
    choices: [{ text: 'one bigtwo', logprobs: { tokens: ['one', ' big', 'two', '<|im_end|>'] } }],
  })
  expect(answer).toMatchObject({
    choices: [
      { logprobs: { token_logprobs: [null, expect.any(Number), expect.any(Number), expect.any(Number)] } },
    ],
  })
  const [choice] = Array.isArray(answer['choices']) ? answer['choices'] : []
  expect(choice.logprobs.top_logprobs.map((top: Body | null) => top && Object.keys(top).length)).toEqual([
    null,
    3,
    3,
    3,
  ])
  expect(choice.logprobs.text_offset).toEqual([0, 3, 7, 10])

  // With ids asked for, vLLM leaves out the prompt's text but not its log probabilities.
  const withIds = await ask(server, PATH, { ...body, return_token_ids: true })
  expect(withIds).toMatchObject({
    choices: [{ text: 'two', logprobs: { tokens: ['one', ' big', 'two', '<|im_end|>'] } }],
  })
})

it('generates nothing with max_tokens 0', async () => {
  await vllm('two')
  const body = { model: 'm', prompt: 'one', max_tokens: 0, return_token_ids: true }
  expect(await ask(server, PATH, body)).toMatchObject({
    choices: [{ text: '', token_ids: [], finish_reason: 'length' }],
    usage: { completion_tokens: 0 },
  })
  expect((await stream(server, PATH, body))[0]).toMatchObject({
    choices: [{ text: '', token_ids: [], finish_reason: 'length' }],
  })
})

it('parses nothing: thoughts and tool calls are text, special tokens are left out', async () => {
  await vllm({ reasoning: 'hm', text: ' ok', toolCalls: [{ name: 'add', arguments: {} }] })
  const answer = await ask(server, PATH, { model: 'm', prompt: 'x' })
  expect(answer).toMatchObject({ choices: [{ text: 'hm ok{"name": "add", "arguments": {}}' }] })
})

it('tokenises and detokenises, text and conversations', async () => {
  await vllm('ok')
  const text = await ask(server, '/tokenize', { prompt: 'red apple', return_token_strs: true })
  expect(text).toEqual({
    count: 2,
    max_model_len: 131_072,
    tokens: [...tokenizer.encode('red apple')],
    token_strs: ['red', ' apple'],
  })
  const talk = await ask(server, '/tokenize', { messages: [{ role: 'user', content: 'hi' }] })
  const back = await ask(server, '/detokenize', { tokens: talk['tokens'] })
  expect(back).toEqual({ prompt: '<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n' })
})
