import type { Callbacks } from '@langchain/core/callbacks/manager'
import type { Hosts } from './hosts.ts'

/** An agent with tools and memory as LangChain 0.3 had it, which the newest version keeps in a package of its own. */
export async function agentExecutor(
  h: Hosts,
  llm: unknown,
  tool: unknown,
  config: { callbacks?: Callbacks },
): Promise<unknown> {
  const file = './fixtures/lowest/agents.js'
  const { AgentExecutor, BufferMemory, createToolCallingAgent } = await import(file)
  const prompt = h.ChatPromptTemplate.fromMessages([
    ['system', 'You add.'],
    new h.MessagesPlaceholder('chat_history'),
    ['human', '{input}'],
    new h.MessagesPlaceholder('agent_scratchpad'),
  ])
  const agent = createToolCallingAgent({ llm, tools: [tool], prompt })
  const memory = new BufferMemory({ memoryKey: 'chat_history', returnMessages: true, outputKey: 'output' })
  const executor = new AgentExecutor({ agent, tools: [tool], memory })
  const { output } = await executor.invoke({ input: '1 + 2?' }, config)
  return output
}
