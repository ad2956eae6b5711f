import { start, trace, type Lightning } from '@agl/core'
import { langchain, langchainHandler } from '@agl/langchain'
import { StringOutputParser } from '@langchain/core/output_parsers'
import { ChatPromptTemplate } from '@langchain/core/prompts'
import { RunnableLambda } from '@langchain/core/runnables'
import { LangChainTracer } from '@langchain/core/tracers/tracer_langchain'
import { FakeListChatModel } from '@langchain/core/utils/testing'
import { CallbackHandler as LangfuseHandler } from '@langfuse/langchain'
import { setLangfuseTracerProvider } from '@langfuse/tracing'
import { BasicTracerProvider } from '@opentelemetry/sdk-trace-base'
import { Client } from 'langsmith'
import { compare, type Variant } from './harness.ts'

/** A handler of LangChain's that does nothing, for starts and for ends. */
const nothing = {
  name: 'nothing',
  awaitHandlers: true,
  handleChainStart() {},
  handleChainEnd() {},
  handleChatModelStart() {},
  handleLLMEnd() {},
}

/** LangSmith's client, which takes runs and forgets them. */
class Forgetting extends Client {
  override async createRun(): Promise<void> {}
  override async updateRun(): Promise<void> {}
}

const chain = ChatPromptTemplate.fromMessages([
  ['system', 'You are a careful assistant.'],
  ['human', 'What is the capital of {country}?'],
])
  .pipe(new FakeListChatModel({ responses: ['The capital of Ghana is Accra.'] }))
  .pipe(new StringOutputParser())
  .pipe(RunnableLambda.from((text) => text.toUpperCase()))

type Callbacks = NonNullable<Parameters<typeof chain.invoke>[1]>['callbacks']

function variant(name: string, callbacks: () => Callbacks, lightning?: Lightning): Variant {
  const loop = async (count: number): Promise<void> => {
    const given = callbacks()
    const config = given === undefined ? {} : { callbacks: given }
    for (let i = 0; i < count; i++) await chain.invoke({ country: 'Ghana' }, config)
  }
  if (lightning === undefined) return { name, run: loop }
  return {
    name,
    before: () => lightning.resume('langchain'),
    run: (count) => trace('bench', () => loop(count)),
    async after() {
      await lightning.flush()
      await lightning.stop('langchain')
    },
  }
}

/** Four runnables in a sequence on a fake model, with all inputs and outputs recorded. */
export async function benchLangChain(): Promise<void> {
  const sinks = [{ name: 'nowhere', write: () => {} }]
  const lightning = await start({ plugins: [langchain()], sinks, log: 'error' })
  await lightning.stop('langchain')
  const client = new Forgetting()
  setLangfuseTracerProvider(new BasicTracerProvider())
  await compare(
    'A sequence of four runnables (LangChain)',
    [
      variant('handler that does nothing', () => [nothing]),
      variant('no handler', () => undefined),
      variant('@agl/langchain, as plugin', () => undefined, lightning),
      variant('@agl/langchain, as handler', () => [langchainHandler()], lightning),
      variant('Langfuse', () => [new LangfuseHandler()]),
      variant('LangSmith', () => [new LangChainTracer({ client })]),
    ],
    { count: 400, collect: false },
  )
  await lightning.shutdown()
}
