import { AglError } from './errors.ts'

/*
 * Agent Lightning's names and the rules by which nested values become flat attributes and back, equal to those of
 * the Python package v0.3 (`agentlightning.utils.otel`). Pure functions, usable without the tracer.
 */

export const ROLLOUT_ID = 'agentlightning.rollout_id'
export const ATTEMPT_ID = 'agentlightning.attempt_id'
export const SPAN_SEQUENCE_ID = 'agentlightning.span_sequence_id'
export const TRACER_NAME = 'agentlightning.tracer.name'
export const ANNOTATION = 'agentlightning.annotation'
export const MESSAGE = 'agentlightning.message'
export const MESSAGE_BODY = 'agentlightning.message.body'
export const OBJECT = 'agentlightning.object'
export const OBJECT_TYPE = 'agentlightning.object.type'
export const OBJECT_LITERAL = 'agentlightning.object.literal'
export const OBJECT_JSON = 'agentlightning.object.json'
export const EXCEPTION = 'agentlightning.exception'
export const OPERATION = 'agentlightning.operation'
export const OPERATION_NAME = 'agentlightning.operation.name'
export const OPERATION_INPUT = 'agentlightning.operation.input'
export const OPERATION_OUTPUT = 'agentlightning.operation.output'
export const REWARD = 'agentlightning.reward'
export const LINK = 'agentlightning.link'
export const TAG = 'agentlightning.tag'
export const VIRTUAL = 'agentlightning.virtual'

type Dict = Record<string, unknown>

