import { randomUUID } from 'node:crypto'
import type { Call } from './call.ts'
import { dialectOf } from './dialects/index.ts'
import { generate } from './generate.ts'
import { number, text, type Json } from './json.ts'
import type { LogprobOptions } from './logprobs.ts'
import { encodeSegments, messagesOf, promptSegments } from './template.ts'
import type { Tokenizer } from './tokenizer.ts'
import type { Endpoint, Flavor, ModelServerOptions, Reply } from './types.ts'

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
