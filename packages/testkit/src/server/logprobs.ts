import type { Token, Tokenizer } from './tokenizer.ts'
import type { Family, Flavor } from './types.ts'

export interface LogprobOptions {
  flavor: Flavor
  family: Family
  tokenizer: Tokenizer
  /** Number of alternatives in each entry. */
  top: number
  /** vLLM's `return_tokens_as_token_ids`. */
  asIds: boolean
}

interface Entry {
  /** llama.cpp's. */
  id?: number
  token: string
  logprob: number
  bytes: number[] | null
}

export interface TokenLogprob extends Entry {
  top_logprobs: Entry[]
}

const utf8 = new TextEncoder()

/** A made-up log probability between -0.92 and 0, the same for the same id at the same position. */
function computed(id: number, position: number): number {
  let mixed = Math.imul(id, 0x9e3779b1) ^ Math.imul(position, 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0xc2b2ae35)
  return Math.log(0.4 + 0.6 * (((mixed ^ (mixed >>> 13)) >>> 0) / 2 ** 32))
}

/** The log probability of the token at a position: the reply's own where it gave one. */
export function logprobOf(token: Token, position: number, given: readonly number[]): number {
  return given[position] ?? computed(token.id, position)
}

/** The sampled token and then alternatives, best first; together they have a probability of at most 1. */
export function ranked(
  token: Token,
  logprob: number,
  count: number,
  tokenizer: Tokenizer,
): { token: Token; logprob: number }[] {
  const rest = 1 - Math.exp(logprob)
  const alternatives = Array.from({ length: Math.max(0, count - 1) }, (_, rank) => ({
    token: tokenizer.token((token.id + 1013 * (rank + 1)) % 50_000),
    logprob: Math.max(Math.log(rest) - (rank + 1) * Math.LN2, -9999),
  }))
  return count > 0 ? [{ token, logprob }, ...alternatives] : []
}

/** OpenAI spells incomplete characters as escapes, vLLM as U+FFFD, llama.cpp not at all. */
export function spelled(token: Token, { flavor, family, asIds }: LogprobOptions): string {
  if (asIds) return `token_id:${token.id}`
  if (flavor === 'llamacpp') return token.whole ? token.text : ''
  if (family === 'vllm' || token.whole) return token.text
  return token.bytes.map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')
}

/** `bytes` are the token's own under OpenAI and llama.cpp. vLLM encodes the decoded text, and for alternatives the text as shown. */
function entry(token: Token, logprob: number, options: LogprobOptions, alternative: boolean): Entry {
  const shown = spelled(token, options)
  if (options.flavor === 'llamacpp') return { id: token.id, token: shown, logprob, bytes: [...token.bytes] }
  const bytes =
    options.family === 'openai' ? [...token.bytes] : [...utf8.encode(alternative ? shown : token.text)]
  return { token: shown, logprob, bytes }
}

export function chatLogprob(token: Token, logprob: number, options: LogprobOptions): TokenLogprob {
  return {
    ...entry(token, logprob, options, false),
    top_logprobs: ranked(token, logprob, options.top, options.tokenizer).map((alternative) =>
      entry(alternative.token, alternative.logprob, options, true),
    ),
  }
}
