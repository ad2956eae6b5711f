import type { Choice, LlmData, LlmStart, ToolCall, Usage } from '@agl/core'
import { copied, count, defined, fields, isFields, list, text, type Fields } from './guards.ts'
import { llmStart, message, toolCalls } from './request.ts'

export function chatStart(body: Fields, baseURL: string | undefined): LlmStart {
  return llmStart('chat', body, list(body['messages']).map(message), baseURL)
}

/** `chat.completion`, whole. */
export function chatData(body: unknown): LlmData {
  const answer = fields(body)
  return {
    response: responseOf(answer),
    choices: list(answer['choices']).map((item, position) => {
      const choice = fields(item)
      const said = fields(choice['message'])
      const logprobs = fields(choice['logprobs'])
      return defined<Choice>({
        index: count(choice['index']) ?? position,
        role: text(said['role']),
        content: said['content'] ?? undefined,
        refusal: text(said['refusal']),
        reasoning: text(said['reasoning'] ?? said['reasoning_content']),
        finishReason: text(choice['finish_reason']),
        toolCalls: toolCalls(said),
        logprobs: copied(logprobs['content']),
        refusalLogprobs: copied(logprobs['refusal']),
      })
    }),
    ...usageData(answer['usage']),
  }
}

export function responseOf(answer: Fields): NonNullable<LlmData['response']> {
  return defined<NonNullable<LlmData['response']>>({
    id: text(answer['id']),
    model: text(answer['model']),
    created: count(answer['created'] ?? answer['created_at']),
    systemFingerprint: text(answer['system_fingerprint']),
    serviceTier: text(answer['service_tier']),
  })
}

/** Usage by either API's names. */
function usageOf(value: unknown): Usage | undefined {
  if (!isFields(value)) return undefined
  const promptDetails = fields(value['prompt_tokens_details'] ?? value['input_tokens_details'])
  const outputDetails = fields(value['completion_tokens_details'] ?? value['output_tokens_details'])
  return defined<Usage>({
    promptTokens: count(value['prompt_tokens'] ?? value['input_tokens']),
    completionTokens: count(value['completion_tokens'] ?? value['output_tokens']),
    totalTokens: count(value['total_tokens']),
    cachedTokens: count(promptDetails['cached_tokens']),
    reasoningTokens: count(outputDetails['reasoning_tokens']),
  })
}

export function usageData(value: unknown): { usage?: Usage } {
  const usage = usageOf(value)
  return usage === undefined ? {} : { usage }
}

interface PartialCall {
  index: number
  id: string | undefined
  type: string | undefined
  name: string
  arguments: string
}

class PartialChoice {
  readonly index: number
  role: string | undefined
  content: string | undefined
  refusal: string | undefined
  reasoning: string | undefined
  finishReason: string | undefined
  readonly calls: PartialCall[] = []
  readonly logprobs: unknown[] = []
  readonly refusalLogprobs: unknown[] = []
  constructor(index: number) {
    this.index = index
  }
}

/** What a stream adds up to. One of these per kind of stream; `add` runs once per chunk and must stay cheap. */
export interface Accumulator {
  /** True when the chunk carried output of the model. */
  add(chunk: unknown): boolean
  data(): LlmData
  /** An error that came as a chunk and that the client does not throw. */
  failure(): Error | undefined
}

/** `chat.completion.chunk`s: choices by their index, tool calls by index too, and by id where a server sends no index. */
export class ChatAccumulator implements Accumulator {
  readonly #choices: PartialChoice[] = []
  #first: Fields | undefined
  #usage: unknown
  #fingerprint: unknown
  #tier: unknown
  #error: Fields | undefined

  add(chunk: unknown): boolean {
    if (!isFields(chunk)) return false
    if (this.#first === undefined && (chunk['id'] !== undefined || chunk['model'] !== undefined)) {
      this.#first = { id: chunk['id'], model: chunk['model'], created: chunk['created'] }
    }
    const usage = chunk['usage']
    if (usage !== undefined && usage !== null) this.#usage = usage
    if (chunk['system_fingerprint']) this.#fingerprint = chunk['system_fingerprint']
    if (chunk['service_tier']) this.#tier = chunk['service_tier']
    const choices = chunk['choices']
    if (!Array.isArray(choices)) {
      if (isError(chunk)) this.#error = chunk
      return false
    }
    let output = false
    for (let i = 0; i < choices.length; i++) {
      const choice: unknown = choices[i]
      if (isFields(choice) && this.#addChoice(choice)) output = true
    }
    return output
  }

  #addChoice(choice: Fields): boolean {
    const index = choice['index']
    const state = this.#choice(typeof index === 'number' ? index : 0)
    const finish = choice['finish_reason']
    if (typeof finish === 'string') state.finishReason = finish
    const logprobs = choice['logprobs']
    if (isFields(logprobs)) {
      append(state.logprobs, logprobs['content'])
      append(state.refusalLogprobs, logprobs['refusal'])
    }
    const delta = choice['delta']
    return isFields(delta) && addDelta(state, delta)
  }

