import type { Choice, LlmData, Message, ToolCall, ToolDefinition, Usage } from '@agl/core'
import { count, defined, fields, isFields, isMethod, list, text, type Fields } from './guards.ts'

const ROLES: Readonly<Record<string, string>> = { human: 'user', ai: 'assistant' }

/** LangChain's messages of any copy and version: none of its classes is known here. */
export function isMessage(value: unknown): value is Fields {
  return isFields(value) && 'content' in value && (isMethod(value['_getType']) || isMethod(value['getType']))
}

function typeOf(message: Fields): string {
  const method = isMethod(message['getType']) ? message['getType'] : message['_getType']
  return isMethod(method) ? (text(Reflect.apply(method, message, [])) ?? 'generic') : 'generic'
}

function roleOf(message: Fields): string {
  const type = typeOf(message)
  if (type === 'system' && fields(message['additional_kwargs'])['__openai_role__'] === 'developer')
    return 'developer'
  return ROLES[type] ?? (type === 'generic' ? (text(message['role']) ?? type) : type)
}

/** A message as OpenAI's API has it. */
export function messageOf(value: unknown): Message {
  if (!isMessage(value)) return { role: 'user', content: value }
  const { content, name, tool_call_id: toolCallId } = value
  const message: Message = { role: roleOf(value), content }
  const calls = toolCallsOf(value)
  if (calls.length > 0) message.toolCalls = calls
  if (typeof toolCallId === 'string') message.toolCallId = toolCallId
  if (typeof name === 'string' && name !== '') message.name = name
  return message
}

/** The calls of an assistant's message; those whose arguments are no JSON are among them, as the model wrote them. */
function toolCallsOf(message: Fields): ToolCall[] {
  const { tool_calls: valid, invalid_tool_calls: invalid } = message
  if (list(valid).length + list(invalid).length === 0) return NONE
  return [...list(valid), ...list(invalid)].map((value) => {
    const call = fields(value)
    const { args } = call
    return defined<ToolCall>({
      id: text(call['id']),
      type: 'function',
      name: text(call['name']) ?? '',
      arguments: typeof args === 'string' ? args : (JSON.stringify(args) ?? ''),
    })
  })
}
const NONE: ToolCall[] = []

const REQUEST =
  /^(model|temperature|top_p|top_k|min_p|max_(completion_|output_)?tokens|n|best_of|seed|(top_)?logprobs|(frequency|presence|repetition)_penalty|stream|stop|tool_choice|parallel_tool_calls|reasoning_effort|service_tier)$/

/** Of a model's parameters those that a request has, by their wire names. */
export function requestOf(params: Fields, metadata: Fields): Fields {
  const request: Fields = {}
  for (const key in params) {
    const value = params[key]
    if (value !== undefined && value !== null && REQUEST.test(key)) request[key] = value
  }
  request['model'] ??= params['model_name'] ?? params['modelName'] ?? metadata['ls_model_name']
  request['temperature'] ??= metadata['ls_temperature']
  request['max_tokens'] ??= metadata['ls_max_tokens']
  return defined(request)
}

export function toolsOf(params: Fields): ToolDefinition[] {
  return list(params['tools']).flatMap((value) => {
    const tool = fields(value)
    const { name, description, parameters, input_schema } = isFields(tool['function'])
      ? tool['function']
      : tool
    if (typeof name !== 'string') return []
    return [
      defined<ToolDefinition>({
        name,
        description: text(description),
        parameters: parameters ?? input_schema ?? tool['schema'],
      }),
    ]
  })
}

/** What a finished model run says, from LangChain's `LLMResult` of one prompt. */
export function llmDataOf(result: unknown): LlmData {
  const { generations, llmOutput } = fields(result)
  const group = list(list(generations)[0]).filter((generation) => isFields(generation))
  const first = fields(fields(group[0])['message'])
  const about = fields(first['response_metadata'])
  const usage = usageOf(first, fields(llmOutput))
  return defined<LlmData>({
    choices: group.map((generation, index) => choiceOf(generation, index)),
    response: defined<NonNullable<LlmData['response']>>({
      id: text(about['id']) ?? ownId(first['id']),
      model: text(about['model_name']) ?? text(about['model']),
      systemFingerprint: text(about['system_fingerprint']),
    }),
    usage,
  })
}

/** LangChain makes up an id of its own where the server gave none. */
function ownId(id: unknown): string | undefined {
  const given = text(id)
  return given === undefined || /^(lc_)?run-/.test(given) ? undefined : given
}

function choiceOf(generation: Fields, index: number): Choice {
  const { message } = generation
  if (!isMessage(message)) return { index, role: 'assistant', content: generation['text'] }
  const about = { ...fields(message['response_metadata']), ...fields(generation['generationInfo']) }
  const calls = toolCallsOf(message)
  const extra = fields(message['additional_kwargs'])
  return defined<Choice>({
    index,
    role: roleOf(message),
    content: message['content'],
    refusal: text(extra['refusal']),
    reasoning: text(extra['reasoning_content']),
    finishReason: text(about['finish_reason']) ?? text(about['stop_reason']),
    toolCalls: calls.length > 0 ? calls : undefined,
    logprobs: fields(about['logprobs'])['content'] ?? undefined,
  })
}

function usageOf(message: Fields, output: Fields): Usage | undefined {
  const own = fields(message['usage_metadata'])
  const said = fields(output['tokenUsage'] ?? output['estimatedTokenUsage'])
  const usage = defined<Usage>({
    promptTokens: count(own['input_tokens']) ?? count(said['promptTokens']),
    completionTokens: count(own['output_tokens']) ?? count(said['completionTokens']),
    totalTokens: count(own['total_tokens']) ?? count(said['totalTokens']),
    cachedTokens: count(fields(own['input_token_details'])['cache_read']),
    reasoningTokens: count(fields(own['output_token_details'])['reasoning']),
  })
  return Object.keys(usage).length > 0 ? usage : undefined
}
