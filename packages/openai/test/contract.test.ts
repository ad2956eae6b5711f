import { openai } from '@agl/openai'
import {
  runPluginContract,
  startModelServer,
  type ContractInput,
  type ModelServerOptions,
} from '@agl/testkit'
import OpenAI from 'openai'
import { describe, it } from 'vitest'

async function call({ canary, secret }: ContractInput, options: ModelServerOptions = {}): Promise<unknown> {
  const reply = () => ({
    text: `so ${canary} it is`,
    toolCalls: [{ name: 'look', arguments: { at: canary } }],
  })
  await using server = await startModelServer({ reply, deterministic: true, ...options })
  const client = new OpenAI({ apiKey: secret, baseURL: server.baseURL, maxRetries: 0, logLevel: 'off' })
  const body = {
    model: 'gpt-4o',
    messages: [{ role: 'user' as const, content: `what of ${canary}?` }],
    tools: [{ type: 'function' as const, function: { name: 'look', description: `looks at ${canary}` } }],
  }
  const whole = await client.chat.completions.create(body)
  const chunks: unknown[] = []
  for await (const chunk of await client.chat.completions.create({ ...body, stream: true }))
    chunks.push(chunk)
  const response = await client.responses.create({ model: 'gpt-4o', input: canary, instructions: canary })
  const completion = await client.completions.create({ model: 'gpt-3.5-turbo-instruct', prompt: canary })
  const vectors = await client.embeddings.create({ model: 'text-embedding-3-small', input: canary })
  return [whole, chunks, response.output, completion, vectors]
}

runPluginContract({
  describe,
  it,
  name: 'openai',
  plugin: openai,
  exercise: (input) => call(input),
  fail: (input) =>
    call(input, { fault: () => ({ status: 400, body: { error: { message: input.canary } } }) }),
  spans: [
    'openai.chat.completion',
    'openai.chat.completion',
    'openai.completion',
    'openai.embedding',
    'openai.response',
    'tool_call.look',
    'tool_call.look',
    'tool_call.look',
  ],
  hostFunctions: () => [
    OpenAI.Chat.Completions.prototype.create,
    OpenAI.Completions.prototype.create,
    OpenAI.Responses.prototype.create,
    OpenAI.Embeddings.prototype.create,
  ],
  module: new URL('../src/index.ts', import.meta.url),
  nodeOptions: ['--conditions=@agl/source'],
})
