import { isFields, isMethod, type Fields } from './guards.ts'
import { isMessage, messageOf } from './messages.ts'

/** Characters kept of one input or output: the state of a graph is handed from node to node, and grows on the way. */
const MOST = 65_536
const DEEPEST = 16
const UNREADABLE = '[cannot be read]'

/**
 * An input or output as text: itself where it is text, otherwise JSON, messages in the form of OpenAI's API. Whatever
 * it holds, this neither throws nor takes long: what is too long is cut, and says so.
 */
export function describe(value: unknown): string | undefined {
  if (value === undefined) return undefined
  const copy = new Copy()
  return typeof value === 'string' ? copy.cut(value) : (JSON.stringify(copy.of(value, 0)) ?? 'null')
}

/** Makes of any value one that JSON has, of at most so many characters. */
class Copy {
  #left = MOST
  readonly #above: object[] = []

  /** The part of a text that there is room for. */
  cut(value: string): string {
    const room = this.#left
    this.#left -= value.length
    if (value.length <= room) return value
    const kept = Math.max(room, 0)
    return `${value.slice(0, kept)}… [${value.length - kept} more characters]`
  }

  of(value: unknown, depth: number): unknown {
    if (typeof value === 'string') return this.cut(value)
    this.#left -= 4
    if (typeof value === 'boolean') return value
    if (typeof value === 'number') return Number.isFinite(value) ? value : String(value)
    if (typeof value === 'bigint') return String(value)
    if (!isFields(value)) return null
    if (this.#above.includes(value)) return '[circular]'
    if (depth > DEEPEST) return '[too deep]'
    this.#above.push(value)
    try {
      return this.#object(value, depth + 1)
    } catch {
      return UNREADABLE
    } finally {
      this.#above.pop()
    }
  }

  #object(value: Fields, depth: number): unknown {
    const object: object = value
    if (Array.isArray(object)) return this.#list(object, object.length, depth)
    if (isMessage(value)) return this.#message(value, depth)
    // LangChain's own objects: what they were made of.
    if ('lc_serializable' in value && isFields(value['lc_kwargs']))
      return this.#fields(value['lc_kwargs'], depth)
    if (object instanceof Error) return this.of({ name: object.name, message: object.message }, depth)
    if (object instanceof Map || object instanceof Set) return this.#list(object, object.size, depth)
    if (ArrayBuffer.isView(object)) return `[${object.byteLength} bytes]`
    const { toJSON } = value
    if (isMethod(toJSON)) {
      const plain: unknown = Reflect.apply(toJSON, value, [])
      if (plain !== value) return this.of(plain, depth)
    }
    return this.#fields(value, depth)
  }

  #message(value: Fields, depth: number): Fields {
    const { role, name, content, toolCalls, toolCallId } = messageOf(value)
    const copy: Fields = name === undefined ? { role } : { role, name }
    if (content !== undefined) copy['content'] = this.of(content, depth)
    if (toolCalls !== undefined) copy['tool_calls'] = this.of(toolCalls, depth)
    if (toolCallId !== undefined) copy['tool_call_id'] = toolCallId
    return copy
  }

  #list(values: Iterable<unknown>, size: number, depth: number): unknown[] {
    const copy: unknown[] = []
    for (const value of values) {
      if (this.#left <= 0) {
        copy.push(`… [${size - copy.length} more]`)
        break
      }
      copy.push(this.of(value, depth))
    }
    return copy
  }

  #fields(value: Fields, depth: number): Fields {
    const copy: Fields = {}
    for (const key of Object.keys(value)) {
      const item = read(value, key)
      if (item === undefined || typeof item === 'function' || typeof item === 'symbol') continue
      if (this.#left <= 0) {
        copy['…'] = '[more fields]'
        break
      }
      this.#left -= key.length
      copy[key] = this.of(item, depth)
    }
    return copy
  }
}

function read(value: Fields, key: string): unknown {
  try {
    return value[key]
  } catch {
    return UNREADABLE
  }
}
