import type { Attributes, AttributeValue, Span, SpanContext } from '@agl/core'
import { ATTEMPT_ID, REWARD, ROLLOUT_ID } from '@agl/core/semconv'
import { FLAGS, KIND } from './schema.ts'

/*
 * What both encodings decide alike.
 */

export type ListKind = 'strings' | 'bools' | 'ints' | 'doubles'

/**
 * Whether a number goes as an integer. JavaScript does not tell 1 from 1.0, so whole numbers are integers, but for
 * rewards: Agent Lightning's own are floats throughout.
 */
export function isInt(value: number, key: string): boolean {
  return Number.isSafeInteger(value) && !Object.is(value, -0) && !key.startsWith(REWARD)
}

/**
 * JSON, in which stores keep and give spans, has no NaN and no infinities: as in the core, such a number becomes text,
 * and in a list all of them do. In Python's store one would come back as null and fail whoever reads it.
 */
export function finite(value: AttributeValue): AttributeValue {
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value)
  if (!Array.isArray(value) || value.every((item) => typeof item !== 'number' || Number.isFinite(item)))
    return value
  return value.map(String)
}

/** What a list holds; undefined where that is not one of the legal kinds. */
export function listKind(list: readonly unknown[], key: string): ListKind | undefined {
  const type = typeof list[0]
  if (type === 'number') {
    let whole = true
    for (const item of list) {
      if (typeof item !== 'number') return undefined
      whole &&= isInt(item, key)
    }
    return whole ? 'ints' : 'doubles'
  }
  if (list.length > 0 && type !== 'string' && type !== 'boolean') return undefined
  for (const item of list) if (typeof item !== type) return undefined
  return type === 'boolean' ? 'bools' : 'strings'
}

/** Whether an attribute may hold `value`. */
export function isLegal(value: unknown, key: string): boolean {
  if (Array.isArray(value)) return listKind(value, key) !== undefined
  return /^(string|number|boolean)$/.test(typeof value) || value instanceof Int32Array
}

export function illegal(key: string): TypeError {
  return new TypeError(
    `its attribute "${key}" is neither a text, number or boolean nor a list of one of them`,
  )
}

/** A span's attributes as they are written, without ids of its own that contradict the record's: on arrival they would win. */
export function attributesOf(span: Span): Attributes {
  const { attributes, rolloutId, attemptId } = span
  const wrong = ([ROLLOUT_ID, ATTEMPT_ID] as const).filter((key, i) => {
    const own = attributes[key]
    return own !== undefined && own !== [rolloutId, attemptId][i]
  })
  if (wrong.length === 0) return attributes
  return Object.fromEntries(
    Object.entries(attributes).filter(([key]) => !wrong.some((other) => other === key)),
  )
}

/** OpenTelemetry's span kind, which the record does not have: a call of a model goes out to a server. */
export function kindOf({ attributes }: Span): number {
  const isCall = 'gen_ai.system' in attributes || 'gen_ai.provider.name' in attributes
  return isCall ? KIND.client : KIND.internal
}

/** Says by standard bits whether the record has a context and a parent's context. */
export function flagsOf({ context, parent }: Span): number {
  return (context === null ? 0 : FLAGS.sampled) | (parent === null ? 0 : remoteFlags(parent))
}

export function remoteFlags({ isRemote }: SpanContext): number {
  return FLAGS.hasIsRemote | (isRemote ? FLAGS.isRemote : 0)
}

/** W3C's `tracestate`. */
export function traceStateText(context: SpanContext | null): string {
  const state = context?.traceState ?? {}
  return Object.keys(state)
    .map((key) => `${key}=${state[key]}`)
    .join(',')
}

export function traceStateFrom(text: string): Record<string, string> {
  if (text === '') return {}
  const pairs = text.split(',').map((pair) => pair.trim())
  return Object.fromEntries(
    pairs
      .filter((pair) => pair.includes('='))
      .map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]),
  )
}

/** Token ids are `Int32Array` in a record, under whatever prefix they are. */
export function isTokenIds(key: string): boolean {
  return key.endsWith('token_ids')
}

/** Sets an attribute; plain assignment would lose one named `__proto__`. */
export function setAttribute(into: Attributes, key: string, value: AttributeValue): void {
  if (key !== '__proto__') into[key] = value
  else Object.defineProperty(into, key, { value, enumerable: true, configurable: true, writable: true })
}

/** Bytes that a span takes in protobuf, roughly. */
export function weightOf({ attributes }: Span): number {
  let bytes = 300
  for (const key in attributes) {
    const value = attributes[key]
    bytes += key.length + 16
    if (typeof value === 'string') bytes += value.length
    else if (Array.isArray(value) || value instanceof Int32Array) bytes += value.length * 8
  }
  return bytes
}
