import type { Attributes, Span, SpanEvent } from '@agl/core'
import { isFields } from './exact.ts'
import {
  asRecord,
  asText,
  exact,
  kindOfRecord,
  parsed,
  parsedExactly,
  partsIn,
  present,
  readCompletions,
  readPrompt,
  readTools,
  renamed,
  renamedBack,
  rewardsOf,
  textOf,
  writeCompletions,
  writePrompt,
  writeTools,
  type Message,
  type Tool,
  type ToolCall,
  type VocabularyOptions,
} from './record.ts'
import { GENAI, GENAI_OPERATIONS } from './tables.ts'

type Part = Record<string, unknown>

const OURS =
  /^gen_ai\.(prompt|completion|request\.functions)(\.|$)|^gen_ai\.request\.type$|^agentops\.span\.kind$/
const THEIRS =
  /^gen_ai\.(input\.messages|output\.messages|system_instructions|tool\.definitions|operation\.name|response\.finish_reasons|prompt|completion)$/

/** OpenTelemetry's conventions for generative AI: messages in parts as JSON, rewards as evaluation events. */
export function toGenAI(span: Span, options: VocabularyOptions = {}): Span {
  const kind = kindOfRecord(span)
  const operation = GENAI_OPERATIONS.find(([ours]) => ours === kind)?.[1]
  const attributes = renamed(span.attributes, GENAI, OURS, options)
  const subject = span.attributes['operation.name']
  if (operation !== undefined) attributes['gen_ai.operation.name'] = operation
  if (typeof attributes['gen_ai.provider.name'] === 'string')
    attributes['gen_ai.provider.name'] = attributes['gen_ai.provider.name'].toLowerCase()
  if (kind === 'agent' && subject !== undefined) attributes['gen_ai.agent.name'] = subject
  if (kind === 'workflow' && subject !== undefined) attributes['gen_ai.workflow.name'] = subject
  const stop =
    parsed(textOf(attributes['gen_ai.request.stop_sequences'])) ?? attributes['gen_ai.request.stop_sequences']
  if (stop !== undefined) attributes['gen_ai.request.stop_sequences'] = [stop].flat().map(String)
  putMessages(attributes, span.attributes)
  const about = [attributes['gen_ai.request.model'], attributes['gen_ai.tool.name'], subject].find(
    (value) => typeof value === 'string',
  )
  const name = operation === undefined ? span.name : about === undefined ? operation : `${operation} ${about}`
  return { ...span, name, attributes, events: [...span.events, ...evaluations(span)] }
}

function putMessages(into: Attributes, attributes: Attributes): void {
  const prompt = readPrompt(attributes)
  if (prompt.length > 0)
    into['gen_ai.input.messages'] = JSON.stringify(prompt.map((message) => toParts(message)))
  const answers = readCompletions(attributes)
  if (answers.length > 0) {
    into['gen_ai.output.messages'] = JSON.stringify(
      answers.map((message) => ({ ...toParts(message, 'assistant'), finish_reason: message.finishReason })),
    )
    const reasons = answers.map(({ finishReason = '' }) => finishReason)
    if (reasons.some((reason) => reason !== '')) into['gen_ai.response.finish_reasons'] = reasons
  }
  const tools = readTools(attributes)
  if (tools.length > 0) {
    into['gen_ai.tool.definitions'] = JSON.stringify(
      tools.map((tool) => ({
        type: 'function',
        ...tool,
        parameters: exact(tool.parameters),
      })),
    )
  }
}

function toParts(message: Message, otherwise = 'user'): { role: string; parts: Part[]; name?: string } {
  const { role = otherwise, content, name } = message
  const parts: Part[] = []
  if (message.reasoning !== undefined) parts.push({ type: 'reasoning', content: message.reasoning })
  if (role === 'tool' && message.toolCallId !== undefined) {
    parts.push({ type: 'tool_call_response', id: message.toolCallId, response: content ?? '' })
  } else if (content !== undefined) {
    parts.push(...(partsIn(content)?.map(toPart) ?? [{ type: 'text', content }]))
  }
  if (message.refusal !== undefined) parts.push({ type: 'refusal', content: message.refusal })
  for (const call of message.toolCalls ?? []) {
    const { id, name: called, arguments: given } = call
    parts.push({ type: 'tool_call', id, name: called, arguments: exact(given) })
  }
  return present({ role, parts, name })
}

/** One of OpenAI's content parts; those that are not known go as they are. */
function toPart(part: Part): Part {
  const { type, text, image_url: image, input_audio: audio } = part
  if (typeof text === 'string' && /^(input_|output_)?text$/.test(String(type)))
    return { type: 'text', content: text }
  if (isFields(image) && typeof image['url'] === 'string') {
    const [, mime, data] = /^data:([^;,]*);base64,(.*)$/s.exec(image['url']) ?? []
    if (data !== undefined) return { type: 'blob', modality: 'image', mime_type: mime, content: data }
    return { type: 'uri', modality: 'image', uri: image['url'] }
  }
  if (isFields(audio)) {
    return {
      type: 'blob',
      modality: 'audio',
      mime_type: `audio/${String(audio['format'])}`,
      content: audio['data'],
    }
  }
  return part
}

