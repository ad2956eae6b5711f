import { AglError } from './errors.ts'

/*
 * Agent Lightning's names and the rules by which nested values become flat attributes and back, equal to those of
 * the Python package v0.3 (`agentlightning.utils.otel`). Pure functions, usable without the tracer.
 */

export const ROLLOUT_ID = 'agentlightning.rollout_id'
export const ATTEMPT_ID = 'agentlightning.attempt_id'
export const SPAN_SEQUENCE_ID = 'agentlightning.span_sequence_id'
export const ANNOTATION = 'agentlightning.annotation'
export const MESSAGE = 'agentlightning.message'
export const MESSAGE_BODY = 'agentlightning.message.body'
export const OBJECT = 'agentlightning.object'
export const EXCEPTION = 'agentlightning.exception'
export const OPERATION = 'agentlightning.operation'
export const OPERATION_NAME = 'agentlightning.operation.name'
export const OPERATION_INPUT = 'agentlightning.operation.input'
export const OPERATION_OUTPUT = 'agentlightning.operation.output'
export const REWARD = 'agentlightning.reward'
export const LINK = 'agentlightning.link'
export const TAG = 'agentlightning.tag'

type Dict = Record<string, unknown>

function isDict(value: unknown): value is Dict {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || prototype === Object.prototype
}

/** Sets an own key, whatever its name: plain assignment would lose `__proto__`. */
function put(into: Dict, key: string, value: unknown): void {
  if (key !== '__proto__') into[key] = value
  else Object.defineProperty(into, key, { value, enumerable: true, configurable: true, writable: true })
}

/** Python tells int from float, so `[1, 2.5]` is a mixed list there, and here. */
function primitiveType(value: unknown): string | undefined {
  if (typeof value === 'string' || typeof value === 'boolean') return typeof value
  if (typeof value === 'number') return Number.isInteger(value) && !Object.is(value, -0) ? 'int' : 'float'
  return undefined
}

function isLeafList(list: readonly unknown[]): boolean {
  const types = new Set(list.map(primitiveType))
  if (types.has(undefined)) return false
  // 2.0 and 2 are one number in JavaScript: a list with any fraction is a list of floats.
  if (types.has('float')) types.delete('int')
  return types.size === 1
}

/**
 * Joins nested keys with dots. A list of one primitive type stays a list unless it is at the root or
 * `expandLeafLists` is set; other lists become `.0`, `.1`, …; empty lists and maps vanish.
 */
export function flatten(data: unknown, options: { expandLeafLists?: boolean } = {}): Dict {
  const result: Dict = {}
  const open = new Set<object>()
  const walk = (value: unknown, path: string, root: boolean): void => {
    if (!Array.isArray(value) && !isDict(value)) return put(result, path, value)
    if (open.has(value))
      throw new AglError(
        'value_invalid',
        'A value that contains itself cannot be flattened; break the cycle.',
      )
    if (Array.isArray(value) && !root && !options.expandLeafLists && isLeafList(value))
      return put(result, path, value)
    open.add(value)
    for (const key of Object.keys(value)) walk(Reflect.get(value, key), root ? key : `${path}.${key}`, false)
    open.delete(value)
  }
  walk(data, '', true)
  return result
}

/** The reverse of `flatten`: a path wins over a value that stands in its way; maps with keys 0 to n-1 become lists. */
export function unflatten(data: Dict): unknown {
  const tree = new Map<string, unknown>()
  for (const key of Object.keys(data)) {
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
    node.set(last, data[key])
  }
  return settle(tree)
}

function settle(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(settle)
  const entries =
    value instanceof Map ? [...value.entries()] : isDict(value) ? Object.entries(value) : undefined
  if (entries === undefined) return value
  const map = new Map(entries.map(([key, item]): [string, unknown] => [String(key), settle(item)]))
  const indices = [...map.keys()].map((key) => (/^\d+$/.test(key) ? Number(key) : -1)).sort((a, b) => a - b)
  if (map.size > 0 && indices.every((index, i) => index === i)) {
    return indices.map((index) => {
      if (!map.has(String(index)))
        throw new AglError(
          'value_invalid',
          `The list index "${index}" is written with leading zeros; write it plainly.`,
        )
      return map.get(String(index))
    })
  }
  const result: Dict = {}
  for (const [key, item] of map) put(result, key, item)
  return result
}

/** The attributes at `prefix` or below it. */
export function filter(attributes: Dict, prefix: string): Dict {
  const result: Dict = {}
  for (const key of Object.keys(attributes)) {
    if (key === prefix || key.startsWith(`${prefix}.`)) put(result, key, attributes[key])
  }
  return result
}

/** What stands below `prefix`, nested again. @throws AglError where `prefix` itself is a key */
export function filterAndUnflatten(attributes: Dict, prefix: string): unknown {
  const below: Dict = {}
  for (const [key, value] of Object.entries(filter(attributes, prefix))) {
    if (key === prefix)
      throw new AglError('value_invalid', `"${prefix}" is both a value and a prefix; keep one.`)
    put(below, key.slice(prefix.length + 1), value)
  }
  return unflatten(below)
}

