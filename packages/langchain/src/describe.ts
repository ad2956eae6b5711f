import { isFields, isMethod, type Fields } from './guards.ts'
import { isMessage, messageOf } from './messages.ts'

/** Characters kept of one input or output: the state of a graph is handed from node to node, and grows on the way. */
const MOST = 65_536
const DEEPEST = 16

/**
 * An input or output as text: itself where it is text, otherwise JSON, messages in the form of OpenAI's API. Whatever
 * it holds, this neither throws nor takes long: what is too long is cut, and says so.
 */
export function describe(value: unknown): string | undefined {
  if (value === undefined) return undefined
  const writer = new Writer()
  return typeof value === 'string' ? writer.cut(value) : writer.write(value, 0)
}

class Writer {
  #left = MOST
  readonly #above: object[] = []

  /** The part of a text that there is room for. */
  cut(value: string): string {
    const kept = Math.max(this.#left, 0)
    this.#left -= value.length
    return value.length <= kept ? value : `${value.slice(0, kept)}… [${value.length - kept} more characters]`
  }

  write(value: unknown, depth: number): string {
    if (typeof value === 'string') return JSON.stringify(this.cut(value))
    this.#left -= 4
    if (typeof value === 'number') return Number.isFinite(value) ? String(value) : `"${value}"`
    if (typeof value === 'boolean') return String(value)
    if (typeof value === 'bigint') return `"${value}"`
    if (!isFields(value)) return 'null'
    this.#left -= 2
    if (this.#above.includes(value)) return '"[circular]"'
    if (depth > DEEPEST) return '"[too deep]"'
    this.#above.push(value)
    try {
      return this.#object(value, depth + 1)
    } catch {
      return '"[cannot be read]"'
    } finally {
      this.#above.pop()
    }
  }

  #object(value: Fields, depth: number): string {
    const known: object = value
    if (Array.isArray(known)) return this.#list(known, known.length, depth)
    if (isMessage(value)) return this.#message(value, depth)
    // LangChain's own objects: what they were made of.
    if ('lc_serializable' in value && isFields(value['lc_kwargs']))
      return this.#fields(value['lc_kwargs'], depth)
    if (known instanceof Error) return this.#fields({ name: known.name, message: known.message }, depth)
    if (known instanceof Map) return this.#list(known, known.size, depth)
    if (known instanceof Set) return this.#list(known, known.size, depth)
    if (ArrayBuffer.isView(known)) return `"[${known.byteLength} bytes]"`
    const { toJSON } = value
    if (isMethod(toJSON)) {
      const plain: unknown = Reflect.apply(toJSON, value, [])
      if (plain !== value) return this.write(plain, depth)
    }
    return this.#fields(value, depth)
  }

  #message(value: Fields, depth: number): string {
    const { role, name, content, toolCalls, toolCallId } = messageOf(value)
    return this.#fields({ role, name, content, tool_calls: toolCalls, tool_call_id: toolCallId }, depth)
  }

  #list(values: Iterable<unknown>, size: number, depth: number): string {
    let written = ''
    let index = 0
    for (const value of values) {
      if (this.#left <= 0) return `[${written}${written === '' ? '' : ','}"… [${size - index} more]"]`
      if (index++ > 0) written += ','
      written += this.write(value, depth)
      this.#left--
    }
    return `[${written}]`
  }

  #fields(value: Fields, depth: number): string {
    let written = ''
    for (const key in value) {
      if (!Object.hasOwn(value, key)) continue
      const item = this.#read(value, key)
      if (item === undefined || typeof item === 'function' || typeof item === 'symbol') continue
      if (written !== '') written += ','
      if (this.#left <= 0) return `{${written}"…":"[more fields]"}`
      this.#left -= key.length + 1
      written += `${JSON.stringify(key)}:${this.write(item, depth)}`
    }
    return `{${written}}`
  }

  #read(value: Fields, key: string): unknown {
    try {
      return value[key]
    } catch {
      return '[cannot be read]'
    }
  }
}
