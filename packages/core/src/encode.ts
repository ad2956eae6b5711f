import type {
  ActivityData,
  ActivityKind,
  ActivityStart,
  Choice,
  LlmData,
  LlmStart,
  Message,
  TokenIds,
  ToolCall,
  Usage,
} from './activity-types.ts'
import { numbersOnly } from './capture.ts'
import { completionKeys, isDataOf, isKind, promptKeys, requestKey } from './names.ts'
import { flatten, OPERATION_INPUT, OPERATION_NAME, OPERATION_OUTPUT, sanitizeValue } from './semconv.ts'
import type { Attributes, AttributeValue, SpanCore, SpanStatus } from './types.ts'

/*
 * Activities become Agent Lightning's attributes here: pure functions, no clock, no ids. What is recorded of the
 * start is copied at the start, since agents go on to change their message lists.
 */

/**
 * Request fields by which servers and proxies take credentials; never recorded, whatever the settings. A `…token` is one,
 * `max_tokens` and `stop_token_ids` are none.
 */
const SECRET =
  /(^|[-_])(api[-_]?key|auth|token)$|^(aws_|(api_base|base_url|proxy|data_sources|fallbacks|litellm_params|mcp_servers|model_list|user_config)$)|^(extra_)?(headers|query)$|authorization|bearer|cookie|credential|passw|secret/i

function putRequest(into: Attributes, request: Record<string, unknown>): void {
  for (const name in request)
    if (!SECRET.test(name)) put(into, requestKey(name), withoutSecrets(request[name], 8))
}

/** Only texts are left out of nested values: a schema may have a property that is called so. */
function withoutSecrets(value: unknown, depth: number): unknown {
  if (typeof value !== 'object' || value === null || 'toJSON' in value || depth === 0) return value
  if (Array.isArray(value)) return value.map((item: unknown) => withoutSecrets(item, depth - 1))
  const kept: [string, unknown][] = []
  for (const [name, item] of Object.entries(value)) {
    if (typeof item !== 'string' || !SECRET.test(name)) kept.push([name, withoutSecrets(item, depth - 1)])
  }
  return Object.fromEntries(kept)
}

/** Adds what JSON calls a value under `key`: nothing for null, text and numbers as they are, the rest as JSON text. */
function put(into: Attributes, key: string, value: unknown): void {
  if (value === undefined || value === null) return
  if (typeof value === 'string' || typeof value === 'boolean') into[key] = value
  else if (typeof value === 'number') into[key] = Number.isFinite(value) ? value : String(value)
  else into[key] = json(value)
}

/** A replacer makes `JSON.stringify` several times slower, so bigints are only looked for when it has refused. */
function json(value: unknown): string {
  try {
    return JSON.stringify(value) ?? ''
  } catch {
    return jsonWithBigints(value)
  }
}

function jsonWithBigints(value: unknown): string {
  try {
    return (
      JSON.stringify(value, (_key, item: unknown) => (typeof item === 'bigint' ? String(item) : item)) ?? ''
    )
  } catch (error) {
    return `[not serializable: ${error instanceof Error ? error.message : String(error)}]`
  }
}

/** JSON has no NaN and no infinities: such a number becomes text, and in a list all of them do. */
export function finite(value: AttributeValue): AttributeValue {
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value)
  if (!Array.isArray(value) || value.every((item) => typeof item !== 'number' || Number.isFinite(item)))
    return value
  return value.map(String)
}

/** Adds free attributes: nested values under dotted keys, lists kept or spelled out so that all stay legal. */
export function putAll(into: Attributes, attributes: Record<string, unknown> | undefined): void {
  for (const key in attributes) {
    const value = attributes[key]
    if (typeof value === 'string' || typeof value === 'boolean' || value instanceof Int32Array)
      into[key] = value
    else if (typeof value === 'object' && value !== null) {
      putNested(into, key, value)
    } else put(into, key, value)
  }
}

/** A value under `key`, spelled out with dots: lists of one type stay lists, null is the text `null`. */
function putNested(into: Attributes, key: string, value: unknown): void {
  if (value === undefined) return
  try {
    const flat = flatten({ [key]: value })
    for (const name in flat) into[name] = finite(sanitizeValue(flat[name]))
  } catch {
    put(into, key, value)
  }
}

function putToolCalls(into: Attributes, prefix: string, calls: readonly ToolCall[] | undefined): void {
  for (let i = 0; i < (calls?.length ?? 0); i++) {
    const call = calls?.[i]
    if (call === undefined) continue
    const key = `${prefix}.tool_calls.${i}`
    put(into, `${key}.id`, call.id)
    put(into, `${key}.type`, call.type)
    put(into, `${key}.name`, call.name)
    put(into, `${key}.arguments`, call.arguments)
  }
}

