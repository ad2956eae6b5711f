import type { Span } from '@agl/core'

/** Reads the rewards that a span carries, the primary one first: the core's reader, which is not loaded from here. */
export type RewardReader = (span: Span) => readonly { name: string; value: number }[]

/** What a trace amounts to. */
export interface Totals {
  spans: number
  /** Model calls at the innermost level, each counted once. */
  calls: number
  /** Undefined where no call told. */
  tokensIn: number | undefined
  tokensOut: number | undefined
  /** The last reward that was given. */
  reward: number | undefined
}

export function totals(spans: readonly Span[], rewardsOf: RewardReader): Totals {
  const calls = spans.filter(isModelCall)
  return {
    spans: spans.length,
    calls: calls.length,
    tokensIn: sum(calls.map((span) => count(span, 'gen_ai.usage.prompt_tokens'))),
    tokensOut: sum(calls.map((span) => count(span, 'gen_ai.usage.completion_tokens'))),
    reward: spans.flatMap((span) => rewardsOf(span).slice(0, 1)).at(-1)?.value,
  }
}

function sum(values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value) => value !== undefined)
  return known.length === 0 ? undefined : known.reduce((total, value) => total + value, 0)
}

/** The span of a client's call, which carries usage and ids; a framework's span around it has no such attributes. */
export function isModelCall({ attributes }: Span): boolean {
  return 'gen_ai.request.type' in attributes
}

export function text(span: Span, key: string): string | undefined {
  const value = span.attributes[key]
  return value === undefined ? undefined : String(value)
}

export function count(span: Span, key: string): number | undefined {
  const value = span.attributes[key]
  return typeof value === 'number' ? value : undefined
}

/** `412 → 96 tokens`; undefined where neither is known. */
export function tokens(input: number | undefined, output: number | undefined): string | undefined {
  if (input === undefined && output === undefined) return undefined
  return output === undefined ? `${input} tokens` : `${input ?? '?'} → ${output} tokens`
}
