import { randomUUID } from 'node:crypto'
import type { Family } from './dialects/dialect.ts'
import { dialectOf } from './dialects/index.ts'
import { generate, type Generation } from './generate.ts'
import { number, record, text, type Json } from './json.ts'
import type { LogprobOptions } from './logprobs.ts'
import { encodeSegments, messagesOf, promptSegments } from './template.ts'
import type { Tokenizer } from './tokenizer.ts'
import type { Endpoint, Flavor, ModelServerOptions, Reply } from './types.ts'

/** All that it takes to put one answer on the wire. */
export interface Call {
  endpoint: Endpoint
  flavor: Flavor
  /** Which of the two basic formats the answer is made in, before the flavor's own changes. */
  family: Family
  tokenizer: Tokenizer
  body: Json
  /** Of the request. */
  headers: Readonly<Record<string, string>>
  reply: Reply
  id: string
  created: number
  model: string
  /** The prompt that each choice answers. */
  prompts: readonly (readonly number[])[]
  choices: readonly Generation[]
  /** vLLM's `return_token_ids`, where it is honoured. */
  wantsIds: boolean
  logprobs: LogprobOptions | undefined
  reasoningFields: readonly string[]
  azure: boolean
}

const COUNTED_FROM = 1_700_000_000

export interface Maker {
  options: ModelServerOptions
  tokenizer: Tokenizer
  /** Counts answers, for ids under `deterministic`. */
  next(): number
}

export interface Asked {
  endpoint: Endpoint
  body: Json
  /** The deployment that an Azure path names. */
  deployment: string | undefined
  requestId: string | undefined
  /** Lower-case names, without credentials. */
  headers: Readonly<Record<string, string>>
}

export function makeCall(maker: Maker, asked: Asked, reply: Reply): Call {
  const { options, tokenizer } = maker
  const { endpoint, body } = asked
  const { flavor = 'openai' } = options
  const dialect = dialectOf(flavor)
  const { family } = dialect
  const deterministic = options.deterministic === true
  const unique = (): string =>
    deterministic ? String(maker.next()).padStart(32, '0') : randomUUID().replaceAll('-', '')
  const prompts =
    endpoint === 'completions' ? promptsOf(body['prompt'], tokenizer) : [chatPrompt(body, tokenizer)]
  const n = number(body['n']) ?? 1
  const said = reply.choices ?? [reply]
  const choices = Array.from({ length: n * prompts.length }, (_, index) =>
    generate(said[index % said.length] ?? {}, tokenizer, {
      maxTokens: number(body['max_completion_tokens'] ?? body['max_output_tokens'] ?? body['max_tokens']),
      parse: endpoint !== 'completions',
      interleave: reply.interleaveToolCalls === true,
      nextCallId: () => `call_${unique().slice(deterministic ? -24 : 0, deterministic ? undefined : 24)}`,
    }),
  )
  // With its reasoning hidden, vLLM also hides the ids and log probabilities that would spell it out.
  const hidden = family === 'vllm' && body['include_reasoning'] === false
  const wantsIds =
    dialect.wantsIds?.(body, endpoint) ?? (family === 'vllm' && body['return_token_ids'] === true)
  return {
    endpoint,
    flavor,
    family,
    tokenizer,
    body,
    headers: asked.headers,
    reply,
    id: reply.id ?? `${PREFIX[endpoint]}${asked.requestId ?? unique()}`,
    created: deterministic ? COUNTED_FROM : Math.floor(Date.now() / 1000),
    model: reply.model ?? text(body['model']) ?? asked.deployment ?? options.models?.[0] ?? 'testkit-model',
    prompts: choices.map((_, index) => prompts[Math.floor(index / n)] ?? []),
    choices,
    wantsIds: wantsIds && !hidden,
    logprobs: hidden ? undefined : logprobOptions(endpoint, body, flavor, tokenizer),
    reasoningFields: hidden ? [] : (options.reasoningFields ?? dialect.reasoningFields),
    azure: asked.deployment !== undefined,
  }
}

