import { langchain } from '@agl/langchain'
import {
  runPluginContract,
  startModelServer,
  type ContractInput,
  type ModelServerOptions,
} from '@agl/testkit'
import { CallbackManager } from '@langchain/core/callbacks/manager'
import { BaseChatModel } from '@langchain/core/language_models/chat_models'
import { StringOutputParser } from '@langchain/core/output_parsers'
import { ChatPromptTemplate } from '@langchain/core/prompts'
import { BaseRetriever } from '@langchain/core/retrievers'
import { Runnable, RunnableLambda } from '@langchain/core/runnables'
import { AsyncLocalStorageProviderSingleton } from '@langchain/core/singletons'
import { StructuredTool, tool } from '@langchain/core/tools'
import { AsyncCaller } from '@langchain/core/utils/async_caller'
import { IterableReadableStream } from '@langchain/core/utils/stream'
import { ChatOpenAI } from '@langchain/openai'
import { describe, it } from 'vitest'
import { z } from 'zod'

async function call({ canary, secret }: ContractInput, options: ModelServerOptions = {}): Promise<unknown> {
  const reply = () => `so ${canary} it is`
  await using server = await startModelServer({ reply, deterministic: true, ...options })
  const model = new ChatOpenAI({
    model: 'gpt-4o',
    apiKey: secret,
    maxRetries: 0,
    configuration: { baseURL: server.baseURL, logLevel: 'off' },
  })
  const look = tool(({ at }) => `seen ${at}`, { name: 'look', schema: z.object({ at: z.string() }) })
  const chain = ChatPromptTemplate.fromTemplate('what of {word}?')
    .pipe(model)
    .pipe(new StringOutputParser())
    .pipe(RunnableLambda.from((text) => look.invoke({ at: text })))
  const config = { metadata: { note: canary } }
  const whole = await chain.invoke({ word: canary }, config)
  const pieces: string[] = []
  for await (const piece of await chain.stream({ word: canary }, config)) pieces.push(piece)
  return [whole, pieces]
}

const once = [
  'ChatPromptTemplate.chain',
  'RunnableLambda.chain',
  'RunnableSequence.chain',
  'StrOutputParser.chain',
  'look.tool',
  'openai.chat.completion',
]

runPluginContract({
  describe,
  it,
  name: 'langchain',
  plugin: langchain,
  exercise: (input) => call(input),
  fail: (input) =>
    call(input, { fault: () => ({ status: 400, body: { error: { message: input.canary } } }) }),
  spans: [...once, ...once],
  hostFunctions: () => [
    CallbackManager._configureSync,
    AsyncLocalStorageProviderSingleton.runWithConfig,
    Reflect.get(Runnable.prototype, '_callWithConfig'),
    Runnable.prototype.stream,
    RunnableLambda.prototype.stream,
    AsyncCaller.prototype.call,
    AsyncCaller.prototype.callWithOptions,
    BaseChatModel.prototype.generate,
    BaseChatModel.prototype._streamIterator,
    ChatOpenAI.prototype._generate,
    ChatOpenAI.prototype._streamResponseChunks,
    BaseRetriever.prototype.invoke,
    StructuredTool.prototype.call,
    IterableReadableStream.fromAsyncGenerator,
  ],
  module: new URL('../src/index.ts', import.meta.url),
  nodeOptions: ['--conditions=@agl/source'],
})
