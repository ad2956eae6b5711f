import { tool } from '@langchain/core/tools'
import { MemorySaver } from '@langchain/langgraph'
import type { ChatOpenAI } from '@langchain/openai'
import { createAgent } from 'langchain'
import { z } from 'zod'

const multiply = tool(({ a, b }) => String(a * b), {
  name: 'multiply',
  description: 'Multiplies two numbers.',
  schema: z.object({ a: z.number(), b: z.number() }),
})

/** An agent with a tool and a memory: the second question is about the first one's answer. */
export async function calculate(model: ChatOpenAI, questions: readonly string[]): Promise<string[]> {
  const agent = createAgent({ model, tools: [multiply], name: 'calculator', checkpointer: new MemorySaver() })
  const answers: string[] = []
  for (const content of questions) {
    const { messages } = await agent.invoke(
      { messages: [{ role: 'user', content }] },
      { configurable: { thread_id: 'one' }, tags: ['sums'] },
    )
    answers.push(messages.at(-1)?.text ?? '')
  }
  return answers
}
