import { getRewardsFromSpan, type AttributeValue, type Attributes, type Reward, type Span } from '@agl/core'
import { setAttribute } from '../values.ts'
import { isFields, parseExactly } from './exact.ts'
import type { Kind, Names } from './tables.ts'

/*
 * What the record says, in a form that is easy to say otherwise: and back.
 */

export interface ToolCall {
  id?: string
  type?: string
  name?: string
  /** JSON text. */
  arguments?: string
}

export interface Message {
  role?: string
  /** Text, or JSON text of a list of OpenAI's content parts. */
  content?: string
  name?: string
  toolCallId?: string
  toolCalls?: ToolCall[]
  finishReason?: string
  refusal?: string
  reasoning?: string
}

export interface Tool {
  name?: string
  description?: string
  /** JSON text. */
  parameters?: string
}

export interface VocabularyOptions {
  /** Keep token ids and log probabilities, under the record's names: nobody else has a place for them. @default false */
  tokens?: boolean
}

const TRAINING = /(^|\.)(prompt_token_ids|response_token_ids|logprobs\.content|logprobs\.refusal)$/
const PROMPT = 'gen_ai.prompt'
const COMPLETION = 'gen_ai.completion'
const FUNCTIONS = 'gen_ai.request.functions'

const FIELDS: readonly (readonly [
  'role' | 'content' | 'name' | 'toolCallId' | 'finishReason' | 'refusal' | 'reasoning',
  string,
])[] = [
  ['role', 'role'],
  ['content', 'content'],
  ['name', 'name'],
  ['toolCallId', 'tool_call_id'],
  ['finishReason', 'finish_reason'],
  ['refusal', 'refusal'],
  ['reasoning', 'reasoning'],
]

/** Attributes below a prefix, by their index and the rest of their name. */
export function indexed(attributes: Attributes, prefix: string): Map<string, AttributeValue>[] {
  const items: Map<string, AttributeValue>[] = []
  const start = `${prefix}.`
  for (const key in attributes) {
    if (!key.startsWith(start)) continue
    const [, index, rest] = /^(\d{1,5})\.(.+)$/s.exec(key.slice(start.length)) ?? []
    const value = attributes[key]
    if (index === undefined || rest === undefined || value === undefined) continue
    let item = items[Number(index)]
    if (item === undefined) items[Number(index)] = item = new Map()
    item.set(rest, value)
  }
  // Gaps close.
  return items.filter((item) => item !== undefined)
}

/** Of one of the items that `indexed` gives. */
export function below(
  item: ReadonlyMap<string, AttributeValue>,
  prefix: string,
): Map<string, AttributeValue>[] {
  return indexed(Object.fromEntries(item), prefix)
}

export function textOf(value: AttributeValue | undefined): string | undefined {
  if (value === undefined || typeof value === 'string') return value
  return typeof value === 'object' ? JSON.stringify(Array.from<unknown>(value)) : String(value)
}

export function readPrompt(attributes: Attributes): Message[] {
  return indexed(attributes, PROMPT).map(toMessage)
}

export function readCompletions(attributes: Attributes): Message[] {
  return indexed(attributes, COMPLETION).map(toMessage)
}

function toMessage(item: ReadonlyMap<string, AttributeValue>): Message {
  const message: Message = {}
  for (const [field, key] of FIELDS) {
    const text = textOf(item.get(key))
    if (text !== undefined) message[field] = text
  }
  const calls = below(item, 'tool_calls').map((call) =>
    present<ToolCall>({
      id: textOf(call.get('id')),
      type: textOf(call.get('type')),
      name: textOf(call.get('name')),
      arguments: textOf(call.get('arguments')),
    }),
  )
  if (calls.length > 0) message.toolCalls = calls
  return message
}

/** Without what is undefined. */
export function present<T extends object>(value: { [K in keyof T]: T[K] | undefined }): T
export function present(value: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined))
}

export function writePrompt(into: Attributes, messages: readonly Message[]): void {
  for (const [i, message] of messages.entries()) writeMessage(into, `${PROMPT}.${i}`, message)
}

export function writeCompletions(into: Attributes, messages: readonly Message[]): void {
  for (const [i, message] of messages.entries()) writeMessage(into, `${COMPLETION}.${i}`, message)
}

function writeMessage(into: Attributes, prefix: string, message: Message): void {
  for (const [field, key] of FIELDS) {
    const value = message[field]
    if (value !== undefined) into[`${prefix}.${key}`] = value
  }
  for (const [i, call] of (message.toolCalls ?? []).entries()) {
    for (const [key, value] of Object.entries(call)) into[`${prefix}.tool_calls.${i}.${key}`] = value
  }
}

export function readTools(attributes: Attributes): Tool[] {
  return indexed(attributes, FUNCTIONS).map((item) =>
    present<Tool>({
      name: textOf(item.get('name')),
      description: textOf(item.get('description')),
      parameters: textOf(item.get('parameters')),
    }),
  )
}

export function writeTools(into: Attributes, tools: readonly Tool[]): void {
  for (const [i, tool] of tools.entries()) {
    for (const [key, value] of Object.entries(tool)) into[`${FUNCTIONS}.${i}.${key}`] = value
  }
}

