import { afterEach, expect, it } from 'vitest'
import { loadTokenizer, startModelServer, type ModelServer, type ModelServerOptions } from '../src/index.ts'
import { ask, events, send, type Body } from './support.ts'

const tokenizer = await loadTokenizer()
const PATH = '/v1/responses'
const CALL = { id: 'call_1', name: 'add', arguments: { a: 1 } }

let server: ModelServer
async function started(options: ModelServerOptions): Promise<void> {
  server = await startModelServer({ deterministic: true, ...options })
}
afterEach(() => server.close())

async function streamed(body: Body): Promise<{ event?: string; data: Body }[]> {
  const response = await send(server, PATH, { model: 'm', input: 'hi', ...body, stream: true })
  return events(await response.text()).map(({ event, data }) => ({
    ...(event === undefined ? {} : { event }),
    data: Object(data),
  }))
}

it('answers with items: thoughts, a message, a function call', async () => {
  await started({ reply: () => ({ reasoning: 'hm', text: 'ok', toolCalls: [CALL] }) })
  const answer = await ask(server, PATH, { model: 'm', input: 'hi', instructions: 'Be brief.' })
  expect(answer).toMatchObject({
    id: expect.stringMatching(/^resp_/),
    object: 'response',
    status: 'completed',
    model: 'm',
    output: [
      { type: 'reasoning', summary: [{ type: 'summary_text', text: 'hm' }] },
      {
        type: 'message',
        role: 'assistant',
        content: [{ type: 'output_text', text: 'ok', annotations: [], logprobs: [] }],
      },
      { type: 'function_call', call_id: 'call_1', name: 'add', arguments: '{"a":1}' },
    ],
    usage: { input_tokens_details: { cached_tokens: 0 }, output_tokens_details: { reasoning_tokens: 1 } },
  })
})

it('streams typed events in order, numbered, each named by its type, and no end mark', async () => {
  await started({ reply: () => ({ text: 'one two', toolCalls: [CALL] }) })
  const all = await streamed({})
  expect(all.map(({ data }) => data['sequence_number'])).toEqual(all.map((_, index) => index))
  expect(all.every(({ event, data }) => event === data['type'])).toBe(true)
  expect(all.map(({ event }) => event?.replace('response.', ''))).toEqual([
    'created',
    'in_progress',
    'output_item.added',
    'content_part.added',
    'output_text.delta',
    'output_text.delta',
    'output_text.done',
    'content_part.done',
    'output_item.done',
    'output_item.added',
    ...tokenizer.encode('{"a":1}').map(() => 'function_call_arguments.delta'),
    'function_call_arguments.done',
    'output_item.done',
    'completed',
  ])
  const whole = await ask(server, PATH, { model: 'm', input: 'hi' })
  const last = Object(all.at(-1)?.data['response'])
  expect(last.usage).toEqual(whole['usage'])
  expect(last.output[0].content).toEqual([
    { type: 'output_text', annotations: [], logprobs: [], text: 'one two' },
  ])
})

it('streams refusals and thoughts with events of their own', async () => {
  await started({ replies: [{ refusal: 'I cannot.' }, { reasoning: 'hm', text: 'ok' }] })
  const refused = await streamed({})
  const deltas = refused
    .filter(({ event }) => event === 'response.refusal.delta')
    .map(({ data }) => data['delta'])
  expect(deltas.join('')).toBe('I cannot.')
  const thoughts = (await streamed({})).map(({ event }) => event)
  expect(thoughts).toContain('response.reasoning_summary_text.delta')
})

it('is incomplete when max_output_tokens cuts it', async () => {
  await started({ reply: () => 'one two three' })
  const answer = await ask(server, PATH, { model: 'm', input: 'hi', max_output_tokens: 2 })
  expect(answer).toMatchObject({
    status: 'incomplete',
    incomplete_details: { reason: 'max_output_tokens' },
    output: [{ content: [{ text: 'one two' }] }],
  })
  expect((await streamed({ max_output_tokens: 2 })).at(-1)?.event).toBe('response.incomplete')
})

it('gives log probabilities of the text when they are included', async () => {
  await started({ reply: () => ({ text: 'one two', logprobs: [-0.25, -0.5] }) })
  const include = ['message.output_text.logprobs']
  const expected = [
    { token: 'one', logprob: -0.25 },
    { token: ' two', logprob: -0.5 },
  ]
  const answer = await ask(server, PATH, { model: 'm', input: 'hi', include, top_logprobs: 2 })
  expect(answer).toMatchObject({ output: [{ content: [{ logprobs: expected }] }] })
  const deltas = (await streamed({ include })).filter(({ event }) => event === 'response.output_text.delta')
  expect(deltas.map(({ data }) => data['logprobs'])).toMatchObject(expected.map((entry) => [entry]))
})

it('gives raw messages with ids under vLLM, which follow the conversation through the items', async () => {
  await started({ flavor: 'vllm', reply: () => 'Done.' })
  const input = [
    { role: 'user', content: [{ type: 'input_text', text: 'Add.' }] },
    { type: 'function_call', call_id: 'c', name: 'add', arguments: '{"a":1}' },
    { type: 'function_call_output', call_id: 'c', output: '1' },
  ]
  const answer = await ask(server, PATH, { model: 'm', input, enable_response_messages: true })
  expect(answer).toMatchObject({
    input_messages: [
      {
        type: 'raw_message_tokens',
        message:
          '<|im_start|>user\nAdd.<|im_end|>\n<|im_start|>assistant\n<tool_call>{"name": "add", "arguments": {"a":1}}</tool_call>' +
          '<|im_end|>\n<|im_start|>tool\n1<|im_end|>\n<|im_start|>assistant\n',
      },
    ],
    output_messages: [
      { message: 'Done.<|im_end|>', tokens: [...tokenizer.encode('Done.'), tokenizer.special('<|im_end|>')] },
    ],
  })
  expect(await ask(server, PATH, { model: 'm', input })).not.toHaveProperty('input_messages')
})