function evaluations(span: Span): SpanEvent[] {
  return rewardsOf(span).map(({ name, value }) => ({
    name: 'gen_ai.evaluation.result',
    attributes: { 'gen_ai.evaluation.name': name, 'gen_ai.evaluation.score.value': value },
    timestamp: span.endTime,
  }))
}

/** A span by OpenTelemetry's conventions, of this or an earlier year, as the record has it. */
export function fromGenAI(span: Span): Span {
  const { attributes: theirs } = span
  const attributes = renamedBack(theirs, GENAI, THEIRS)
  const operation = theirs['gen_ai.operation.name']
  const kind = GENAI_OPERATIONS.find(([, name]) => name === operation)?.[0] ?? kindOfRecord(span)
  takeMessages(attributes, theirs)
  const subject = textOf(
    theirs['gen_ai.agent.name'] ?? theirs['gen_ai.workflow.name'] ?? attributes['tool.name'],
  )
  return asRecord(span, kind, subject, attributes)
}

function takeMessages(into: Attributes, theirs: Attributes): void {
  const system = parsedExactly(textOf(theirs['gen_ai.system_instructions']))
  const prompt = messagesIn(theirs['gen_ai.input.messages'] ?? theirs['gen_ai.prompt'], 'user')
  if (Array.isArray(system)) prompt.unshift(...fromParts('system', system))
  writePrompt(into, prompt)
  const answers = theirs['gen_ai.output.messages'] ?? theirs['gen_ai.completion']
  const reasons = theirs['gen_ai.response.finish_reasons']
  writeCompletions(into, messagesIn(answers, 'assistant', Array.isArray(reasons) ? reasons : []))
  const definitions = parsedExactly(textOf(theirs['gen_ai.tool.definitions']))
  if (!Array.isArray(definitions)) return
  const tools = definitions.filter(isFields).map(({ function: inner, ...outer }) => {
    const { name, description, parameters } = isFields(inner) ? inner : outer
    return present<Tool>({
      name: asText(name),
      description: asText(description),
      parameters: asText(parameters),
    })
  })
  writeTools(into, tools)
}

/** Messages in JSON; what is no JSON is one message. */
function messagesIn(
  value: Attributes[string] | undefined,
  role: string,
  reasons: readonly unknown[] = [],
): Message[] {
  const text = textOf(value)
  if (text === undefined) return []
  const list = parsedExactly(text)
  const withReason = (messages: Message[], i: number, own?: unknown): Message[] => {
    const last = messages.at(-1)
    const reason = asText(own ?? reasons[i])
    // An empty one keeps the place of an answer that has none.
    if (last !== undefined && reason !== undefined && reason !== '') last.finishReason = reason
    return messages
  }
  if (!Array.isArray(list)) return withReason([{ role, content: text }], 0)
  return list.flatMap((item: unknown, i) => {
    if (!isFields(item)) return []
    const parts: unknown[] = Array.isArray(item['parts'])
      ? item['parts']
      : item['content'] == null
        ? []
        : [{ type: 'text', content: asText(item['content']) }]
    return withReason(fromParts(asText(item['role']) ?? role, parts), i, item['finish_reason'])
  })
}

/** Parts as messages of OpenAI's: each answer of a tool is one of its own. */
function fromParts(role: string, parts: readonly unknown[]): Message[] {
  const message: Message = { role }
  const content: Part[] = []
  const calls: ToolCall[] = []
  const answers: Message[] = []
  for (const part of parts.filter(isFields)) {
    const { type, id } = part
    if (type === 'reasoning') message.reasoning = asText(part['content']) ?? ''
    else if (type === 'refusal') message.refusal = asText(part['content']) ?? ''
    else if (type === 'tool_call') {
      const { name, arguments: given } = part
      calls.push(
        present<ToolCall>({ id: asText(id), type: 'function', name: asText(name), arguments: asText(given) }),
      )
    } else if (type === 'tool_call_response') {
      const answer = asText(part['response'] ?? part['result'])
      answers.push(present<Message>({ role: 'tool', toolCallId: asText(id), content: answer }))
    } else content.push(fromPart(part))
  }
  const [first] = content
  if (content.length === 1 && first?.['type'] === 'text') message.content = asText(first['text']) ?? ''
  else if (content.length > 0) message.content = JSON.stringify(content)
  if (calls.length > 0) message.toolCalls = calls
  const says = Object.keys(message).length > 1 || answers.length === 0
  return says ? [message, ...answers] : answers
}

function fromPart(part: Part): Part {
  const { type, content, uri, modality, mime_type: mime } = part
  if (type === 'text') return { type, text: content }
  if (type === 'uri' && modality === 'image') return { type: 'image_url', image_url: { url: uri } }
  if (type === 'blob' && modality === 'image') {
    return { type: 'image_url', image_url: { url: `data:${String(mime)};base64,${String(content)}` } }
  }
  return part
}
