import type { Call } from '../call.ts'
import { isRecord, list, type Json } from '../json.ts'
import type { Endpoint, Family, ReasoningField } from '../types.ts'

/** What makes a server's wire format differ from its family's. */
export interface Dialect {
  family: Family
  /** What `/version` answers. */
  version: string
  /** The owner of its models. */
  ownedBy: string
  reasoningFields: readonly ReasoningField[]
  /** Whether the answer is made with ids in vLLM's places. @default `return_token_ids: true` under vLLM */
  wantsIds?(body: Json, endpoint: Endpoint): boolean
  /** Why a request is refused with 400. */
  refuse?(body: Json, endpoint: Endpoint): string | undefined
  /** Changes a whole answer of chat or completions. */
  body?(answer: Json, call: Call): Json
  /** Changes a streamed one. */
  chunks?(chunks: Iterable<Json>, call: Call): Iterable<Json>
}

export function choicesOf(answer: Json): Json[] {
  return list(answer['choices']).filter(isRecord)
}

/** A copy without some fields. */
export function without(value: Json, ...keys: readonly string[]): Json {
  return Object.fromEntries(Object.entries(value).filter(([key]) => !keys.includes(key)))
}
