import type { Generation } from './generate.ts'
import { record, type Json } from './json.ts'
import type { LogprobOptions } from './logprobs.ts'
import type { Tokenizer } from './tokenizer.ts'
import type { Endpoint, Family, Flavor, Reply } from './types.ts'

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
