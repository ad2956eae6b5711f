import type { Attributes, Span } from '@agl/core'
import {
  asRecord,
  indexed,
  kindOfRecord,
  present,
  readTools,
  renamed,
  renamedBack,
  textOf,
  writeTools,
  type Tool,
  type VocabularyOptions,
} from './record.ts'
import { AGENTOPS, AGENTOPS_KINDS } from './tables.ts'

const OURS = /^gen_ai\.request\.functions\.|^agentops\.(?!tags$)/
const THEIRS = /^gen_ai\.request\.tools\.|^agentops\.entity\.(input|output|name)$/
const LLM_NAMES = /^(openai\.|anthropic\.|litellm|chat |gen_ai)/

/** AgentOps, as its service reads it: the record's own family of names. */
export function toAgentOps(span: Span, options: VocabularyOptions = {}): Span {
  const ours = span.attributes
  const attributes = renamed(ours, AGENTOPS, OURS, options)
  const kind = kindOfRecord(span)
  const theirs = AGENTOPS_KINDS.find(([name]) => name === kind)?.[1]
  const given = ours['agentops.span.kind']
  const own = given === 'session' ? 'session' : (theirs ?? given)
  if (own !== undefined) attributes['agentops.span.kind'] = own
  if (kind === 'agent' && ours['operation.name'] !== undefined)
    attributes['agent.name'] = ours['operation.name']
  for (const side of ['input', 'output'] as const) {
    const value = ours[`agentops.${String(given)}.${side}`]
    if (value !== undefined) attributes[`agentops.entity.${side}`] = value
  }
  if (ours['operation.name'] !== undefined) attributes['agentops.entity.name'] = ours['operation.name']
  const reason = ours['gen_ai.completion.0.finish_reason']
  if (reason !== undefined) attributes['gen_ai.response.finish_reason'] = reason
  for (const [i, { name, description, parameters }] of readTools(ours).entries()) {
    const tool = present<Attributes>({ name, description, arguments: parameters, type: 'function' })
    for (const [key, value] of Object.entries(tool)) attributes[`gen_ai.request.tools.${i}.${key}`] = value
  }
  return { ...span, attributes }
}

/** A span by AgentOps' SDKs as the record has it. Values that came as texts, as its JavaScript SDK sends them, are numbers again. */
export function fromAgentOps(span: Span): Span {
  const theirs = span.attributes
  const attributes = renamedBack(theirs, AGENTOPS, THEIRS)
  for (const key in attributes) {
    const value = attributes[key]
    if (key.startsWith('gen_ai.usage.') && typeof value === 'string' && /^\d{1,15}$/.test(value))
      attributes[key] = Number(value)
  }
  const tools = indexed(theirs, 'gen_ai.request.tools').map((item) =>
    present<Tool>({
      name: textOf(item.get('name')),
      description: textOf(item.get('description')),
      parameters: textOf(item.get('arguments')),
    }),
  )
  writeTools(attributes, tools)
  const given = textOf(theirs['agentops.span.kind'])
  for (const side of ['input', 'output'] as const) {
    const value = theirs[`agentops.entity.${side}`]
    if (value !== undefined && given !== undefined) attributes[`agentops.${given}.${side}`] ??= value
  }
  const name = textOf(theirs['agentops.entity.name'] ?? theirs['agent.name'])
  if (name !== undefined) attributes['operation.name'] ??= name
  const isCall = given === 'llm' && 'gen_ai.response.model' in attributes
  if (!isCall && !(LLM_NAMES.test(span.name) && 'gen_ai.prompt.0.role' in attributes))
    return { ...span, attributes }
  const type = theirs['gen_ai.request.type']
  const isText = type === 'completion' || /text_completion/.test(span.name)
  const kind = type === 'embedding' ? 'embedding' : isText ? 'completion' : 'chat'
  return asRecord(span, kind, undefined, attributes)
}
