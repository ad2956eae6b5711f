import { afterEach, expect, it } from 'vitest'
import {
  startModelServer,
  type ModelRequest,
  type ModelServer,
  type ModelServerOptions,
} from '../src/index.ts'
import { ask, chat, HELLO, send } from './support.ts'

const PATH = '/v1/chat/completions'

let server: ModelServer
async function started(options: ModelServerOptions = {}): Promise<void> {
  server = await startModelServer(options)
}
afterEach(() => server.close())

it('answers by script, then says that the script is used up in a way that clients do not retry', async () => {
  await started({ replies: ['one', { text: 'two' }] })
  expect(await chat(server)).toHaveProperty('choices.0.message.content', 'one')
  expect(await chat(server)).toHaveProperty('choices.0.message.content', 'two')
  const response = await send(server, PATH, { messages: HELLO })
  expect([response.status, await response.text()]).toEqual([
    400,
    expect.stringContaining('2 replies are used up'),
  ])
})

it('answers by rule, which sees the conversation whatever the endpoint', async () => {
  const seen: Partial<ModelRequest>[] = []
  await started({
    reply: ({ endpoint, index, messages, text }) => {
      seen.push({ endpoint, index, messages })
      return `You said: ${text}`
    },
  })
  const call = { id: 'c', type: 'function', function: { name: 'add', arguments: '{}' } }
  const messages = [
    {
      role: 'user',
      content: [
        { type: 'text', text: 'Add.' },
        { type: 'image_url', image_url: { url: 'data:,' } },
      ],
    },
    { role: 'assistant', content: null, tool_calls: [call] },
    { role: 'tool', tool_call_id: 'c', content: '3' },
  ]
  expect(await chat(server, { messages })).toHaveProperty('choices.0.message.content', 'You said: 3')
  await ask(server, '/v1/responses', { instructions: 'Be brief.', input: 'hi' })
  await ask(server, '/v1/completions', { prompt: ['a', 'b'] })
  expect(seen).toEqual([
    {
      endpoint: 'chat',
      index: 0,
      messages: [
        { role: 'user', text: 'Add.[image_url]', toolCalls: [] },
        { role: 'assistant', text: '', toolCalls: [{ id: 'c', name: 'add', arguments: '{}' }] },
        { role: 'tool', text: '3', toolCalls: [], toolCallId: 'c' },
      ],
    },
    {
      endpoint: 'responses',
      index: 1,
      messages: [
        { role: 'system', text: 'Be brief.', toolCalls: [] },
        { role: 'user', text: 'hi', toolCalls: [] },
      ],
    },
    {
      endpoint: 'completions',
      index: 2,
      messages: [
        { role: 'user', text: 'a', toolCalls: [] },
        { role: 'user', text: 'b', toolCalls: [] },
      ],
    },
  ])
})

it('tells the client when the rule throws', async () => {
  await started({
    reply: () => {
      throw new RangeError('no such word')
    },
  })
  const response = await send(server, PATH, { messages: HELLO })
  expect([response.status, await response.text()]).toEqual([400, expect.stringContaining('no such word')])
})

it('records each request with its bytes, its status and its headers without credentials', async () => {
  await started({ apiKey: 'sk-hidden' })
  const body = '{"model": "m",  "messages": []}'
  const headers = { authorization: 'Bearer sk-hidden', 'x-note': 'kept' }
  await send(server, `${PATH}?v=1`, body, { headers })
  await send(server, PATH, 'no json', { headers })
  expect(server.requests).toMatchObject([
    {
      method: 'POST',
      path: `${PATH}?v=1`,
      headers: { authorization: '[hidden]', 'x-note': 'kept' },
      body: { model: 'm', messages: [] },
      rawBody: body,
      status: 200,
      aborted: false,
    },
    { body: undefined, rawBody: 'no json', status: 400 },
  ])
  expect(JSON.stringify(server.requests)).not.toContain('sk-hidden')
  server.clear()
  expect(server.requests).toEqual([])
})