/** Makes a list homogeneous: booleans beside numbers become numbers. @throws AglError where that cannot be */
export function sanitizeList(list: readonly unknown[]): string[] | number[] | boolean[] {
  if (list.every((item) => typeof item === 'string')) return [...list]
  if (list.every((item) => typeof item === 'boolean')) return [...list]
  if (list.every((item) => typeof item === 'number' || typeof item === 'boolean')) return list.map(Number)
  throw new AglError('value_invalid', 'A list attribute must hold only texts, only booleans or only numbers.')
}

/** Any value as a legal attribute: what is not a primitive or a homogeneous list becomes JSON text. */
export function sanitizeValue(value: unknown): string | number | boolean | string[] | number[] | boolean[] {
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value
  if (Array.isArray(value)) {
    try {
      return sanitizeList(value)
    } catch {
      return pythonJSON(value)
    }
  }
  return pythonJSON(value)
}

export function sanitizeAttributes(attributes: Dict): Record<string, ReturnType<typeof sanitizeValue>> {
  const result: Record<string, ReturnType<typeof sanitizeValue>> = {}
  for (const key of Object.keys(attributes)) put(result, key, sanitizeValue(attributes[key]))
  return result
}

/** @throws AglError naming the first attribute that is neither a primitive nor a list of them */
export function checkAttributes(attributes: Dict): void {
  for (const key of Object.keys(attributes)) {
    const value = attributes[key]
    const items: readonly unknown[] = Array.isArray(value) ? value : [value]
    if (items.every((item) => primitiveType(item) !== undefined)) continue
    throw new AglError(
      'value_invalid',
      `The attribute "${key}" must be a text, number, boolean or a list of these; null and undefined are not.`,
    )
  }
}

export function makeTagAttributes(tags: readonly string[]): Dict {
  return flatten({ [TAG]: tags }, { expandLeafLists: true })
}

/** @throws AglError where a tag is not a text */
export function extractTags(attributes: Dict): string[] {
  const tags = filterAndUnflatten(attributes, TAG)
  const list: unknown[] = Array.isArray(tags)
    ? tags
    : isDict(tags) && Object.keys(tags).length === 0
      ? []
      : [undefined]
  if (list.every((tag) => typeof tag === 'string')) return list
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
  const reserved: Record<string, (span: T) => unknown> = {
    span_id: (span) => span.spanId,
    trace_id: (span) => span.traceId,
  }
  return spans.filter((span) =>
    links.every(({ key_match, value_match }) => {
      const read = Object.hasOwn(reserved, key_match) ? reserved[key_match] : undefined
      const value =
        read?.(span) ?? (Object.hasOwn(span.attributes, key_match) ? span.attributes[key_match] : undefined)
      return value === value_match
    }),
  )
}

/**
 * JSON as Python's `json.dumps` writes it: blanks after `,` and `:`, ASCII only. Values that JSON does not know
 * become texts, as with `default=str`, unless `strict`.
 *
 * @throws TypeError for cycles, and whatever a getter throws
 */
export function pythonJSON(value: unknown): string {
  const open: object[] = []
  const write = (item: unknown): string | undefined => {
    if (item === null) return 'null'
    if (typeof item === 'string') return ascii(JSON.stringify(item))
    if (typeof item === 'number') return pythonNumber(item)
    if (typeof item === 'boolean' || typeof item === 'bigint') return String(item)
    if (typeof item !== 'object') return undefined
    if ('toJSON' in item && typeof item.toJSON === 'function') return write(item.toJSON())
    if (open.includes(item)) throw new TypeError('the value contains itself')
    open.push(item)
    const list = Array.isArray(item) || (ArrayBuffer.isView(item) && !(item instanceof DataView))
    const parts: string[] = []
    for (const key of Object.keys(item)) {
      const part = write(Reflect.get(item, key))
      if (list) parts.push(part ?? 'null')
      else if (part !== undefined) parts.push(`${ascii(JSON.stringify(key))}: ${part}`)
    }
    open.pop()
    return list ? `[${parts.join(', ')}]` : `{${parts.join(', ')}}`
  }
  return write(value) ?? 'null'
}

function ascii(text: string): string {
  return text.replace(/[\u007f-\uffff]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** A number as Python prints it: exponents have at least two digits, infinities and NaN their Python names. */
export function pythonNumber(value: number): string {
  if (Number.isNaN(value)) return 'NaN'
  if (!Number.isFinite(value)) return value > 0 ? 'Infinity' : '-Infinity'
  if (Object.is(value, -0)) return '-0.0'
  if (!Number.isInteger(value) && Math.abs(value) < 1e-4)
    return value.toExponential().replace(/e-(\d)$/, 'e-0$1')
  return String(value)
}
