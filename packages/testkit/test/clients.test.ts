import { AzureOpenAI, type OpenAI as Client } from 'openai'
import { afterEach, beforeEach, expect, it, describe } from 'vitest'
import { startModelServer, type ModelServer } from '../src/index.ts'

const CALLS = [
  { id: 'call_a', name: 'add', arguments: { a: 1, b: 2 } },
  { id: 'call_b', name: 'add', arguments: { a: 3, b: 4 } },
]
const messages = [{ role: 'user' as const, content: 'hello' }]

let server: ModelServer
afterEach(() => server.close())

describe.each(['openai', 'openai6'])('the client of the package %s', async (name) => {
  const { OpenAI }: typeof import('openai') = await import(name)
  let client: Client
  const connect = async (...options: Parameters<typeof startModelServer>): Promise<void> => {
    server = await startModelServer(...options)
    client = new OpenAI({ apiKey: 'k', baseURL: server.baseURL, maxRetries: 0 })
  }

  it('reads a chat completion, its request id and an embedding', async () => {
    await connect({ reply: () => ({ text: 'Hi', toolCalls: CALLS }) })
    const call = client.chat.completions.create({ model: 'm', messages })
    const { data, response, request_id: requestId } = await call.withResponse()
    expect(data.choices[0]?.message).toMatchObject({
      content: 'Hi',
      tool_calls: [{ id: 'call_a' }, { id: 'call_b' }],
    })
    expect(requestId).toMatch(/^req_/)
    expect(requestId).toBe(response.headers.get('x-request-id'))
    const { data: vectors } = await client.embeddings.create({ model: 'e', input: 'red' })
    expect(vectors[0]?.embedding).toHaveLength(64)
  })

  it('puts interleaved tool calls, log probabilities and usage back together with its stream helper', async () => {
    await connect({ reply: () => ({ text: 'Hi 👩‍🚀', toolCalls: CALLS, interleaveToolCalls: true }) })
    const stream = client.chat.completions.stream({
      model: 'm',
      messages,
      logprobs: true,
      stream_options: { include_usage: true },
    })
    const final = await stream.finalChatCompletion()
    expect(final.choices[0]).toMatchObject({
      message: {
        content: 'Hi 👩‍🚀',
        tool_calls: [
          { id: 'call_a', function: { name: 'add', arguments: '{"a":1,"b":2}' } },
          { id: 'call_b', function: { name: 'add', arguments: '{"a":3,"b":4}' } },
        ],
      },
      finish_reason: 'tool_calls',
    })
    expect(final.choices[0]?.logprobs?.content?.length).toBeGreaterThan(4)
    expect(final.usage?.total_tokens).toBeGreaterThan(20)
  })

  it('runs tools against scripted replies', async () => {
    await connect({ replies: [{ toolCalls: CALLS.slice(0, 1) }, 'It is 3.'] })
    const runner = client.chat.completions.runTools({
      model: 'm',
      messages,
      tools: [
        {
          type: 'function',
          function: {
            name: 'add',
            description: 'Adds two numbers.',
            parameters: { type: 'object', properties: { a: { type: 'number' }, b: { type: 'number' } } },
            parse: JSON.parse,
            function: ({ a, b }: { a: number; b: number }) => String(a + b),
          },
        },
      ],
    })
    expect(await runner.finalContent()).toBe('It is 3.')
    expect(server.requests[1]?.body).toMatchObject({
      messages: [
        { role: 'user' },
        { role: 'assistant' },
        { role: 'tool', tool_call_id: 'call_a', content: '3' },
      ],
    })
  })

  it('reads responses, streamed and not', async () => {
    await connect({ reply: () => ({ text: 'Hi there', toolCalls: CALLS.slice(0, 1) }) })
    const whole = await client.responses.create({ model: 'm', input: 'hello' })
    expect(whole.output_text).toBe('Hi there')
    const final = await client.responses.stream({ model: 'm', input: 'hello' }).finalResponse()
    expect(final.output_text).toBe('Hi there')
    expect(final.output[1]).toMatchObject({ type: 'function_call', name: 'add', arguments: '{"a":1,"b":2}' })
  })

  it('throws its own errors for faults', async () => {
    await connect({
      flavor: 'vllm',
      faults: [{ status: 401 }, { status: 429 }, { error: 'data' }, { status: 500 }],
    })
    const create = (): Promise<unknown> => client.chat.completions.create({ model: 'm', messages })
    await expect(create()).rejects.toBeInstanceOf(OpenAI.AuthenticationError)
    await expect(create()).rejects.toBeInstanceOf(OpenAI.RateLimitError)
    const stream = await client.chat.completions.create({ model: 'm', messages, stream: true })
    const read = async (): Promise<void> => {
      for await (const chunk of stream) expect(chunk.choices).toHaveLength(1)
    }
    await expect(read()).rejects.toBeInstanceOf(OpenAI.APIError)
    await expect(create()).rejects.toBeInstanceOf(OpenAI.InternalServerError)
  })

  it('tries again after a fault, with a request for each try', async () => {
    await connect({
      faults: [{ status: 429, retryAfter: 0.001 }, { cut: 'before-headers' }],
      replies: ['Hi'],
    })
    const patient = client.withOptions({ maxRetries: 2 })
    const answer = await patient.chat.completions.create({ model: 'm', messages })
    expect(answer.choices[0]?.message.content).toBe('Hi')
    expect(server.requests.map(({ status }) => status)).toEqual([429, undefined, 200])
  })

  it('goes away in the middle of a stream, which the server notices', async () => {
    await connect({ faults: [{ stall: 'mid-stream', after: 2 }] })
    const stream = await client.chat.completions.create({ model: 'm', messages, stream: true })
    let chunks = 0
    for await (const _chunk of stream) if (++chunks === 2) break
    await server.idle()
    expect(server.requests[0]).toMatchObject({ status: 200, aborted: true })
  })
})

describe('the Azure client', () => {
  beforeEach(async () => {
    server = await startModelServer({ reply: () => 'Hi', apiKey: 'k' })
  })

  it('is answered at its deployment, streamed and not', async () => {
    const options = {
      apiKey: 'k',
      endpoint: server.url,
      apiVersion: '2025-01-01',
      deployment: 'mine',
      maxRetries: 0,
    }
    const client = new AzureOpenAI(options)
    const answer = await client.chat.completions.create({ model: 'mine', messages })
    expect(answer.choices[0]?.message.content).toBe('Hi')
    const stream = await client.chat.completions.create({ model: 'mine', messages, stream: true })
    let text = ''
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? ''
    expect(text).toBe('Hi')
    expect(server.requests[0]?.path).toBe('/openai/deployments/mine/chat/completions?api-version=2025-01-01')
  })
})
