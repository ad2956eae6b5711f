import type { AttributeValue, Attributes, Span } from '@agl/core'
import { asNumber, isFields } from './exact.ts'
import {
  asRecord,
  asText,
  exact,
  below,
  indexed,
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
import { OPENINFERENCE, OPENINFERENCE_KINDS, type Kind } from './tables.ts'

const OURS = /^gen_ai\.(prompt|completion|request\.functions)(\.|$)|^gen_ai\.request\.(?!model$)|^agentops\./
const THEIRS =
  /^llm\.(input_messages|output_messages|tools|invocation_parameters|model_name|finish_reason)(\.|$)|^openinference\.span\.kind$|^(input|output)\.(value|mime_type)$/
const PARAMETERS = /^gen_ai\.request\.(?!model$|type$|streaming$|functions\.)(.+)$/

/** OpenInference, as Phoenix and Arize read it: messages flat, parameters as JSON, rewards as annotations. */
export function toOpenInference(span: Span, options: VocabularyOptions = {}): Span {
  const kind = kindOfRecord(span)
  const ours = span.attributes
  const attributes = renamed(ours, OPENINFERENCE, OURS, options)
  const theirs = OPENINFERENCE_KINDS.find(([name]) => name === kind)?.[1]
  if (theirs !== undefined) attributes['openinference.span.kind'] = theirs
  const provider = attributes['llm.provider']
  if (typeof provider === 'string')
    attributes['llm.system'] = attributes['llm.provider'] = provider.toLowerCase()
  const model = ours['gen_ai.response.model'] ?? ours['gen_ai.request.model']
  if (model !== undefined)
    attributes[kind === 'embedding' ? 'embedding.model_name' : 'llm.model_name'] = model
  if (kind === 'agent' && ours['operation.name'] !== undefined)
    attributes['agent.name'] = ours['operation.name']
  if (span.rolloutId !== '') attributes['session.id'] = span.rolloutId
  if (kind === 'chat' || kind === 'completion') putCall(attributes, ours)
  if (kind === 'embedding') {
    const text = textOf(ours['gen_ai.prompt.0.content'])
    if (text !== undefined) attributes['embedding.embeddings.0.embedding.text'] = text
  }
  const stem = String(ours['agentops.span.kind'])
  putValue(attributes, 'input', ours['tool.parameters'] ?? ours[`agentops.${stem}.input`])
  putValue(attributes, 'output', ours['tool.result'] ?? ours[`agentops.${stem}.output`])
  for (const [i, { name, value }] of rewardsOf(span).entries()) {
    const prefix = `annotations.${i}.annotation`
    Object.assign(attributes, {
      [`${prefix}.name`]: name,
      [`${prefix}.score`]: value,
      [`${prefix}.annotator_kind`]: 'CODE',
    })
  }
  return { ...span, attributes }
}

function putCall(into: Attributes, ours: Attributes): void {
  const parameters: Record<string, unknown> = {}
  for (const key in ours) {
    const [, name] = PARAMETERS.exec(key) ?? []
    const value = ours[key]
    if (name === undefined) continue
    parameters[name] =
      typeof value === 'string' ? exact(value) : value instanceof Int32Array ? [...value] : value
  }
  if (Object.keys(parameters).length > 0) into['llm.invocation_parameters'] = JSON.stringify(parameters)
  const prompt = readPrompt(ours)
  const answers = readCompletions(ours)
  for (const [i, message] of prompt.entries()) putMessage(into, `llm.input_messages.${i}.message`, message)
  for (const [i, message] of answers.entries()) putMessage(into, `llm.output_messages.${i}.message`, message)
  putValue(into, 'input', prompt.at(-1)?.content)
  putValue(into, 'output', answers[0]?.content)
  if (answers[0]?.finishReason !== undefined) into['llm.finish_reason'] = answers[0].finishReason
  for (const [i, tool] of readTools(ours).entries()) {
    into[`llm.tools.${i}.tool.json_schema`] = JSON.stringify({
      type: 'function',
      function: { ...tool, parameters: exact(tool.parameters) },
    })
  }
}

function putMessage(into: Attributes, prefix: string, message: Message): void {
  const { role, content, name, toolCallId, refusal } = message
  if (role !== undefined) into[`${prefix}.role`] = role
  if (name !== undefined) into[`${prefix}.name`] = name
  if (toolCallId !== undefined) into[`${prefix}.tool_call_id`] = toolCallId
  const parts = partsIn(content)
  if (parts === undefined) {
    const text = content ?? refusal
    if (text !== undefined) into[`${prefix}.content`] = text
  } else {
    for (const [i, part] of parts.entries()) {
      const inner = `${prefix}.contents.${i}.message_content`
      const image = part['image_url']
      if (isFields(image)) {
        into[`${inner}.type`] = 'image'
        into[`${inner}.image.image.url`] = asText(image['url']) ?? ''
      } else {
        into[`${inner}.type`] = 'text'
        into[`${inner}.text`] = asText(part['text']) ?? JSON.stringify(part)
      }
    }
  }
  for (const [i, call] of (message.toolCalls ?? []).entries()) {
    const inner = `${prefix}.tool_calls.${i}.tool_call`
    if (call.id !== undefined) into[`${inner}.id`] = call.id
    if (call.name !== undefined) into[`${inner}.function.name`] = call.name
    if (call.arguments !== undefined) into[`${inner}.function.arguments`] = call.arguments
  }
}

function putValue(into: Attributes, side: 'input' | 'output', value: AttributeValue | undefined): void {
  const text = textOf(value)
  if (text === undefined) return
  into[`${side}.value`] = text
  into[`${side}.mime_type`] = parsed(text) === undefined ? 'text/plain' : 'application/json'
}

/** A span by OpenInference as the record has it. */
export function fromOpenInference(span: Span): Span {
  const { attributes: theirs } = span
  const attributes = renamedBack(theirs, OPENINFERENCE, THEIRS)
  const kind = OPENINFERENCE_KINDS.find(([, name]) => name === theirs['openinference.span.kind'])?.[0]
  // The first of a kind's names is the plain one; CHAIN is what most spans are called.
  const own: Kind | undefined = kind === 'llm' ? 'chain' : kind
  const model = theirs['llm.model_name'] ?? theirs['embedding.model_name']
  if (model !== undefined) attributes['gen_ai.request.model'] ??= model
  if (own === 'chat') takeCall(attributes, theirs)
  else {
    const names =
      own === 'tool'
        ? ['tool.parameters', 'tool.result']
        : [`agentops.${own}.input`, `agentops.${own}.output`]
    for (const [i, side] of ['input.value', 'output.value'].entries()) {
      const value = theirs[side]
      const name = names[i]
      if (value !== undefined && name !== undefined && own !== undefined) attributes[name] ??= value
    }
  }
  return asRecord(span, own, textOf(theirs['agent.name'] ?? theirs['tool.name']), attributes)
}

function takeCall(into: Attributes, theirs: Attributes): void {
  const prompt = indexed(theirs, 'llm.input_messages').map(fromMessage)
  const answers = indexed(theirs, 'llm.output_messages').map(fromMessage)
  const reason = textOf(theirs['llm.finish_reason'])
  if (answers[0] !== undefined && reason !== undefined) answers[0].finishReason = reason
  writePrompt(into, prompt)
  writeCompletions(into, answers)
  const parameters = parsedExactly(textOf(theirs['llm.invocation_parameters']))
  for (const [name, value] of isFields(parameters) ? Object.entries(parameters) : []) {
    if (value === null || name === 'messages' || name === 'tools') continue
    const primitive = typeof value === 'boolean' ? value : (asNumber(value) ?? asText(value))
    if (primitive !== undefined) into[`gen_ai.request.${name}`] ??= primitive
  }
  const tools = indexed(theirs, 'llm.tools').map((item): Tool => {
    const schema = parsedExactly(textOf(item.get('tool.json_schema')))
    const fields = isFields(schema) ? schema : {}
    const {
      name,
      description,
      parameters: given,
    } = isFields(fields['function']) ? fields['function'] : fields
    return present<Tool>({ name: asText(name), description: asText(description), parameters: asText(given) })
  })
  writeTools(into, tools)
}

function fromMessage(item: ReadonlyMap<string, AttributeValue>): Message {
  const parts = below(item, 'message.contents').map((part) => {
    const url = textOf(part.get('message_content.image.image.url'))
    if (url !== undefined) return { type: 'image_url', image_url: { url } }
    return { type: 'text', text: textOf(part.get('message_content.text')) ?? '' }
  })
  const calls = below(item, 'message.tool_calls').map((call) =>
    present<ToolCall>({
      id: textOf(call.get('tool_call.id')),
      type: 'function',
      name: textOf(call.get('tool_call.function.name')),
      arguments: textOf(call.get('tool_call.function.arguments')),
    }),
  )
  return present<Message>({
    role: textOf(item.get('message.role')),
    content: textOf(item.get('message.content')) ?? (parts.length > 0 ? JSON.stringify(parts) : undefined),
    name: textOf(item.get('message.name')),
    toolCallId: textOf(item.get('message.tool_call_id')),
    toolCalls: calls.length > 0 ? calls : undefined,
    finishReason: undefined,
    refusal: undefined,
    reasoning: undefined,
  })
}
