import type { Attributes, CaptureOptions, SpanCore, SpanStatus } from './types.ts'

/* The one place that decides what text may be kept, for every span of every origin. */

const SETTINGS =
  'type|model|streaming|stream_options|temperature|top_p|top_k|min_p|max_(completion_|output_)?tokens|min_tokens|seed|n|best_of|' +
  '(top_)?logprobs|prompt_logprobs|(frequency|presence|repetition)_penalty|tool_choice|parallel_tool_calls|reasoning_effort|' +
  'service_tier|store|echo|return_token_ids|encoding_format|dimensions|truncation|verbosity|functions\\.\\d+\\.name'

const CONTENT = new RegExp(
  [
    String.raw`^gen_ai\.(prompt|completion)\.\d+\.(?!(role|finish_reason|tool_call_id|tool_calls\.\d+\.(id|name|type))$)`,
    // Of a request, only settings that cannot carry text are no content.
    String.raw`^gen_ai\.request\.(?!(${SETTINGS})$)`,
    String.raw`^gen_ai\.(input\.messages|output\.messages|system_instructions|tool\.definitions|prompt|completion)$`,
    String.raw`^gen_ai\.tool\.(call\.arguments|call\.result|message|description)$`,
    String.raw`^gen_ai\.content\.`,
    String.raw`^tool\.(parameters|result)$`,
    String.raw`^agentops\.\w+\.(input|output)$`,
    String.raw`^agentlightning\.(operation\.(input|output)|message\.body|object\.(json|literal))`,
    String.raw`^exception\.(message|stacktrace)$`,
    String.raw`^(input|output)\.value$`,
    String.raw`^llm\.(input_messages|output_messages|prompts|prompt_template|tools|function_call)`,
    String.raw`^(embedding\.embeddings|retrieval\.documents|reranker\.\w+_documents)\.`,
    String.raw`^(traceloop\.entity\.(input|output)|mcp\.(request\.argument|response\.value))`,
    String.raw`^ai\.(prompt|response\.(text|object|toolCalls|reasoning)|toolCall\.(args|result)|value|values|embedding)`,
  ].join('|'),
)
const TOKENS = /(^|\.)(prompt_token_ids|response_token_ids)$|^(agl\.choices\.\d+\.)?logprobs\./

export interface Capture {
  content: boolean
  tokens: boolean
  redact: CaptureOptions['redact']
}

export function captureSettings(options: CaptureOptions = {}): Capture {
  const content = options.content ?? true
  return { content, tokens: options.tokens ?? content, redact: options.redact }
}

/** Applies `capture` to a span about to be recorded. True where nothing had to be looked at. */
export function applyCapture(span: SpanCore, capture: Capture): void {
  if (capture.content && capture.tokens && capture.redact === undefined) return
  const { attributes } = span
  if (!capture.content) {
    for (const key in attributes) if (CONTENT.test(key)) delete attributes[key]
    if (span.status.description !== null) span.status = { ...span.status, description: 'not recorded' }
  }
  if (!capture.tokens) for (const key in attributes) dropTokens(attributes, key)
  for (const { attributes: own } of [...(span.events ?? []), ...(span.links ?? [])]) {
    const status: SpanStatus = { statusCode: 'UNSET', description: null }
    applyCapture({ name: span.name, status, attributes: own ?? {} }, capture)
  }
  if (capture.content && capture.redact !== undefined) redactSpan(span, capture.redact)
}

function dropTokens(attributes: Attributes, key: string): void {
  // A prompt may be given as token ids.
  if (/^gen_ai\.prompt\.\d+\.content$/.test(key) && /^\[[\d,\s[\]]*\]$/.test(String(attributes[key]))) {
    delete attributes[key]
    return
  }
  if (!TOKENS.test(key)) return
  const value = attributes[key]
  if (key.includes('logprobs.') && typeof value === 'string') attributes[key] = numbersOnly(value)
  else delete attributes[key]
}

function redactSpan(span: SpanCore, redact: NonNullable<CaptureOptions['redact']>): void {
  const { attributes } = span
  let prompt = false
  const choices = new Set<string>()
  const one = (text: string, key: string): string | undefined => {
    try {
      const kept: unknown = redact(text, { key, span: span.name })
      return typeof kept === 'string' ? kept : undefined
    } catch {
      return undefined
    }
  }
  for (const key in attributes) {
    const value = attributes[key]
    if (!CONTENT.test(key) || (typeof value !== 'string' && !isTextList(value))) continue
    const kept = typeof value === 'string' ? one(value, key) : value.map((text) => one(text, key) ?? '')
    if (kept === undefined) delete attributes[key]
    else attributes[key] = kept
    if (String(kept) === String(value)) continue
    // Tools, documents and the like are spelled out in the prompt's ids as well.
    if (key.startsWith('gen_ai.prompt.') || key.startsWith('gen_ai.request.')) prompt = true
    const choice = /^gen_ai\.completion\.(\d+)\./.exec(key)?.[1]
    if (choice !== undefined) choices.add(choice)
  }
  if (span.status.description !== null) {
    span.status = { ...span.status, description: one(span.status.description, 'status.description') ?? null }
  }
  for (const key in attributes) {
    if (prompt && key.endsWith('prompt_token_ids')) delete attributes[key]
    const choice = /choices\.(\d+)\./.exec(key)?.[1] ?? '0'
    if (choices.has(choice) && !key.endsWith('prompt_token_ids')) dropTokens(attributes, key)
  }
}

function isTextList(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}

/** Leaves the numbers of logprobs and drops what would spell out the text: tokens, bytes, alternatives. */
export function numbersOnly(text: string): string {
  try {
    const parsed: unknown = JSON.parse(text)
    if (Array.isArray(parsed))
      return JSON.stringify(parsed.map((entry: unknown) => ({ logprob: read(entry, 'logprob') })))
    return JSON.stringify({ token_logprobs: read(parsed, 'token_logprobs') })
  } catch {
    return '[]'
  }
}

function read(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null ? (Reflect.get(value, key) ?? null) : null
}
