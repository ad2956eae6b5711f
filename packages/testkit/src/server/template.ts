import { isRecord, list, record, text, type Json } from './json.ts'
import type { SpecialToken, Tokenizer } from './tokenizer.ts'

export interface MessageToolCall {
  id: string
  name: string
  /** JSON text, valid or not. */
  arguments: string
}

/** One message of a conversation, whichever endpoint it came by. */
export interface ChatMessage {
  role: string
  text: string
  toolCalls: readonly MessageToolCall[]
  /** Which call a `tool` message answers. */
  toolCallId?: string
}

/** A piece of a templated text: plain text, or a token that stands for itself. */
export type Segment = string | { readonly special: SpecialToken }

const special = (name: SpecialToken): Segment => ({ special: name })

/**
 * The chat template, ChatML with Hermes tool calls:
 *
 *     <|im_start|>system⏎# Tools⏎{tool as JSON}<|im_end|>⏎       (only with tools)
 *     <|im_start|>{role}⏎{text}<tool_call>{call}</tool_call><|im_end|>⏎
 *     <|im_start|>assistant⏎
 *
 * Segments are tokenised one by one, so the prompt of a later turn begins with the prompt and the response of the
 * turn before, token by token.
 */
export function promptSegments(messages: readonly ChatMessage[], tools: readonly unknown[] = []): Segment[] {
  const segments: Segment[] = []
  if (tools.length > 0) {
    const definitions = tools.map((tool) => JSON.stringify(tool)).join('\n')
    segments.push(special('<|im_start|>'), 'system\n', `# Tools\n${definitions}`, special('<|im_end|>'), '\n')
  }
  for (const message of messages) {
    segments.push(special('<|im_start|>'), `${message.role}\n`, message.text)
    for (const call of message.toolCalls) segments.push(...callSegments(call.name, call.arguments))
    segments.push(special('<|im_end|>'), '\n')
  }
  segments.push(special('<|im_start|>'), 'assistant\n')
  return segments
}

/** A tool call as the model writes it: marker, head, arguments, tail, marker. */
export function callSegments(name: string, args: string): [Segment, string, string, string, Segment] {
  const head = `{"name": ${JSON.stringify(name)}, "arguments": `
  return [special('<tool_call>'), head, args, '}', special('</tool_call>')]
}

export function encodeSegments(segments: readonly Segment[], tokenizer: Tokenizer): number[] {
  const ids: number[] = []
  for (const segment of segments) {
    if (typeof segment !== 'string') ids.push(tokenizer.special(segment.special))
    else if (segment !== '') for (const id of tokenizer.encode(segment)) ids.push(id)
  }
  return ids
}

/** Reads the messages of a chat request, or the input items of a Responses request. */
export function messagesOf(body: Json): ChatMessage[] {
  if (Array.isArray(body['messages'])) return body['messages'].map(chatMessage)
  const instructions = text(body['instructions'])
  const messages: ChatMessage[] = []
  if (instructions !== undefined) messages.push({ role: 'system', text: instructions, toolCalls: [] })
  if (typeof body['input'] === 'string') messages.push({ role: 'user', text: body['input'], toolCalls: [] })
  else for (const item of list(body['input'])) addItem(messages, record(item))
  return messages
}

function chatMessage(value: unknown): ChatMessage {
  const message = record(value)
  const toolCallId = text(message['tool_call_id'])
  return {
    role: text(message['role']) ?? 'user',
    text: contentText(message['content']) + (text(message['refusal']) ?? ''),
    toolCalls: list(message['tool_calls']).map((call) => {
      const fn = record(record(call)['function'])
      return {
        id: text(record(call)['id']) ?? '',
        name: text(fn['name']) ?? '',
        arguments: text(fn['arguments']) ?? '',
      }
    }),
    ...(toolCallId === undefined ? {} : { toolCallId }),
  }
}

/** Consecutive output items of one turn belong to one assistant message. */
function addItem(messages: ChatMessage[], item: Json): void {
  const last = messages.at(-1)
  if (item['type'] === 'function_call') {
    const call = {
      id: text(item['call_id']) ?? '',
      name: text(item['name']) ?? '',
      arguments: text(item['arguments']) ?? '',
    }
    if (last?.role === 'assistant')
      messages[messages.length - 1] = { ...last, toolCalls: [...last.toolCalls, call] }
    else messages.push({ role: 'assistant', text: '', toolCalls: [call] })
  } else if (item['type'] === 'function_call_output') {
    const toolCallId = text(item['call_id']) ?? ''
    messages.push({ role: 'tool', text: contentText(item['output']), toolCalls: [], toolCallId })
  } else if (item['role'] !== undefined) messages.push(chatMessage(item))
}

function contentText(content: unknown): string {
  if (typeof content === 'string') return content
  return list(content)
    .map((part) => {
      if (!isRecord(part)) return ''
      return text(part['text']) ?? text(part['refusal']) ?? `[${String(part['type'])}]`
    })
    .join('')
}
