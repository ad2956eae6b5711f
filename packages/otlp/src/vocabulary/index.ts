import type { Span } from '@agl/core'
import { fromAgentOps, toAgentOps } from './agentops.ts'
import { fromGenAI, toGenAI } from './genai.ts'
import { fromOpenInference, toOpenInference } from './openinference.ts'

/** In whose names a span is written. */
export type Vocabulary = 'agentlightning' | 'genai' | 'openinference' | 'agentops'

/** From the record, by the vocabulary's name. */
export const vocabularies: Readonly<Record<Vocabulary, (span: Span) => Span>> = {
  agentlightning: (span) => span,
  genai: (span) => toGenAI(span),
  openinference: (span) => toOpenInference(span),
  agentops: (span) => toAgentOps(span),
}

/** The vocabulary that a span is written in, by its attributes. */
export function vocabularyOf({ attributes, name }: Span): Vocabulary {
  if ('openinference.span.kind' in attributes) return 'openinference'
  if ('gen_ai.operation.name' in attributes || 'gen_ai.provider.name' in attributes) return 'genai'
  if ('gen_ai.input.messages' in attributes || 'gen_ai.output.messages' in attributes) return 'genai'
  if (/^(openai\.|agentlightning\.)/.test(name) && 'gen_ai.request.type' in attributes)
    return 'agentlightning'
  return 'agentops.span.kind' in attributes ? 'agentops' : 'agentlightning'
}

/**
 * A span of any tracer as the record has it: model calls under the name, and with the attributes, by which adapters
 * and trainers find them. A span that no vocabulary claims comes back as it is.
 */
export function fromForeign(span: Span): Span {
  const vocabulary = vocabularyOf(span)
  if (vocabulary === 'openinference') return fromOpenInference(span)
  if (vocabulary === 'genai') return fromGenAI(span)
  return vocabulary === 'agentops' ? fromAgentOps(span) : span
}

export { fromAgentOps, toAgentOps } from './agentops.ts'
export { fromGenAI, toGenAI } from './genai.ts'
export { fromOpenInference, toOpenInference } from './openinference.ts'
export {
  AGENTOPS,
  AGENTOPS_KINDS,
  GENAI,
  GENAI_OPERATIONS,
  OPENINFERENCE,
  OPENINFERENCE_KINDS,
} from './tables.ts'
export type { Kind, Names } from './tables.ts'
export type { VocabularyOptions } from './record.ts'
