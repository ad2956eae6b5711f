import type OpenAI from 'openai'
import { calculate } from './calculator.ts'

const SYSTEM = `You solve word problems. Do every calculation with the calculator.
When you are done, reply with one line: "Answer: " and the number.`

const TOOLS: OpenAI.ChatCompletionTool[] = [
  {
    type: 'function',
    function: {
      name: 'calculator',
      description: 'Calculates an expression of numbers, + - * / and parentheses.',
      parameters: {
        type: 'object',
        properties: { expression: { type: 'string' } },
        required: ['expression'],
      },
    },
  },
]

/** Answers a question in at most `turns` calls of the model; undefined when it came to no answer. */
export async function solve(
  client: OpenAI,
  model: string,
  question: string,
  turns = 8,
): Promise<number | undefined> {
  const messages: OpenAI.ChatCompletionMessageParam[] = [
    { role: 'system', content: SYSTEM },
    { role: 'user', content: question },
  ]
  for (let turn = 0; turn < turns; turn++) {
    const completion = await client.chat.completions.create({ model, messages, tools: TOOLS })
    const message = completion.choices[0]?.message
    if (message === undefined) return undefined
    messages.push(message)
    const calls = message.tool_calls ?? []
    if (calls.length === 0) return answerIn(message.content ?? '')
    for (const call of calls) {
      messages.push({ role: 'tool', tool_call_id: call.id, content: runTool(call) })
    }
  }
  return undefined
}

function runTool(call: OpenAI.ChatCompletionMessageToolCall): string {
  if (call.type !== 'function' || call.function.name !== 'calculator') return 'Error: there is no such tool.'
  try {
    const { expression } = JSON.parse(call.function.arguments)
    return String(calculate(String(expression)))
  } catch (error) {
    return `Error: ${error instanceof Error ? error.message : String(error)}`
  }
}

function answerIn(text: string): number | undefined {
  const [, number] = /Answer:\s*\$?(-?[\d,]*\.?\d+)/i.exec(text) ?? []
  return number === undefined ? undefined : Number(number.replaceAll(',', ''))
}