  #choice(index: number): PartialChoice {
    const known = this.#choices[index]
    if (known?.index === index) return known
    let choice = this.#choices.find((item) => item.index === index)
    if (choice === undefined) this.#choices.push((choice = new PartialChoice(index)))
    return choice
  }

  failure(): Error | undefined {
    return this.#error && serverError(this.#error)
  }

  data(): LlmData {
    const response = { ...this.#first, system_fingerprint: this.#fingerprint, service_tier: this.#tier }
    const choices = [...this.#choices].sort((a, b) => a.index - b.index)
    return { response: responseOf(response), choices: choices.map(whole), ...usageData(this.#usage) }
  }
}

/** Servers before vLLM 0.10.1 send a bare error as data, others as an `error` event: clients pass them on as chunks. */
function isError(chunk: Fields): boolean {
  return chunk['object'] === 'error' || (text(chunk['message']) !== undefined && 'code' in chunk)
}

export function serverError(reported: Fields): Error {
  const error = new Error(text(reported['message']) ?? 'the server reported an error')
  return Object.assign(error, { name: text(reported['type']) ?? text(reported['code']) ?? 'ServerError' })
}

function append(into: unknown[], items: unknown): void {
  if (Array.isArray(items)) for (let i = 0; i < items.length; i++) into.push(items[i])
}

function addDelta(state: PartialChoice, delta: Fields): boolean {
  let output = false
  const { content, role, refusal, tool_calls: calls, function_call: legacy } = delta
  if (typeof content === 'string') {
    state.content = state.content === undefined ? content : state.content + content
    output = content !== ''
  }
  if (typeof role === 'string') state.role ??= role
  const reasoning = delta['reasoning'] ?? delta['reasoning_content']
  if (typeof reasoning === 'string') {
    state.reasoning = (state.reasoning ?? '') + reasoning
    output ||= reasoning !== ''
  }
  if (typeof refusal === 'string') {
    state.refusal = (state.refusal ?? '') + refusal
    output ||= refusal !== ''
  }
  if (Array.isArray(calls)) {
    for (const call of calls) if (isFields(call)) addCall(state.calls, call)
    output ||= calls.length > 0
  } else if (isFields(legacy)) {
    addCall(state.calls, { index: 0, type: 'function', function: legacy })
    output = true
  }
  return output
}

function addCall(calls: PartialCall[], fragment: Fields): void {
  const id = text(fragment['id'])
  const index = count(fragment['index'])
  const target = fields(fragment['function'] ?? fragment['custom'])
  let call = index === undefined ? undefined : calls.findLast((item) => item.index === index)
  if (index === undefined) call = id === undefined ? calls.at(-1) : calls.find((item) => item.id === id)
  // Some servers give every call index 0: another id then means another call.
  else if (call?.id !== undefined && id !== undefined && id !== '' && id !== call.id) call = undefined
  if (call === undefined) {
    call = { index: index ?? calls.length, id: undefined, type: undefined, name: '', arguments: '' }
    calls.push(call)
  }
  call.id ??= id
  call.type ??= text(fragment['type'])
  const name = text(target['name'])
  if (name !== undefined && name !== call.name) call.name += name
  call.arguments += text(target['arguments']) ?? text(target['input']) ?? ''
}

function whole(choice: PartialChoice): Choice {
  const calls = choice.calls.map(({ id, type, name, arguments: given }) =>
    defined<ToolCall>({ id, type, name, arguments: given }),
  )
  return defined<Choice>({
    index: choice.index,
    role: choice.role,
    content: choice.content,
    refusal: choice.refusal,
    reasoning: choice.reasoning,
    finishReason: choice.finishReason,
    toolCalls: calls.length > 0 ? calls : undefined,
    logprobs: choice.logprobs.length > 0 ? choice.logprobs : undefined,
    refusalLogprobs: choice.refusalLogprobs.length > 0 ? choice.refusalLogprobs : undefined,
  })
}
