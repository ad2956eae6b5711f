import { formatPrompt, promptRollout } from '@agl/train'
import type OpenAI from 'openai'

interface Task {
  question: string
  answer: string
}

/** Answers a question with the prompt that is being tuned; its reward is 1 where the answer is exactly right. */
export function answering(client: OpenAI, model: string) {
  return promptRollout<Task>(async ({ question, answer }, template) => {
    const content = formatPrompt(template, { question })
    const completion = await client.chat.completions.create({ model, messages: [{ role: 'user', content }] })
    return completion.choices[0]?.message.content?.trim() === answer
  })
}