/** @internal */
export function isDict(value: unknown): value is Dict {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  // Not `Object.prototype` itself: objects of another realm, such as a test runner's, are plain too.
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

function isPrimitive(value: unknown): value is string | number | boolean {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
}

/** Python tells a list of integers from one of floats; 2 and 2.0 are one number here, and so are the lists. */
function isLeafList(list: readonly unknown[]): boolean {
  return list.every(isPrimitive) && new Set(list.map((item) => typeof item)).size === 1
}

/** Python cannot nest deeper than this either. */
const DEEPEST = 1000

/**
 * Joins nested keys with dots. A list of one primitive type stays a list unless it is at the root or
 * `expandLeafLists` is set; other lists become `.0`, `.1`, …; empty lists and maps, and undefined in maps, vanish.
 *
 * @throws AglError `value_invalid` for cycles and more than 1000 levels
 */
export function flatten(data: unknown, options: { expandLeafLists?: boolean } = {}): Dict {
  // Maps throughout: assigning to a key named `__proto__` would lose it.
  const result = new Map<string, unknown>()
  const open = new Set<object>()
  const walk = (value: unknown, path: string): void => {
    const isList = Array.isArray(value)
    if (!isList && !isDict(value)) return void result.set(path, value)
    if (isList && path !== '' && options.expandLeafLists !== true && isLeafList(value))
      return void result.set(path, value)
    if (open.has(value) || open.size > DEEPEST)
      throw new AglError('value_invalid', 'A value is cyclic or has over 1000 levels; pass flatter data.')
    open.add(value)
    for (const [key, item] of isList ? value.entries() : Object.entries(value))
      if (isList || item !== undefined) walk(item, path === '' ? String(key) : `${path}.${key}`)
    open.delete(value)
  }
  walk(data, '')
  return Object.fromEntries(result)
}

/** The reverse of `flatten`: a path wins over a value that stands in its way; maps with keys 0 to n-1 become lists. */
export function unflatten(data: Dict): unknown {
  return nest(Object.entries(data))
}

/** Takes entries, as an object would move keys like `0` to its front: the order decides what wins. */
function nest(entries: [key: string, value: unknown][]): unknown {
  const tree = new Map<string, unknown>()
  for (const [key, value] of entries) {
    const parts = key.split('.')
    const last = parts.pop() ?? ''
    let node = tree
    for (const part of parts) {
      const below = node.get(part)
      const next: Map<string, unknown> =
        below instanceof Map ? below : new Map(isDict(below) ? Object.entries(below) : [])
      node.set(part, next)
      node = next
    }
    node.set(last, value)
  }
  return settle(tree)
}

function settle(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(settle)
  if (!(value instanceof Map) && !isDict(value)) return value
  const entries: Iterable<[unknown, unknown]> = value instanceof Map ? value : Object.entries(value)
  const map = new Map<string, unknown>()
  for (const [key, item] of entries) map.set(String(key), settle(item))
  return toList(map) ?? toObject(map)
}

/** As `Object.fromEntries`, in half of its time. */
function toObject(map: ReadonlyMap<string, unknown>): Dict {
  const object: Dict = {}
  if (map.has('__proto__')) return Object.fromEntries(map)
  for (const [key, value] of map) object[key] = value
  return object
}

/** The values where the keys are 0 to n-1, in any order. */
function toList(map: ReadonlyMap<string, unknown>): unknown[] | undefined {
  if (map.size === 0) return undefined
  const indices: number[] = []
  for (const key of map.keys()) {
    if (!/^\d+$/.test(key)) return undefined
    indices.push(Number(key))
  }
  if (indices.sort((a, b) => a - b).some((index, i) => index !== i)) return undefined
  return indices.map((index) => {
    if (map.has(String(index))) return map.get(String(index))
    throw new AglError('value_invalid', `The list index ${index} has leading zeros; write it without.`)
  })
}

/** The attributes at `prefix` or below it. */
export function filter(attributes: Dict, prefix: string): Dict {
  const isBelow = (key: string): boolean => key === prefix || key.startsWith(`${prefix}.`)
  return Object.fromEntries(Object.entries(attributes).filter(([key]) => isBelow(key)))
}

/** What stands below `prefix`, nested again. @throws AglError where `prefix` itself is a key */
export function filterAndUnflatten(attributes: Dict, prefix: string): unknown {
  const start = `${prefix}.`
  const below: [string, unknown][] = []
  for (const key of Object.keys(attributes)) {
    if (key === prefix)
      throw new AglError('value_invalid', `"${prefix}" is both a value and a prefix; keep one.`)
    if (key.startsWith(start)) below.push([key.slice(start.length), attributes[key]])
  }
  return nest(below)
}

type List = string[] | number[] | boolean[]

function homogeneous(list: readonly unknown[]): List | undefined {
  if (list.every((item) => typeof item === 'string')) return [...list]
  if (list.every((item) => typeof item === 'boolean')) return [...list]
  if (list.every((item) => typeof item === 'number' || typeof item === 'boolean')) return list.map(Number)
  return undefined
}

/** Makes a list homogeneous: booleans beside numbers become numbers. @throws AglError where that cannot be */
export function sanitizeList(list: readonly unknown[]): List {
  const result = homogeneous(list)
  if (result !== undefined) return result
  throw new AglError('value_invalid', 'A list attribute must hold only texts, only booleans or only numbers.')
}

/**
 * Any value as a legal attribute: what is not a primitive or a homogeneous list becomes JSON text.
 *
 * @throws AglError `value_unserializable` for plain data that is cyclic or larger than 32 MB
 */
export function sanitizeValue(value: unknown): string | number | boolean | List {
  if (isPrimitive(value)) return value
  const list = Array.isArray(value) ? homogeneous(value) : undefined
  if (list !== undefined) return list
  try {
    return pythonJSON(value)
  } catch (error) {
    // Clients and the like refer to themselves; Python's `default=str` names them as well.
    if (!(value instanceof Object) || Array.isArray(value) || isDict(value)) throw error
    return pythonJSON(`[${value.constructor?.name}]`)
  }
}

/** `sanitizeValue` for each attribute; those that are undefined are left out. */
export function sanitizeAttributes(attributes: Dict): Record<string, ReturnType<typeof sanitizeValue>> {
  const present = Object.entries(attributes).filter(([, value]) => value !== undefined)
  return Object.fromEntries(present.map(([key, value]) => [key, sanitizeValue(value)]))
}
export { sanitizeAttributes as sanitize }

/** @throws AglError naming the first attribute that is neither a primitive nor a list of one kind of them */
export function checkAttributes(attributes: Dict): void {
  for (const [key, value] of Object.entries(attributes)) {
    if (isPrimitive(value) || (Array.isArray(value) && homogeneous(value) !== undefined)) continue
    throw new AglError(
      'value_invalid',
      `The attribute "${key}" must be a text, number, boolean or a list of one of these, not null.`,
    )
  }
}

export function makeTagAttributes(tags: readonly string[]): Dict {
  return flatten({ [TAG]: tags }, { expandLeafLists: true })
}

/** @throws AglError where there are no tags, or broken ones */
export function extractTags(attributes: Dict): string[] {
  const tags = filterAndUnflatten(attributes, TAG)
  if (Array.isArray(tags) && tags.every((tag) => typeof tag === 'string')) return tags
  throw new AglError('value_invalid', 'Tags must be texts, numbered from 0.')
}

export interface Link {
  key_match: string
  value_match: string
}

/** Encodes a link to the spans whose attributes (or `span_id`, `trace_id`) have the given values. */
export function makeLinkAttributes(links: Record<string, string>): Dict {
  const list = Object.entries(links).map(([key, value]) => {
    if (typeof value !== 'string')
      throw new AglError('value_invalid', `The link "${key}" must have a text to match.`)
    return { key_match: key, value_match: value }
  })
  return flatten({ [LINK]: list }, { expandLeafLists: true })
}

/** @throws AglError where there are no links, or broken ones */
export function extractLinks(attributes: Dict): Link[] {
  const links = filterAndUnflatten(attributes, LINK)
  const isLink = (link: unknown): link is Link =>
    isDict(link) && typeof link['key_match'] === 'string' && typeof link['value_match'] === 'string'
  if (Array.isArray(links) && links.every(isLink)) {
    return links.map(({ key_match, value_match }) => ({ key_match, value_match }))
  }
  throw new AglError('value_invalid', 'Links need a key_match and a value_match each, numbered from 0.')
}

/** The spans that all `links` match. */
export function queryLinkedSpans<T extends { spanId: string; traceId: string; attributes: Dict }>(
  spans: readonly T[],
  links: readonly Link[],
): T[] {
  const read = ({ spanId, traceId, attributes }: T, key: string): unknown => {
    if (key === 'span_id') return spanId
    if (key === 'trace_id') return traceId
    return Object.hasOwn(attributes, key) ? attributes[key] : undefined
  }
  return spans.filter((span) => links.every((link) => read(span, link.key_match) === link.value_match))
}

/** @internal Most characters that one attribute may take. */
export const MOST: number = 32 * 1024 * 1024

/**
 * JSON as Python's `json.dumps` writes it: blanks after `,` and `:`, ASCII only, and NaN as such. Otherwise as
 * `JSON.stringify`, but that bigints are integers, a Map is a map, and sets and typed arrays are lists.
 *
 * @throws AglError `value_unserializable` for cycles, getters that throw, and more than 32 MB
 */
export function pythonJSON(value: unknown): string {
  const open = new Set<object>()
  let size = 0
  const sized = (text: string): string => {
    size += text.length + 2
    if (size > MOST) throw new RangeError('it is larger than 32 MB')
    return text
  }
  const write = (item: unknown, converted = false): string | undefined => {
    if (typeof item === 'string') return sized(quote(item))
    if (typeof item === 'number') return sized(pythonNumber(item))
    if (item === null || typeof item === 'boolean' || typeof item === 'bigint') return sized(String(item))
    if (typeof item !== 'object') return undefined
    if (!converted && 'toJSON' in item && typeof item.toJSON === 'function') return write(item.toJSON(), true)
    if (open.has(item)) throw new TypeError('it is cyclic')
    open.add(item)
    sized('')
    const isList = isListLike(item)
    const parts: string[] = []
    if (isList) for (const element of item) parts.push(write(element) ?? sized('null'))
    else
      for (const [key, element] of item instanceof Map ? item : Object.entries(item)) {
        const part = write(element)
        if (part !== undefined) parts.push(`${sized(quote(String(key)))}: ${part}`)
      }
    open.delete(item)
    return isList ? `[${parts.join(', ')}]` : `{${parts.join(', ')}}`
  }
  try {
    return write(value) ?? 'null'
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    const message = `The value cannot be written as JSON: ${reason}; pass smaller, plain data.`
    throw new AglError('value_unserializable', message, { cause })
  }
}

function isListLike(value: object): value is Iterable<unknown> {
  return (
    Array.isArray(value) ||
    value instanceof Set ||
    (ArrayBuffer.isView(value) && !(value instanceof DataView))
  )
}

function quote(text: string): string {
  return JSON.stringify(text).replace(
    /[\u007f-\uffff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/** @internal A number as Python prints it: exponents have at least two digits, infinities and NaN their Python names. */
export function pythonNumber(value: number): string {
  if (Object.is(value, -0)) return '-0.0'
  if (value !== 0 && Math.abs(value) < 1e-4) return value.toExponential().replace(/e-(\d)$/, 'e-0$1')
  return String(value)
}

const NAN = '\uFFFFNaN'
const PYTHON_ONLY: Record<string, string> = { NaN: `"${NAN}"`, Infinity: '1e999' }

/** Reads JSON as Python does: also `NaN`, `Infinity` and `-Infinity`. @throws SyntaxError */
export function parsePythonJSON(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch (error) {
    if (!/NaN|Infinity/.test(json)) throw error
    const text = json.replace(
      /"(?:[^"\\]|\\.)*"|(?<![\w.])(?:NaN|Infinity)(?![\w.])/g,
      (token) => PYTHON_ONLY[token] ?? token,
    )
    return JSON.parse(text, (_key, value: unknown) => (value === NAN ? Number.NaN : value))
  }
}
