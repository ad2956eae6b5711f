import type { ActivityData, ActivityKind, ActivityStart } from './activity-types.ts'

const LLM_NAMES = {
  chat: 'openai.chat.completion',
  completion: 'openai.completion',
  response: 'openai.response',
} as const

/** Whether `kind`'s start is what `data` is; lets one function serve all kinds without a cast. */
export function isKind<K extends ActivityKind>(
  kind: ActivityKind,
  wanted: K,
  _data: ActivityStart[ActivityKind],
): _data is ActivityStart[K] {
  return kind === wanted
}

export function isDataOf<K extends ActivityKind>(
  kind: ActivityKind,
  wanted: K,
  _data: ActivityData[ActivityKind],
): _data is ActivityData[K] {
  return kind === wanted
}

/** The record's span name. An `llm` span that holds another is the framework's: its ids and usage are on the inner one. */
export function spanName(kind: ActivityKind, start: ActivityStart[ActivityKind], outer: boolean): string {
  if (isKind(kind, 'llm', start)) return outer ? (start.name ?? 'chat_model.llm') : LLM_NAMES[start.operation]
  if (kind === 'embedding') return 'openai.embedding'
  if (kind === 'operation') return 'agentlightning.operation'
  return `${'name' in start ? start.name : kind}.${kind}`
}

/** The OpenTelemetry GenAI name and operation, for the span beside the record. */
export function otelName(
  kind: ActivityKind,
  start: ActivityStart[ActivityKind],
): [name: string, operation: string] {
  const operation = isKind(kind, 'llm', start)
    ? start.operation === 'completion'
      ? 'text_completion'
      : 'chat'
    : (OTEL_OPERATIONS[kind] ?? kind)
  const subject = 'request' in start ? start.request['model'] : start.name
  return [typeof subject === 'string' ? `${operation} ${subject}` : operation, operation]
}
const OTEL_OPERATIONS: Partial<Record<ActivityKind, string>> = {
  tool: 'execute_tool',
  agent: 'invoke_agent',
  workflow: 'invoke_workflow',
  retriever: 'retrieval',
  embedding: 'embeddings',
}

interface IndexedKeys {
  prefix: string
  role: string
  content: string
  finishReason: string
  name: string
}

/** Attribute names with an index, made once each: building and interning them anew costs more than all the rest. */
function indexedKeys(stem: string): (index: number) => IndexedKeys {
  const known: IndexedKeys[] = []
  const make = (index: number): IndexedKeys => {
    const prefix = `${stem}.${index}`
    return {
      prefix,
      role: `${prefix}.role`,
      content: `${prefix}.content`,
      finishReason: `${prefix}.finish_reason`,
      name: `${prefix}.name`,
    }
  }
  return (index) =>
    known[index] ?? (index < 512 && index === known.length ? (known[index] = make(index)) : make(index))
}
export const promptKeys: (index: number) => IndexedKeys = indexedKeys('gen_ai.prompt')
export const completionKeys: (index: number) => IndexedKeys = indexedKeys('gen_ai.completion')

const requestKeys = new Map<string, string>()

export function requestKey(name: string): string {
  const known = requestKeys.get(name)
  if (known !== undefined) return known
  const key = `gen_ai.request.${name}`
  if (requestKeys.size < 512) requestKeys.set(name, key)
  return key
}
