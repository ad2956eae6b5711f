import type { Attributes, AttributeValue } from '@agl/core'
import { filterAndUnflatten } from '@agl/core/semconv'
import type { AdapterWarning } from './warn.ts'

/** What the readers of attributes need of a span. */
export interface Readable {
  id: string
  attributes: Attributes
}

type OnWarning = (warning: AdapterWarning) => void

/** Python takes booleans for integers, and so do its adapters. */
export type TokenId = number | boolean

function isTokenId(value: unknown): value is TokenId {
  return Number.isInteger(value) || typeof value === 'boolean'
}

/** A list of token ids as a list of its own; undefined where `value` is anything else. */
export function toIds(value: unknown): TokenId[] | undefined {
  if (value instanceof Int32Array) return Array.from(value)
  return Array.isArray(value) && value.every(isTokenId) ? value.slice() : undefined
}

/** The first of `keys` that holds a list of integers. */
export function firstIds(span: Readable, keys: readonly string[], onWarning: OnWarning): TokenId[] {
  return first(span, keys, toIds, 'a list of integers', onWarning) ?? []
}

/** The first of `keys` that holds a text. */
export function firstText(span: Readable, keys: readonly string[], onWarning: OnWarning): string | null {
  const toText = (value: AttributeValue): string | undefined =>
    typeof value === 'string' ? value : undefined
  return first(span, keys, toText, 'a text', onWarning) ?? null
}

function first<T>(
  { id, attributes }: Readable,
  keys: readonly string[],
  read: (value: AttributeValue) => T | undefined,
  expected: string,
  onWarning: OnWarning,
): T | undefined {
  for (const key of keys) {
    const value = attributes[key]
    if (value === undefined) continue
    const found = read(value)
    if (found !== undefined) return found
    const message = `The attribute "${key}" of span ${id} is not ${expected}, so it is left out.`
    onWarning({ code: 'attribute_ignored', message, spanId: id })
  }
  return undefined
}

/**
 * What stands below the first of `prefixes` that has anything below it: a list, or a map.
 *
 * @throws AglError where a prefix that is looked at is itself a key
 */
export function firstNested(attributes: Attributes, prefixes: readonly string[]): object | null {
  for (const prefix of prefixes) {
    const found = filterAndUnflatten(attributes, prefix)
    if (typeof found === 'object' && found !== null && !isEmpty(found)) return found
  }
  return null
}

/** Whether a list or map has nothing in it. */
export function isEmpty(value: object): boolean {
  for (const _ in value) return false
  return true
}
