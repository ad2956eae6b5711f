import type { Span } from '@agl/core'
import { parsePythonJSON } from '@agl/core/semconv'
import {
  dict,
  listOf,
  need,
  parseParameters,
  type RecordedCall,
  readCalls,
  toPromptMessage,
  toToolCall,
  toToolCalls,
} from '../messages.ts'
import { type ChatMessage, toMessageParam } from '../params.ts'

/** An answer of a model that a trainer can learn from, and what it answers to. */
export interface Chat {
  /** At least one message. */
  prompt: ChatMessage[]
  /** Has a text or calls tools. */
  answer: ChatMessage
  /** What a model that thinks said before the answer. */
  reasoning: string | undefined
  tools: ChatTool[]
  parallelToolCalls: boolean | undefined
}

export interface ChatTool {
  type: 'function'
  function: { name: unknown; description?: unknown; parameters?: unknown }
}

/** Answers that stop short of their end, which a model should not learn. */
const CUT: readonly unknown[] = ['length', 'content_filter']
/** Requests that are no chats: their prompts are single texts. */
const OTHER: readonly unknown[] = ['completion', 'embedding']

/**
 * The chats of one rollout, as `toMessages` gives them, but for training on each answer as such: one for each answer
 * where a call asked for several, and none where it failed, was broken off, was cut by a limit or a filter, or where
 * messages were not recorded. What a message has beside the calls of tools is kept, where Python's adapter drops it.
 *
 * @throws AglError `value_invalid` where `toMessages` throws it
 */
export function toChats(spans: readonly Span[]): Chat[] {
  const answered = spans.filter(isAnswered)
  return readCalls(answered, spans).flatMap((call) => {
    const prompt = call.prompt.map(toMessage)
    const tools = Object.hasOwn(call.request, 'functions')
      ? listOf(call.request['functions'], 'functions').map(toTool)
      : []
    const { parallel_tool_calls: parallel } = call.request
    const parallelToolCalls = typeof parallel === 'boolean' ? parallel : undefined
    return call.completion.flatMap((recorded, index) => {
      const found = prompt.length > 0 ? toAnswer(recorded, index, call) : undefined
      return found === undefined ? [] : [{ prompt, ...found, tools, parallelToolCalls }]
    })
  })
}

function isAnswered({ attributes, status }: Span): boolean {
  const { 'agl.finish': finish, 'gen_ai.request.type': type } = attributes
  if (status.statusCode === 'ERROR' || OTHER.includes(type)) return false
  // One that was read by hand is whole, as far as it is recorded.
  if (finish !== undefined && finish !== 'raw') return false
  return Object.keys(attributes).some((key) => key.startsWith('gen_ai.completion.'))
}

function toAnswer(
  recorded: unknown,
  index: number,
  { tools }: RecordedCall,
): Pick<Chat, 'answer' | 'reasoning'> | undefined {
  const said = dict(recorded, 'an answer')
  const { role, content = null, finish_reason: reason, reasoning } = said
  if (role !== 'assistant' || CUT.includes(reason)) return undefined
  const own = Object.hasOwn(said, 'tool_calls') ? toToolCalls(said['tool_calls']) : []
  // Spans tell of the first answer's calls alone.
  const calls = own.length > 0 || index > 0 ? own : tools.map(toToolCall)
  if (calls.length === 0 && (content === null || content === '')) return undefined
  const answer = calls.length === 0 ? { role, content } : { role, content, tool_calls: calls }
  return { answer, reasoning: typeof reasoning === 'string' && reasoning !== '' ? reasoning : undefined }
}

function toMessage(recorded: unknown): ChatMessage {
  const message = toPromptMessage(recorded)
  const { content, name } = dict(recorded, 'a message')
  const parts = content === undefined || content === '' ? undefined : partsOf(message, content)
  return {
    ...message,
    ...(parts === undefined ? {} : { content: parts }),
    ...(typeof name === 'string' && name !== '' ? { name } : {}),
  }
}

/** A content of several parts is recorded as JSON. */
function partsOf({ role, tool_call_id: id }: ChatMessage, content: unknown): unknown {
  if (typeof content !== 'string' || !/^\s*\[\s*\{/.test(content))
    return toMessageParam(role, content, id).content
  try {
    return toMessageParam(role, parsePythonJSON(content), id).content
  } catch {
    return content
  }
}

function toTool(recorded: unknown): ChatTool {
  const tool = dict(recorded, 'a tool')
  const { description, parameters } = tool
  return {
    type: 'function',
    function: {
      name: need(tool, 'name'),
      ...(description === undefined ? {} : { description }),
      ...(parameters === undefined
        ? {}
        : { parameters: typeof parameters === 'string' ? parseParameters(parameters) : parameters }),
    },
  }
}