const REQUEST_TYPES: Partial<Record<string, Kind>> = {
  chat: 'chat',
  response: 'chat',
  completion: 'completion',
  embedding: 'embedding',
}
const KINDS: Partial<Record<string, Kind>> = {
  session: 'workflow',
  workflow: 'workflow',
  task: 'chain',
  operation: 'chain',
  chain: 'chain',
  agent: 'agent',
  tool: 'tool',
  retriever: 'retriever',
  llm: 'llm',
}

/** What a span of the record is; undefined for annotations and whatever else has no kind elsewhere. */
export function kindOfRecord({ attributes, name }: Span): Kind | undefined {
  const type = REQUEST_TYPES[String(attributes['gen_ai.request.type'])]
  if (type !== undefined) return type
  if (name === 'agentlightning.operation') return 'chain'
  return KINDS[String(attributes['agentops.span.kind'])]
}

/** What a span's rewards are; none where they are broken, as its other attributes are worth sending still. */
export function rewardsOf(span: Span): Reward[] {
  try {
    return getRewardsFromSpan(span)
  } catch {
    return []
  }
}

/** The attributes under other names, without those below `structured`, which are written another way. */
export function renamed(
  attributes: Attributes,
  { names }: Names,
  structured: RegExp,
  { tokens = false }: VocabularyOptions,
): Attributes {
  const table = new Map(names)
  const into: Attributes = {}
  for (const key in attributes) {
    const value = attributes[key]
    if (value === undefined || structured.test(key) || (!tokens && TRAINING.test(key))) continue
    setAttribute(into, table.get(key) ?? key, value)
  }
  return into
}

/** The reverse of `renamed`. What is there under the record's own name already stays. */
export function renamedBack(
  attributes: Attributes,
  { names, aliases }: Names,
  structured: RegExp,
): Attributes {
  const table = new Map([...names.map(([ours, theirs]) => [theirs, ours] as const), ...aliases])
  const into: Attributes = {}
  for (const key in attributes) {
    const value = attributes[key]
    if (value === undefined || structured.test(key)) continue
    const ours = table.get(key) ?? key
    if (ours === key || !Object.hasOwn(attributes, ours)) setAttribute(into, ours, value)
  }
  return into
}

const SPAN_NAMES: Partial<Record<Kind, string>> = {
  chat: 'openai.chat.completion',
  completion: 'openai.completion',
  embedding: 'openai.embedding',
}
const TYPES: Partial<Record<Kind, string>> = {
  chat: 'chat',
  completion: 'completion',
  embedding: 'embedding',
}

/**
 * A foreign span as the record has it, its attributes being the record's already: calls under the name by which
 * adapters find them, and with an id; the others by their kind.
 */
export function asRecord(
  span: Span,
  kind: Kind | undefined,
  subject: string | undefined,
  attributes: Attributes,
): Span {
  if (kind === undefined) return { ...span, attributes }
  const name = SPAN_NAMES[kind]
  if (name !== undefined) {
    attributes['gen_ai.request.type'] = TYPES[kind] ?? 'chat'
    attributes['gen_ai.response.id'] ??= span.spanId
    return { ...span, name, attributes }
  }
  attributes['agentops.span.kind'] = kind
  attributes['operation.name'] ??= subject ?? span.name
  const stem = String(attributes['operation.name'])
  return { ...span, name: kind === 'llm' ? 'chat_model.llm' : `${stem}.${kind}`, attributes }
}

/** `value` where it is JSON of a list or an object. */
export function parsed(value: string | undefined): unknown {
  return parsedBy(JSON.parse, value)
}

/** As `parsed`, with numbers as `parseExactly` keeps them: for what `asText` is to write again. */
export function parsedExactly(value: string | undefined): unknown {
  return parsedBy(parseExactly, value)
}

function parsedBy(parse: (text: string) => unknown, value: string | undefined): unknown {
  if (value === undefined || !/^\s*[[{]/.test(value)) return undefined
  try {
    return parse(value)
  } catch {
    return undefined
  }
}

/**
 * `text` as a JSON value; as it is where that would say something else: numbers that are no float, repeated keys, and
 * orders that an object does not keep.
 */
export function exact(text: string | undefined): unknown {
  const value = parsed(text)
  if (value === undefined || text === undefined) return text
  try {
    const plain = text.replace(/"[^"\\]*(?:\\.[^"\\]*)*"|\s+/g, (piece) =>
      piece.startsWith('"') ? JSON.stringify(JSON.parse(piece)) : '',
    )
    return JSON.stringify(value) === plain ? value : text
  } catch {
    // Nested too deep, or too long, for this engine.
    return text
  }
}

/** A list of objects with a type, as messages in parts are; undefined for anything else. */
export function partsIn(content: string | undefined): Record<string, unknown>[] | undefined {
  const list = parsedExactly(content)
  if (!Array.isArray(list) || list.length === 0) return undefined
  const parts = list.filter((item) => isFields(item) && typeof item['type'] === 'string')
  return parts.length === list.length ? parts : undefined
}

/** JSON values as attributes hold them: text as it is, the rest as JSON. */
export function asText(value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined
  return typeof value === 'string' ? value : JSON.stringify(value)
}