function putMessages(into: Attributes, messages: readonly Message[]): void {
  for (let i = 0; i < messages.length; i++) {
    const message = messages[i]
    if (message === undefined) continue
    const key = promptKeys(i)
    into[key.role] = message.role
    put(into, key.content, message.content)
    if (message.toolCallId !== undefined) into[`${key.prefix}.tool_call_id`] = message.toolCallId
    if (message.name !== undefined) into[key.name] = message.name
    if (message.toolCalls !== undefined) putToolCalls(into, key.prefix, message.toolCalls)
  }
}

/** Attributes known when an activity starts. Content is left out at once where it will not be kept. */
export function encodeStart(
  kind: ActivityKind,
  start: ActivityStart[ActivityKind],
  content: boolean,
): Attributes {
  const into: Attributes = {}
  if (isKind(kind, 'llm', start)) {
    into['gen_ai.system'] = start.provider
    into['gen_ai.request.type'] = start.operation
    putRequest(into, start.request)
    if (start.streaming !== undefined) into['gen_ai.request.streaming'] = start.streaming
    if (start.baseURL !== undefined) into['agl.base_url'] = start.baseURL
    if (content && start.messages !== undefined) putMessages(into, start.messages)
    for (const [i, { name, description, parameters }] of (start.tools ?? []).entries()) {
      const key = `gen_ai.request.functions.${i}`
      put(into, `${key}.name`, name)
      if (content) put(into, `${key}.description`, description)
      if (content && parameters !== undefined) into[`${key}.parameters`] = json(parameters)
    }
  } else if (isKind(kind, 'embedding', start)) {
    into['gen_ai.system'] = start.provider
    into['gen_ai.request.type'] = 'embedding'
    putRequest(into, start.request)
    if (start.baseURL !== undefined) into['agl.base_url'] = start.baseURL
    if (content) put(into, 'gen_ai.prompt.0.content', start.input)
  } else if (isKind(kind, 'tool', start)) {
    into['agentops.span.kind'] = 'tool'
    into['operation.name'] = start.name
    into['tool.name'] = start.name
    if (content) put(into, 'tool.parameters', start.parameters)
    put(into, 'tool.call.id', start.callId)
    put(into, 'tool.call.type', start.type)
  } else if (!('request' in start) && kind === 'operation') {
    into[OPERATION_NAME] = start.name
    if (content && 'input' in start) putNested(into, OPERATION_INPUT, start.input)
  } else if (!('request' in start)) {
    into['agentops.span.kind'] = kind
    into['operation.name'] = start.name
    if (content && 'input' in start) put(into, `agentops.${kind}.input`, start.input)
  }
  putAll(into, start.attributes)
  return into
}

/** Attributes known when an activity ends. Mutates and returns `into`, the start's attributes. */
export function encodeEnd(
  into: Attributes,
  kind: ActivityKind,
  start: ActivityStart[ActivityKind],
  data: ActivityData[ActivityKind],
  options: { content: boolean; tokens: boolean; outer: boolean; spanId: string },
): Attributes {
  if (isKind(kind, 'llm', start) && isDataOf(kind, 'llm', data)) putLlm(into, start, data, options)
  else if (isDataOf(kind, 'embedding', data)) {
    put(into, 'gen_ai.response.model', data.response?.model)
    putUsage(into, data.usage)
    put(into, 'agl.embedding.count', data.count)
    put(into, 'agl.embedding.dimensions', data.dimensions)
    put(into, 'agl.request_id', data.requestId)
    put(into, 'http.response.status_code', data.httpStatus)
  } else if (kind === 'operation') {
    if (options.content && 'output' in data) putNested(into, OPERATION_OUTPUT, data.output)
  } else if (options.content) {
    if (isDataOf(kind, 'tool', data)) put(into, 'tool.result', data.result)
    else if ('output' in data) put(into, `agentops.${kind}.output`, data.output)
  }
  put(into, 'agl.finish', data.finish)
  putAll(into, data.attributes)
  return into
}

const INNERMOST_ONLY = /^gen_ai\.(prompt|completion|request|response|usage|system)(\.|$)/

function putLlm(
  into: Attributes,
  start: LlmStart,
  data: LlmData,
  options: { content: boolean; tokens: boolean; outer: boolean; spanId: string },
): void {
  if (options.outer) {
    for (const key in into) if (INNERMOST_ONLY.test(key)) delete into[key]
    into['agentops.span.kind'] = 'llm'
  } else {
    for (const choice of data.choices ?? []) putChoice(into, choice, options)
    into['gen_ai.response.id'] = data.response?.id || options.spanId
    put(into, 'gen_ai.response.model', data.response?.model)
    put(into, 'gen_ai.openai.system_fingerprint', data.response?.systemFingerprint)
    put(into, 'gen_ai.openai.service_tier', data.response?.serviceTier)
    putUsage(into, data.usage)
    if (options.tokens && data.tokens !== undefined) putTokens(into, data.tokens)
  }
  if (data.timeToFirstToken !== undefined) into['agl.time_to_first_token'] = data.timeToFirstToken / 1000
  put(into, 'agl.request_id', data.requestId)
  put(into, 'http.response.status_code', data.httpStatus)
}

