/** The kinds of work that plugins report. */
export type ActivityKind =
  | 'llm'
  | 'tool'
  | 'agent'
  | 'workflow'
  | 'chain'
  | 'retriever'
  | 'embedding'
  | 'operation'

/** Fields that any activity may carry at its start and, through `update` or `end`, later. */
export interface CommonData {
  /** Further attributes, recorded as they are; nested values are flattened with dots. */
  attributes?: Record<string, unknown>
}

/** What any activity may carry at its end. */
interface EndData extends CommonData {
  /** Set where it was cut; its status is then left open. */
  finish?: Finish
}

export interface ToolCall {
  id?: string
  type?: string
  name: string
  /** JSON text as the model wrote it, valid or not. */
  arguments: string
}

export interface Message {
  role: string
  /** Text, or the provider's list of content parts. */
  content?: unknown
  toolCallId?: string
  toolCalls?: readonly ToolCall[]
  name?: string
}

export interface ToolDefinition {
  name: string
  description?: string
  /** JSON schema. */
  parameters?: unknown
}

export interface Choice {
  index: number
  role?: string
  content?: unknown
  refusal?: string
  reasoning?: string
  finishReason?: string
  toolCalls?: readonly ToolCall[]
  /** OpenAI's list of `{ token, logprob, bytes, top_logprobs }`, one per token, or the completions API's object of lists. */
  logprobs?: unknown
  refusalLogprobs?: unknown
}

export interface Usage {
  promptTokens?: number
  completionTokens?: number
  totalTokens?: number
  cachedTokens?: number
  reasoningTokens?: number
}

/** Token ids as the server gave them. `complete` is undefined where there is nothing to compare with. */
export interface TokenIds {
  /** Ids of the prompt, shared by all choices. */
  prompt?: Int32Array
  choices: {
    index: number
    response?: Int32Array
    /** Only where it differs from the shared prompt (several prompts in one completions call). */
    prompt?: Int32Array
    /** True when the ids have a hole: they are then kept aside, never under the names that trainers read. */
    gap?: boolean
  }[]
  complete?: boolean
  /** The call was cut short; what is here is a clean prefix. */
  truncated?: boolean
}

/** Reads what the core's vocabulary has no place for, such as token ids, from raw payloads as they arrive. */
export interface ResponseReader {
  /** One streamed chunk. Must be cheap and must not keep the chunk. */
  chunk(chunk: unknown): void
  /** A whole, non-streamed answer. */
  response(body: unknown): void
  /** Called once, at the end. `aborted` when the stream was cut, cancelled or failed. */
  finish(summary: { usage?: Usage; aborted: boolean }): TokenIds | undefined
}

export interface LlmStart extends CommonData {
  operation: 'chat' | 'completion' | 'response'
  /** `gen_ai.system`, such as `OpenAI`. */
  provider: string
  /** Scalars of the request, by their wire name: model, temperature, top_p, max_tokens, seed, n, … */
  request: Record<string, unknown>
  messages?: readonly Message[]
  tools?: readonly ToolDefinition[]
  streaming?: boolean
  /** Where the call goes, without credentials or query. */
  baseURL?: string
  /** Fields that an enriching plugin wants added to the request body. Filled in `on('llm', { start })`. */
  extraBody?: Record<string, unknown>
  /** Readers that enriching plugins attach in `on('llm', { start })`; the plugin that owns the call feeds them. */
  readers?: ResponseReader[]
  /** A framework's name for the call where it is not the client's own span. */
  name?: string
}

/** How a call that did not run to its end was cut: consumer stopped reading, or it was aborted. */
export type Finish = 'cancelled' | 'aborted' | 'abandoned' | 'raw'

export interface LlmData extends EndData {
  response?: {
    id?: string
    model?: string
    created?: number
    systemFingerprint?: string
    serviceTier?: string
  }
  choices?: readonly Choice[]
  usage?: Usage
  tokens?: TokenIds
  /** Milliseconds from the call to the first streamed chunk that carried output. */
  timeToFirstToken?: number
  /** The server's `x-request-id`. */
  requestId?: string
  httpStatus?: number
}

export interface EmbeddingStart extends CommonData {
  provider: string
  request: Record<string, unknown>
  input?: unknown
  baseURL?: string
}

export interface EmbeddingData extends EndData {
  response?: { model?: string }
  usage?: Usage
  count?: number
  dimensions?: number
  requestId?: string
  httpStatus?: number
}

export interface ToolStart extends CommonData {
  name: string
  callId?: string
  type?: string
  parameters?: unknown
}

export interface ToolData extends EndData {
  result?: unknown
}

export interface NamedStart extends CommonData {
  name: string
  input?: unknown
}

export interface NamedData extends EndData {
  output?: unknown
}

export interface ActivityStart {
  llm: LlmStart
  tool: ToolStart
  agent: NamedStart
  workflow: NamedStart
  chain: NamedStart
  retriever: NamedStart
  embedding: EmbeddingStart
  operation: NamedStart
}

export interface ActivityData {
  llm: LlmData
  tool: ToolData
  agent: NamedData
  workflow: NamedData
  chain: NamedData
  retriever: NamedData
  embedding: EmbeddingData
  operation: NamedData
}

/** An open unit of work. All methods are safe to call in any order and after the end, and none throws on its own. */
export interface Activity<K extends ActivityKind = ActivityKind> {
  /** The start data after enriching plugins had their say. */
  readonly start: ActivityStart[K]
  readonly parent: Activity | undefined
  readonly ended: boolean
  /** Runs `fn` with this activity as the parent of what is opened inside. Does not end the activity. */
  run<T>(fn: () => T): T
  /** Adds data; the last value of a field wins. */
  update(data: ActivityData[K]): void
  end(data?: ActivityData[K]): void
  /** Ends with an error status. An abort is not an error: pass `finish` through `update` and use `end`. */
  fail(error: unknown): void
  /** Ends as given up: what it waited for will never come. */
  abandon(): void
}
