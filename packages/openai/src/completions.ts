import type { Choice, LlmData, LlmStart, Message } from '@agl/core'
import { responseOf, usageData, type Accumulator } from './chat.ts'
import { copied, count, defined, fields, isFields, list, text, type Fields } from './guards.ts'
import { llmStart } from './request.ts'

/** A prompt may be a text, a list of texts, token ids, or a list of lists of token ids. */
export function completionStart(body: Fields, baseURL: string | undefined): LlmStart {
  const prompt = body['prompt']
  const several = Array.isArray(prompt) && prompt.some((item) => typeof item !== 'number')
  const prompts: readonly unknown[] = several
    ? prompt
    : prompt === undefined || prompt === null
      ? []
      : [prompt]
  const messages = prompts.map((content): Message => ({ role: 'user', content }))
  return llmStart('completion', body, messages, baseURL)
}

export function completionData(body: unknown): LlmData {
  const answer = fields(body)
  return {
    response: responseOf(answer),
    choices: list(answer['choices']).map((item, position) => {
      const choice = fields(item)
      return defined<Choice>({
        index: count(choice['index']) ?? position,
        role: 'assistant',
        content: text(choice['text']),
        finishReason: text(choice['finish_reason']),
        logprobs: copiedLists(choice['logprobs']),
      })
    }),
    ...usageData(answer['usage']),
  }
}

interface PartialText {
  text: string
  finishReason: string | undefined
  logprobs: Record<string, unknown[]> | undefined
}

export class CompletionAccumulator implements Accumulator {
  readonly #choices = new Map<number, PartialText>()
  #first: Fields | undefined
  #usage: unknown

  add(chunk: unknown): boolean {
    if (!isFields(chunk)) return false
    this.#first ??= { id: chunk['id'], model: chunk['model'], created: chunk['created'] }
    if (isFields(chunk['usage'])) this.#usage = chunk['usage']
    let output = false
    for (const item of list(chunk['choices'])) {
      const choice = fields(item)
      const index = count(choice['index']) ?? 0
      const state = this.#choices.get(index) ?? { text: '', finishReason: undefined, logprobs: undefined }
      this.#choices.set(index, state)
      const piece = text(choice['text']) ?? ''
      state.text += piece
      state.finishReason = text(choice['finish_reason']) ?? state.finishReason
      if (isFields(choice['logprobs'])) addLists((state.logprobs ??= {}), choice['logprobs'])
      output ||= piece !== ''
    }
    return output
  }

  failure(): undefined {}

  data(): LlmData {
    const choices = [...this.#choices].sort(([a], [b]) => a - b)
    return {
      response: responseOf(this.#first ?? {}),
      choices: choices.map(([index, state]) =>
        defined<Choice>({
          index,
          role: 'assistant',
          content: state.text,
          finishReason: state.finishReason,
          logprobs: state.logprobs,
        }),
      ),
      ...usageData(this.#usage),
    }
  }
}

/** The completions API's logprobs are parallel lists: `tokens`, `token_logprobs`, `top_logprobs`, `text_offset`. */
function addLists(into: Record<string, unknown[]>, logprobs: Fields): void {
  for (const key of Object.keys(logprobs)) {
    if (!Object.hasOwn(into, key)) into[key] = []
    for (const item of list(logprobs[key])) into[key]?.push(item)
  }
}

function copiedLists(logprobs: unknown): unknown {
  // llama.cpp answers with a chat completion's `{ content: [...] }` here.
  if (!isFields(logprobs)) return undefined
  const result: Fields = {}
  for (const key of Object.keys(logprobs)) result[key] = copied(logprobs[key])
  return result
}