function putUsage(into: Attributes, usage: Usage | undefined): void {
  if (usage === undefined) return
  put(into, 'gen_ai.usage.prompt_tokens', usage.promptTokens)
  put(into, 'gen_ai.usage.completion_tokens', usage.completionTokens)
  put(into, 'gen_ai.usage.total_tokens', usage.totalTokens)
  put(into, 'gen_ai.usage.cache_read_input_tokens', usage.cachedTokens)
  put(into, 'gen_ai.usage.reasoning_tokens', usage.reasoningTokens)
}

function putChoice(into: Attributes, choice: Choice, options: { content: boolean; tokens: boolean }): void {
  const key = completionKeys(choice.index)
  put(into, key.role, choice.role)
  put(into, key.finishReason, choice.finishReason)
  if (options.content) {
    put(into, key.content, choice.content)
    if (choice.refusal !== undefined) into[`${key.prefix}.refusal`] = choice.refusal
    if (choice.reasoning !== undefined) into[`${key.prefix}.reasoning`] = choice.reasoning
    if (choice.toolCalls !== undefined) putToolCalls(into, key.prefix, choice.toolCalls)
  }
  const prefix = choice.index === 0 ? '' : `agl.choices.${choice.index}.`
  if (choice.logprobs !== undefined) {
    putLogprobs(into, `${prefix}logprobs.content`, choice.logprobs, options.tokens)
  }
  if (choice.refusalLogprobs !== undefined) {
    putLogprobs(into, `${prefix}logprobs.refusal`, choice.refusalLogprobs, options.tokens)
  }
}

function putLogprobs(into: Attributes, key: string, value: unknown, tokens: boolean): void {
  if (value === undefined || value === null) return
  // A copy: the program may change the lists of its answer.
  const own: unknown = Array.isArray(value) ? value.slice() : { ...Object(value) }
  if (tokens) later(into, key, () => json(own))
  else into[key] = numbersOnly(json(value))
}

/**
 * Writes JSON of hundreds of log probabilities when a sink first reads it, not while the agent waits. The
 * list is our own copy by then.
 */
function later(into: Attributes, key: string, make: () => string): void {
  let text: string | undefined
  Object.defineProperty(into, key, {
    get: () => (text ??= make()),
    set: (value: string) => {
      text = value
    },
    enumerable: true,
    configurable: true,
  })
}

function putTokens(into: Attributes, tokens: TokenIds): void {
  const holes = tokens.choices.some((choice) => choice.index === 0 && choice.gap === true)
  if (tokens.prompt !== undefined)
    into[holes ? 'agl.partial.prompt_token_ids' : 'prompt_token_ids'] = tokens.prompt
  for (const choice of tokens.choices) {
    const partial = choice.gap === true ? 'agl.partial.' : ''
    const prefix = choice.index === 0 ? partial : `${partial || 'agl.'}choices.${choice.index}.`
    if (choice.response !== undefined) into[`${prefix}response_token_ids`] = choice.response
    if (choice.prompt !== undefined) into[`${prefix}prompt_token_ids`] = choice.prompt
  }
  if (tokens.complete !== undefined) into['agl.tokens.complete'] = tokens.complete
  if (tokens.truncated === true) into['agl.tokens.truncated'] = true
}

/** Error status and attributes, from whatever was thrown. */
export function encodeError(into: Attributes, error: unknown): SpanStatus {
  const isError =
    error instanceof Error || (typeof error === 'object' && error !== null && 'message' in error)
  const type = isError ? errorType(error) : typeof error
  const message = asText(isError && 'message' in error ? error.message : error)
  into['error.type'] = type
  into['exception.type'] = type
  into['exception.message'] = message
  if (isError && 'status' in error && typeof error.status === 'number') {
    into['http.response.status_code'] = error.status
  }
  if (isError && 'requestID' in error && typeof error.requestID === 'string')
    into['agl.request_id'] = error.requestID
  return { statusCode: 'ERROR', description: `${type}: ${message}` }
}

function asText(value: unknown): string {
  try {
    return String(value)
  } catch {
    return '[no text]'
  }
}

/** The class's name rather than `name`, which most classes leave at `Error`. */
function errorType(error: object): string {
  const name = 'name' in error && typeof error.name === 'string' ? error.name : ''
  const own: unknown = error.constructor?.name
  return name !== '' && name !== 'Error'
    ? name
    : typeof own === 'string' && own !== 'Object'
      ? own
      : name || 'Error'
}

/** The zero-length children by which Agent Lightning's message adapter finds the tool calls of an answer. */
export function toolCallSpans(choices: readonly Choice[] | undefined): SpanCore[] {
  const calls = choices?.find((choice) => choice.index === 0)?.toolCalls ?? []
  return calls.map((call) => ({
    name: `tool_call.${call.name}`,
    status: { statusCode: 'OK', description: null },
    attributes: {
      'agentops.span.kind': 'tool',
      'tool.name': call.name,
      'tool.parameters': call.arguments,
      ...(call.id === undefined ? {} : { 'tool.call.id': call.id }),
      'tool.call.type': call.type ?? 'function',
    },
  }))
}
