/*
 * The names of others, as tables: Agent Lightning's, which the record has, on the left. A table is read in both
 * directions; `aliases` are read from theirs to ours only: older names, and second ones.
 */

export interface Names {
  readonly names: readonly (readonly [ours: string, theirs: string])[]
  readonly aliases: readonly (readonly [theirs: string, ours: string])[]
}

/** What a span of the record is. */
export type Kind =
  | 'chat'
  | 'completion'
  | 'embedding'
  | 'llm'
  | 'tool'
  | 'agent'
  | 'workflow'
  | 'chain'
  | 'retriever'

/** OpenTelemetry's conventions for generative AI, schema 1.42. */
export const GENAI: Names = {
  names: [
    ['gen_ai.system', 'gen_ai.provider.name'],
    ['gen_ai.usage.prompt_tokens', 'gen_ai.usage.input_tokens'],
    ['gen_ai.usage.completion_tokens', 'gen_ai.usage.output_tokens'],
    ['gen_ai.usage.cache_read_input_tokens', 'gen_ai.usage.cache_read.input_tokens'],
    ['gen_ai.usage.cache_creation_input_tokens', 'gen_ai.usage.cache_write.input_tokens'],
    ['gen_ai.usage.reasoning_tokens', 'gen_ai.usage.reasoning.output_tokens'],
    ['gen_ai.request.streaming', 'gen_ai.request.stream'],
    ['gen_ai.request.n', 'gen_ai.request.choice.count'],
    ['gen_ai.request.stop', 'gen_ai.request.stop_sequences'],
    ['gen_ai.request.max_completion_tokens', 'gen_ai.request.max_tokens'],
    ['gen_ai.request.reasoning_effort', 'gen_ai.request.reasoning.level'],
    ['gen_ai.openai.system_fingerprint', 'openai.response.system_fingerprint'],
    ['gen_ai.openai.service_tier', 'openai.response.service_tier'],
    ['agl.time_to_first_token', 'gen_ai.response.time_to_first_chunk'],
    ['agl.embedding.dimensions', 'gen_ai.embeddings.dimension.count'],
    ['tool.name', 'gen_ai.tool.name'],
    ['tool.call.id', 'gen_ai.tool.call.id'],
    ['tool.call.type', 'gen_ai.tool.type'],
    ['tool.parameters', 'gen_ai.tool.call.arguments'],
    ['tool.result', 'gen_ai.tool.call.result'],
  ],
  aliases: [
    ['gen_ai.usage.cache_creation.input_tokens', 'gen_ai.usage.cache_creation_input_tokens'],
    ['gen_ai.request.max_tokens', 'gen_ai.request.max_tokens'],
    ['gen_ai.openai.response.system_fingerprint', 'gen_ai.openai.system_fingerprint'],
    ['gen_ai.openai.response.service_tier', 'gen_ai.openai.service_tier'],
    ['llm.usage.total_tokens', 'gen_ai.usage.total_tokens'],
  ],
}

export const GENAI_OPERATIONS: readonly (readonly [ours: Kind, theirs: string])[] = [
  ['chat', 'chat'],
  ['completion', 'text_completion'],
  ['embedding', 'embeddings'],
  ['tool', 'execute_tool'],
  ['agent', 'invoke_agent'],
  ['workflow', 'invoke_workflow'],
  ['retriever', 'retrieval'],
  ['chat', 'generate_content'],
  ['agent', 'create_agent'],
]

/** Arize's OpenInference. */
export const OPENINFERENCE: Names = {
  names: [
    ['gen_ai.system', 'llm.provider'],
    ['gen_ai.request.model', 'llm.request.model_name'],
    ['gen_ai.response.model', 'llm.response.model_name'],
    ['gen_ai.usage.prompt_tokens', 'llm.token_count.prompt'],
    ['gen_ai.usage.completion_tokens', 'llm.token_count.completion'],
    ['gen_ai.usage.total_tokens', 'llm.token_count.total'],
    ['gen_ai.usage.cache_read_input_tokens', 'llm.token_count.prompt_details.cache_read'],
    ['gen_ai.usage.cache_creation_input_tokens', 'llm.token_count.prompt_details.cache_write'],
    ['gen_ai.usage.reasoning_tokens', 'llm.token_count.completion_details.reasoning'],
    ['tool.call.id', 'tool.id'],
  ],
  aliases: [['llm.system', 'gen_ai.system']],
}

export const OPENINFERENCE_KINDS: readonly (readonly [ours: Kind, theirs: string])[] = [
  ['chat', 'LLM'],
  ['completion', 'LLM'],
  ['llm', 'CHAIN'],
  ['embedding', 'EMBEDDING'],
  ['tool', 'TOOL'],
  ['agent', 'AGENT'],
  ['chain', 'CHAIN'],
  ['workflow', 'CHAIN'],
  ['retriever', 'RETRIEVER'],
]

/** What AgentOps' service and its Python SDK have; the record's names are of this family. */
export const AGENTOPS: Names = {
  names: [
    ['tool.call.id', 'tool.id'],
    ['agl.time_to_first_token', 'gen_ai.streaming.time_to_first_token'],
  ],
  aliases: [
    ['gen_ai.usage.input_tokens', 'gen_ai.usage.prompt_tokens'],
    ['gen_ai.usage.output_tokens', 'gen_ai.usage.completion_tokens'],
  ],
}

export const AGENTOPS_KINDS: readonly (readonly [ours: Kind, theirs: string])[] = [
  ['chat', 'llm'],
  ['completion', 'llm'],
  ['llm', 'chain'],
  ['embedding', 'llm'],
  ['tool', 'tool'],
  ['agent', 'agent'],
  ['workflow', 'workflow'],
  ['chain', 'chain'],
  ['retriever', 'operation'],
]
