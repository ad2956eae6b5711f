import { AglError } from '@agl/core'
import { isDict } from '@agl/core/semconv'

/*
 * What OpenAI's chat API takes as a message, and what is left of one that has more: the types
 * `ChatCompletion…MessageParam` of its client.
 */

/** Reads one value, or throws; what it does not know it leaves out. */
type Check = (value: unknown) => unknown

function refuse(what: string): never {
  throw new AglError('value_invalid', `A recorded prompt is no message of the chat API: ${what}.`)
}

const text: Check = (value) => (typeof value === 'string' ? value : refuse('a text is missing'))

const oneOf =
  (...values: readonly string[]): Check =>
  (value) =>
    typeof value === 'string' && values.includes(value) ? value : refuse(`it must be ${values.join(' or ')}`)

const record =
  (required: Readonly<Record<string, Check>>, optional: Readonly<Record<string, Check>> = {}): Check =>
  (value) => {
    if (!isDict(value)) return refuse('a part is no object')
    const result: Record<string, unknown> = {}
    for (const [key, check] of Object.entries(required))
      result[key] = check(Object.hasOwn(value, key) ? value[key] : undefined)
    for (const [key, check] of Object.entries(optional))
      if (Object.hasOwn(value, key)) result[key] = check(value[key])
    return result
  }

const PARTS: Readonly<Record<string, Check>> = {
  text: record({ type: text, text }),
  refusal: record({ type: text, refusal: text }),
  image_url: record({
    type: text,
    image_url: record({ url: text }, { detail: oneOf('auto', 'low', 'high') }),
  }),
  input_audio: record({
    type: text,
    input_audio: record({ data: text, format: oneOf('wav', 'mp3') }),
  }),
  file: record({ type: text, file: record({}, { file_data: text, file_id: text, filename: text }) }),
}

const TEXT = ['text']
/** The kinds of parts that a content may have, by role. */
const CONTENTS: Readonly<Record<string, readonly string[]>> = {
  developer: TEXT,
  system: TEXT,
  user: ['text', 'image_url', 'input_audio', 'file'],
  assistant: ['text', 'refusal'],
  tool: TEXT,
}

/** One message of a chat, as OpenAI's API takes it. */
export interface ChatMessage {
  role: string
  content: unknown
  tool_call_id?: string
  name?: string
  tool_calls?: ToolCallParam[]
}

export interface ToolCallParam {
  id: unknown
  type: unknown
  function: { name: unknown; arguments: unknown }
}

/** @throws AglError `value_invalid` for what OpenAI's client would refuse, and for the role `function` */
export function toMessageParam(role: unknown, content: unknown, toolCallId: unknown): ChatMessage {
  const parts = typeof role === 'string' && Object.hasOwn(CONTENTS, role) ? CONTENTS[role] : undefined
  if (typeof role !== 'string' || parts === undefined) return refuse('its role is not known')
  const message = { role, content: toContent(content, parts) }
  if (role !== 'tool') return message
  return {
    ...message,
    tool_call_id: typeof toolCallId === 'string' ? toolCallId : refuse('a tool call has no id'),
  }
}

function toContent(content: unknown, parts: readonly string[]): unknown {
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) return refuse('its content is neither a text nor a list')
  return content.map((part: unknown) => {
    const type = isDict(part) ? part['type'] : undefined
    const check = typeof type === 'string' && parts.includes(type) ? PARTS[type] : undefined
    return check === undefined
      ? refuse('a part of its content is of no kind that fits its role')
      : check(part)
  })
}
