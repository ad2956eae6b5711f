import { AglError, type Span } from '@agl/core'
import { isDict, parsePythonJSON } from '@agl/core/semconv'
import { isEmpty } from './attributes.ts'
import { type Grouped, groupAttributes } from './group.ts'
import { type ChatMessage, type ToolCallParam, toMessageParam } from './params.ts'

/** A tool that the model could call. */
export interface ToolParam {
  type: 'function'
  function: { name: unknown; description: unknown; parameters: unknown }
}

/** One model call as OpenAI's fine-tuning takes it. */
export interface Messages {
  /** The prompt, then the answer. */
  messages: ChatMessage[]
  tools: ToolParam[] | null
}

/**
 * The model calls of one rollout as chats with their answers: what `TraceToMessages` of Agent Lightning 0.3 gives. Calls
 * of tools are read from the spans right below a model call.
 *
 * @throws AglError `value_invalid` where Python's adapter raises: messages without a role or of one that the chat API does
 * not have, tools without what a tool has, attributes that are no list where one must be
 */
export function toMessages(spans: readonly Span[]): Messages[] {
  return readCalls(spans, spans).map(toEntry)
}

/** The model calls among `spans`, with the calls of tools below them in `all`. */
export function readCalls(spans: readonly Span[], all: readonly Span[]): RecordedCall[] {
  const children = new Map<string, Span[]>()
  for (const span of all) {
    if (span.parentId === null) continue
    const siblings = children.get(span.parentId)
    if (siblings === undefined) children.set(span.parentId, [span])
    else siblings.push(span)
  }
  return spans
    .map((span) => readCall(span, children.get(span.spanId) ?? []))
    .filter((call) => call !== undefined)
}

/** A model call as its attributes tell, dots unfolded. */
export interface RecordedCall {
  prompt: readonly Grouped[]
  completion: readonly Grouped[]
  request: Readonly<Record<string, unknown>>
  tools: Readonly<Record<string, unknown>>[]
}

function isList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value)
}

/** Undefined for a span that is no model call. */
function readCall({ attributes, spanId }: Span, children: readonly Span[]): RecordedCall | undefined {
  const [prompt, completion] = ['prompt', 'completion'].map((part) => {
    const found = groupAttributes(attributes, `gen_ai.${part}`)
    if (isEmpty(found)) return []
    return isList(found) ? found : refuse(`gen_ai.${part} of span ${spanId} is no list`)
  })
  const [request, response] = ['request', 'response'].map((part) => {
    const found = groupAttributes(attributes, `gen_ai.${part}`)
    return isList(found) ? refuse(`gen_ai.${part} of span ${spanId} is a list`) : found
  })
  if (prompt === undefined || completion === undefined || request === undefined || response === undefined)
    return
  if (prompt.length + completion.length === 0 && isEmpty(request) && isEmpty(response)) return undefined
  const tools = children.flatMap((child) => {
    const tool = groupAttributes(child.attributes, 'tool')
    if (isList(tool)) return refuse(`tool of span ${child.spanId} is a list`)
    return isEmpty(tool) ? [] : [tool]
  })
  return { prompt, completion, request, tools }
}

function refuse(what: string): never {
  throw new AglError('value_invalid', `This trace gives no messages: ${what}.`)
}

function toEntry({ prompt, completion, request, tools }: RecordedCall): Messages {
  const messages = prompt.map(toPromptMessage)
  for (const answer of completion) {
    const { role, content = null } = dict(answer, 'an answer')
    if (role !== 'assistant') continue
    const message = { role, content }
    messages.push(tools.length > 0 ? { ...message, tool_calls: tools.map(toToolCall) } : message)
  }
  const functions = Object.hasOwn(request, 'functions')
    ? listOf(request['functions'], 'functions')
    : undefined
  return { messages, tools: functions?.map(toToolParam) ?? null }
}

/** A message of a prompt as Python's adapter gives it. */
export function toPromptMessage(recorded: unknown): ChatMessage {
  const message = dict(recorded, 'a message')
  const role = need(message, 'role')
  if (role !== 'assistant' || !Object.hasOwn(message, 'tool_calls')) {
    const { content = '', tool_call_id: id } = message
    return toMessageParam(role, content, id)
  }
  return { role, content: null, tool_calls: toToolCalls(message['tool_calls']) }
}

/** What a message tells of the tools that it calls. */
export function toToolCalls(recorded: unknown): ToolCallParam[] {
  return listOf(recorded, 'tool_calls').map((recordedCall): ToolCallParam => {
    const call = dict(recordedCall, 'a tool call')
    const id = need(call, 'id')
    return {
      id,
      type: 'function',
      function: { name: need(call, 'name'), arguments: need(call, 'arguments') },
    }
  })
}

/** The call of a tool that a span below a model call stands for. */
export function toToolCall(tool: Readonly<Record<string, unknown>>): ToolCallParam {
  const call = dict(need(tool, 'call'), 'a tool call')
  return {
    id: need(call, 'id'),
    type: need(call, 'type'),
    function: { name: need(tool, 'name'), arguments: need(tool, 'parameters') },
  }
}

function toToolParam(recorded: unknown): ToolParam {
  const { description = '', ...tool } = dict(recorded, 'a tool')
  const name = need(tool, 'name')
  const parameters = need(tool, 'parameters')
  return {
    type: 'function',
    function: {
      name,
      description,
      parameters: typeof parameters === 'string' ? parseParameters(parameters) : parameters,
    },
  }
}

export function parseParameters(json: string): unknown {
  try {
    return parsePythonJSON(json)
  } catch (cause) {
    throw new AglError('value_invalid', 'The parameters of a tool are no JSON.', { cause })
  }
}

export function dict(value: unknown, what: string): Readonly<Record<string, unknown>> {
  return isDict(value) ? value : refuse(`${what} has no fields`)
}

export function need(value: Readonly<Record<string, unknown>>, key: string): unknown {
  return Object.hasOwn(value, key) ? value[key] : refuse(`"${key}" is missing`)
}

/** An empty text has no items, and Python lets it pass. */
export function listOf(value: unknown, what: string): readonly unknown[] {
  if (value === '') return []
  return isList(value) ? value : refuse(`"${what}" is no list`)
}
