import { answering, chunks, completion, streaming } from '../payloads.ts'
import type { Expected } from './captured.ts'

/** What every variant does, from the request to the last byte of the answer. */
export interface Workload {
  name: string
  /** Calls in one measured block. */
  count: number
  messages: readonly { role: 'system' | 'user' | 'assistant'; content: string }[]
  stream: boolean
  answer: typeof fetch
  expected: Expected
}

interface Shape {
  messages: number
  promptIds: number
  outputTokens: number
  stream?: boolean
  count: number
}

export const workloads: readonly Workload[] = [
  workload('Not streamed: 2 messages, 503 prompt ids, 50 tokens', {
    messages: 2,
    promptIds: 503,
    outputTokens: 50,
    count: 100,
  }),
  workload('Streamed: 2 messages, 503 prompt ids, 500 chunks of a token', {
    messages: 2,
    promptIds: 503,
    outputTokens: 500,
    stream: true,
    count: 6,
  }),
  workload('A history of 80 messages of 500 characters, not streamed, 4,001 prompt ids, 50 tokens', {
    messages: 80,
    promptIds: 4001,
    outputTokens: 50,
    count: 50,
  }),
  workload('A prompt of 32,768 ids, not streamed, 50 tokens', {
    messages: 2,
    promptIds: 32_768,
    outputTokens: 50,
    count: 10,
  }),
]

function workload(name: string, shape: Shape): Workload {
  const { messages: amount, stream = false, count } = shape
  const messages = Array.from({ length: amount }, (_, i) => message(i))
  const body = completion(shape)
  return {
    name,
    count,
    messages,
    stream,
    answer: stream ? streaming(chunks(shape)) : answering(body),
    expected: expectedOf(
      body,
      messages.map(({ content }) => content),
    ),
  }
}

function message(i: number): Workload['messages'][number] {
  const role = i === 0 ? 'system' : i % 2 === 1 ? 'user' : 'assistant'
  return { role, content: `Message ${i} of this conversation. `.padEnd(500, `all work and no play ${i}; `) }
}

/** The stream tells the same as the whole answer, piece by piece. */
function expectedOf(body: string, messages: readonly string[]): Expected {
  const answer: {
    prompt_token_ids: number[]
    usage: { prompt_tokens: number; completion_tokens: number }
    choices: [
      { message: { content: string }; token_ids: number[]; logprobs: { content: { logprob: number }[] } },
    ]
  } = JSON.parse(body)
  const [choice] = answer.choices
  return {
    messages,
    answer: choice.message.content,
    usage: [answer.usage.prompt_tokens, answer.usage.completion_tokens],
    promptIds: answer.prompt_token_ids,
    responseIds: choice.token_ids,
    logprobs: choice.logprobs.content.map(({ logprob }) => logprob),
  }
}
