import {
  runPluginContract,
  startModelServer,
  type ContractInput,
  type ModelServerOptions,
} from '@agl/testkit'
import { vllm } from '@agl/vllm'
import OpenAI from 'openai'
import { describe, it } from 'vitest'

/** The answers' texts: with the plugin, the server adds the token ids that it was asked for. */
async function call({ canary, secret }: ContractInput, options: ModelServerOptions = {}): Promise<unknown> {
  await using server = await startModelServer({
    flavor: 'vllm',
    reply: () => `so ${canary} it is`,
    ...options,
  })
  const client = new OpenAI({ apiKey: secret, baseURL: server.baseURL, maxRetries: 0, logLevel: 'off' })
  const body = { model: 'm', messages: [{ role: 'user' as const, content: `what of ${canary}?` }] }
  const whole = await client.chat.completions.create(body)
  const stream = await client.chat.completions.stream(body).finalContent()
  const completion = await client.completions.create({ model: 'm', prompt: canary })
  return [whole.choices[0]?.message.content, stream, completion.choices[0]?.text]
}

const spans = ['openai.chat.completion', 'openai.chat.completion', 'openai.completion']

runPluginContract({
  describe,
  it,
  name: 'vllm',
  plugin: () => vllm({ logprobs: true }),
  exercise: (input) => call(input),
  fail: (input) =>
    call(input, { fault: () => ({ status: 400, body: { error: { message: input.canary } } }) }),
  spans,
  spansWhenStopped: spans,
  module: new URL('../src/index.ts', import.meta.url),
  nodeOptions: ['--conditions=@agl/source'],
})