const PREFIX: Record<Endpoint, string> = {
  chat: 'chatcmpl-',
  completions: 'cmpl-',
  responses: 'resp_',
  embeddings: 'embd-',
}

function chatPrompt(body: Json, tokenizer: Tokenizer): number[] {
  const tools = Array.isArray(body['tools']) ? body['tools'] : []
  return encodeSegments(promptSegments(messagesOf(body), tools), tokenizer)
}

/** A text, several texts, the ids of one prompt, or of several. */
export function promptsOf(prompt: unknown, tokenizer: Tokenizer): (readonly number[])[] {
  if (typeof prompt === 'string') return [tokenizer.encode(prompt)]
  if (!Array.isArray(prompt)) return [[]]
  if (prompt.every((item) => typeof item === 'number')) return [prompt]
  return prompt.flatMap((item: unknown) => promptsOf(item, tokenizer))
}

/** Those that may spell tokens as `token_id:7`. */
const SPELLS_IDS: ReadonlySet<Flavor> = new Set(['vllm', 'vllm-0.10', 'vllm-patched', 'litellm'] as const)

function logprobOptions(
  endpoint: Endpoint,
  body: Json,
  flavor: Flavor,
  tokenizer: Tokenizer,
): LogprobOptions | undefined {
  const asIds = SPELLS_IDS.has(flavor) && body['return_tokens_as_token_ids'] === true
  const shared = { flavor, family: dialectOf(flavor).family, tokenizer, asIds }
  const top = number(body['top_logprobs']) ?? (flavor === 'llamacpp' ? 20 : 0)
  if (endpoint === 'completions') {
    const count = number(body['logprobs'])
    return count === undefined ? undefined : { ...shared, top: count }
  }
  if (endpoint === 'responses') {
    const asked = Array.isArray(body['include']) && body['include'].includes('message.output_text.logprobs')
    return asked ? { ...shared, top } : undefined
  }
  return body['logprobs'] === true ? { ...shared, top: top < 0 ? 20 : top } : undefined
}

/** Counts over all choices; the prompt of several choices counts once. */
export function counts(call: Call): { prompt: number; completion: number; reasoning: number } {
  const prompts = new Set(call.prompts)
  const sum = (numbers: readonly number[]): number => numbers.reduce((total, count) => total + count, 0)
  return {
    prompt: sum([...prompts].map((ids) => ids.length)),
    completion: sum(call.choices.map(({ ids }) => ids.length)),
    reasoning: sum(call.choices.map(({ reasoningTokens }) => reasoningTokens)),
  }
}

/** The usage so far, as vLLM puts it on every chunk under `continuous_usage_stats`. */
export function usageSoFar(prompt: number, completion: number): Json {
  return { prompt_tokens: prompt, total_tokens: prompt + completion, completion_tokens: completion }
}

/** Lets the choices take turns: one entry of each that has more. */
export function* inTurns<T>(streams: readonly Iterator<T, unknown, undefined>[]): Generator<T> {
  let open = [...streams]
  while (open.length > 0) {
    const still: typeof open = []
    for (const stream of open) {
      const next = stream.next()
      if (next.done === true) continue
      yield next.value
      still.push(stream)
    }
    open = still
  }
}

/** Usage as the chat and completions endpoints have it, or undefined where the reply leaves it out. */
export function usageOf(call: Call): Json | undefined {
  const { reply, family } = call
  if (reply.usage === null) return undefined
  const { prompt, completion, reasoning } = counts(call)
  const basic = usageSoFar(prompt, completion)
  if (family === 'vllm') return { ...basic, ...reply.usage }
  return {
    ...basic,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
    completion_tokens_details: {
      reasoning_tokens: reasoning,
      audio_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
    },
    ...reply.usage,
  }
}

export interface StreamUsage {
  /** A last chunk with the usage. */
  last: boolean
  /** vLLM: the usage so far on every chunk. */
  continuous: boolean
}

export function streamUsage(call: Call): StreamUsage {
  const options = record(call.body['stream_options'])
  const last = options['include_usage'] === true
  return { last, continuous: last && call.family === 'vllm' && options['continuous_usage_stats'] === true }
}
