import type { LlmStart, Message, ToolCall, ToolDefinition } from '@agl/core'
import { defined, fields, isFields, list, text, type Fields } from './guards.ts'

/** Fields that are no settings but content: they are recorded in other places, or not at all. */
const CONTENT = /^(messages|input|prompt|instructions|tools|functions|stream|suffix|prediction)$/

/** The request's settings by their wire names, `0`, `false` and `''` included. */
export function settings(body: Fields): Fields {
  const result: Fields = {}
  for (const key in body) {
    const value = body[key]
    if (value === undefined || value === null || CONTENT.test(key)) continue
    result[key] = value
  }
  return result
}

/** The calls of a message, those of the days before `tool_calls` too. */
export function toolCalls(said: Fields): ToolCall[] | undefined {
  const { tool_calls: calls, function_call: legacy } = said
  const all =
    list(calls).length === 0 && isFields(legacy) ? [{ type: 'function', function: legacy }] : list(calls)
  if (all.length === 0) return undefined
  return all.map((item) => {
    const call = fields(item)
    const target = fields(call['function'] ?? call['custom'])
    return defined<ToolCall>({
      id: text(call['id']),
      type: text(call['type']),
      name: text(target['name']) ?? '',
      arguments: text(target['arguments']) ?? text(target['input']) ?? '',
    })
  })
}

export function message(value: unknown): Message {
  const item = fields(value)
  return defined<Message>({
    role: text(item['role']) ?? 'user',
    content: item['content'] ?? undefined,
    toolCallId: text(item['tool_call_id']),
    toolCalls: toolCalls(item),
    name: text(item['name']),
  })
}

function tools(body: Fields): ToolDefinition[] | undefined {
  const declared = [...list(body['tools']), ...list(body['functions'])]
  if (declared.length === 0) return undefined
  return declared.map((item) => {
    const tool = fields(item)
    const target = [tool['function'], tool['custom']].find(isFields) ?? tool
    return defined<ToolDefinition>({
      name: text(target['name']) ?? text(tool['type']) ?? '',
      description: text(target['description']),
      parameters: target['parameters'] ?? undefined,
    })
  })
}

export function llmStart(
  operation: LlmStart['operation'],
  body: Fields,
  messages: readonly Message[] | undefined,
  baseURL: string | undefined,
): LlmStart {
  return defined<LlmStart>({
    operation,
    provider: 'OpenAI',
    request: settings(body),
    messages,
    tools: tools(body),
    streaming: body['stream'] === true,
    baseURL,
  })
}