it('keeps no requests with record false', async () => {
  await started({ record: false })
  await chat(server)
  expect(server.requests).toEqual([])
})

it('asks for its key where the real servers do', async () => {
  await started({ apiKey: 'k', flavor: 'vllm' })
  const statuses = async (headers: Record<string, string>): Promise<number[]> =>
    Promise.all(
      ['/v1/models', '/health', '/version'].map(
        async (path) => (await fetch(server.url + path, { headers })).status,
      ),
    )
  expect(await statuses({})).toEqual([401, 200, 200])
  expect(await statuses({ authorization: 'Bearer other' })).toEqual([401, 200, 200])
  expect(await statuses({ authorization: 'Bearer k' })).toEqual([200, 200, 200])
})

it('lists its models, and knows no others once they are named', async () => {
  await started({ models: ['small', 'large'], flavor: 'vllm' })
  const models = await (await fetch(`${server.baseURL}/models`)).json()
  expect(models).toMatchObject({
    object: 'list',
    data: [{ id: 'small', object: 'model', owned_by: 'vllm', root: 'small', parent: null }, { id: 'large' }],
  })
  expect((await send(server, PATH, { model: 'large', messages: HELLO })).status).toBe(200)
  const response = await send(server, PATH, { model: 'huge', messages: HELLO })
  expect([response.status, await response.json()]).toEqual([
    404,
    {
      error: {
        message: "The model 'huge' does not exist.",
        type: 'NotFoundError',
        param: 'model',
        code: 404,
      },
    },
  ])
  expect((await fetch(`${server.baseURL}/models/small`)).status).toBe(200)
  expect((await fetch(`${server.baseURL}/models/huge`)).status).toBe(404)
})

it.each([
  ['no body', PATH, 'x'],
  ['no messages', PATH, { model: 'm' }],
  ['no prompt', '/v1/completions', { model: 'm' }],
  ['alternatives without log probabilities', PATH, { messages: HELLO, top_logprobs: 2 }],
  ['too many alternatives', PATH, { messages: HELLO, logprobs: true, top_logprobs: 21 }],
  ['stream options without a stream', PATH, { messages: HELLO, stream_options: { include_usage: true } }],
])('refuses a request with %s', async (_, path, body) => {
  await started({ flavor: 'vllm' })
  const response = await send(server, path, body)
  expect([response.status, await response.json()]).toEqual([
    400,
    { error: expect.objectContaining({ type: 'BadRequestError', code: 400 }) },
  ])
})

it('answers 404 where there is nothing', async () => {
  await started()
  expect((await fetch(`${server.url}/v1/chat/completions`)).status).toBe(404)
  expect((await send(server, '/v2/chat', {})).status).toBe(404)
  expect((await send(server, '/tokenize', { prompt: 'x' })).status).toBe(404)
})

it('says the same thing twice when it is deterministic, and gives every answer an id of its own otherwise', async () => {
  const reply = { text: 'Hi', toolCalls: [{ name: 'f', arguments: {} }] }
  const run = async (deterministic: boolean): Promise<unknown[]> => {
    await using own = await startModelServer({ deterministic, reply: () => reply })
    return [await chat(own, { logprobs: true }), await chat(own)]
  }
  await started()
  expect(await run(true)).toEqual(await run(true))
  const [first, second] = await run(false)
  expect(Reflect.get(Object(first), 'id')).not.toBe(Reflect.get(Object(second), 'id'))
})

it('closes at once while answers are still going out', async () => {
  await started({ fault: () => ({ stall: 'mid-stream', after: 1 }) })
  const response = await send(server, PATH, { messages: HELLO, stream: true })
  await server.close()
  await expect(response.text()).rejects.toThrow('terminated')
  await expect(fetch(`${server.url}/health`)).rejects.toThrow('fetch failed')
  expect(server.requests[0]?.aborted).toBe(false)
})
