import { record, start } from '@agl/core'
import { langchainHandler } from '@agl/langchain'
import { startModelServer } from '@agl/testkit'
import { vllm } from '@agl/vllm'
import { ChatPromptTemplate } from '@langchain/core/prompts'
import { ChatOpenAI } from '@langchain/openai'

/* A chain whose model is given a callback handler with tags: only what the handler is passed to is recorded. */

await using server = await startModelServer({
  flavor: 'vllm',
  reply: ({ text }) => `${text} Machines that learn.`,
})
await using _lightning = await start({ plugins: [vllm()] })

const llm = new ChatOpenAI({
  model: 'scripted',
  apiKey: 'none',
  configuration: { baseURL: server.baseURL },
  callbacks: [langchainHandler({ tags: ['langchain-demo'] })],
})
const chain = ChatPromptTemplate.fromTemplate('Explain: {topic}').pipe(llm)

const { result, spans } = await record('explain', () => chain.invoke({ topic: 'artificial intelligence' }))
console.log(result?.text)
for (const { name, attributes } of spans) console.log(`  ${name}`, attributes['agentlightning.tag.0'] ?? '')
