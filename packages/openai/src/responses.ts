import type { Choice, LlmData, LlmStart, Message, ToolCall } from '@agl/core'
import { responseOf, serverError, usageData, type Accumulator } from './chat.ts'
import { defined, fields, isFields, list, text, type Fields } from './guards.ts'
import { llmStart, message } from './request.ts'

/** The Responses API's request: instructions and input items become messages. */
export function responseStart(body: Fields, baseURL: string | undefined): LlmStart {
  const messages: Message[] = []
  const instructions = text(body['instructions'])
  if (instructions !== undefined) messages.push({ role: 'system', content: instructions })
  const { input } = body
  if (typeof input === 'string') messages.push({ role: 'user', content: input })
  for (const item of list(input)) messages.push(inputItem(fields(item)))
  return llmStart('response', body, messages, baseURL)
}

function inputItem(item: Fields): Message {
  const callId = text(item['call_id'])
  switch (item['type']) {
    case 'function_call':
    case 'custom_tool_call':
      return { role: 'assistant', toolCalls: [callOf(item)] }
    case 'function_call_output':
    case 'custom_tool_call_output':
      return defined<Message>({ role: 'tool', content: item['output'], toolCallId: callId })
    default:
      return item['role'] === undefined
        ? { role: text(item['type']) ?? 'item', content: item }
        : message(item)
  }
}

function callOf(item: Fields): ToolCall {
  return defined<ToolCall>({
    id: text(item['call_id'] ?? item['id']),
    type: 'function',
    name: text(item['name']) ?? '',
    arguments: text(item['arguments']) ?? text(item['input']) ?? '',
  })
}

/** A `response` object, whole: its output items together are one choice. */
export function responseData(body: unknown): LlmData {
  const answer = fields(body)
  const items = list(answer['output']).map(fields)
  const parts = items.flatMap((item) => (item['type'] === 'message' ? list(item['content']).map(fields) : []))
  const join = (pieces: (string | undefined)[]): string | undefined => {
    const said = pieces.filter((piece) => piece !== undefined)
    return said.length > 0 ? said.join('') : undefined
  }
  const calls = items.filter(
    (item) => item['type'] === 'function_call' || item['type'] === 'custom_tool_call',
  )
  const summaries = items.flatMap((item) =>
    item['type'] === 'reasoning' ? [...list(item['summary']), ...list(item['content'])].map(fields) : [],
  )
  const logprobs = parts.flatMap((part) => list(part['logprobs']))
  const reason = text(fields(answer['incomplete_details'])['reason']) ?? text(answer['status'])
  const choice = defined<Choice>({
    index: 0,
    role: 'assistant',
    content: join(parts.map((part) => text(part['text']))),
    refusal: join(parts.map((part) => text(part['refusal']))),
    reasoning: join(summaries.map((part) => text(part['text']))),
    finishReason: calls.length > 0 && reason === 'completed' ? 'tool_calls' : reason,
    toolCalls: calls.length > 0 ? calls.map(callOf) : undefined,
    logprobs: logprobs.length > 0 ? logprobs : undefined,
  })
  return { response: responseOf(answer), choices: [choice], ...usageData(answer['usage']) }
}

/** The error that a response tells in place of failing: the client hands it to the caller like any other. */
export function responseFailure(answer: Fields): Error | undefined {
  return isFields(answer['error']) ? serverError(answer['error']) : undefined
}

/** Typed events; the terminal one carries the whole response, so that only a broken-off stream is pieced together. */
export class ResponseAccumulator implements Accumulator {
  #latest: Fields | undefined
  #done = false
  #text = ''
  readonly #items: Fields[] = []
  #error: Fields | undefined

  add(event: unknown): boolean {
    if (!isFields(event)) return false
    const type = text(event['type']) ?? ''
    if (type === 'error') this.#error = event
    if (isFields(event['response'])) this.#latest = event['response']
    if (type === 'response.completed' || type === 'response.incomplete' || type === 'response.failed')
      this.#done = true
    if (type === 'response.output_item.done' && isFields(event['item'])) this.#items.push(event['item'])
    const delta = text(event['delta'])
    if (delta === undefined) return false
    if (type === 'response.output_text.delta') this.#text += delta
    return delta !== ''
  }

  /** The error of a `response.failed` or `error` event that the client does not throw. */
  failure(): Error | undefined {
    return this.#error === undefined ? responseFailure(this.#latest ?? {}) : serverError(this.#error)
  }

  data(): LlmData {
    const latest = this.#latest ?? {}
    if (this.#done) return responseData(latest)
    const spoken = this.#text === '' || this.#items.some((item) => item['type'] === 'message')
    const rest = spoken ? [] : [{ type: 'message', content: [{ type: 'output_text', text: this.#text }] }]
    // Its status is still that of the beginning.
    return responseData({ ...latest, status: undefined, output: [...this.#items, ...rest] })
  }
}
