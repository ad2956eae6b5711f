import { isObject } from '../json-reader.ts'
import { HttpError, type Place, type Problem } from './problems.ts'

/**
 * Reads the fields of an object in a request.
 *
 * What does not fit is noted in `problems` and read as something harmless, so that an answer can name all of it;
 * `checked` throws where there was any. Types are as lenient as pydantic's: a number may come as text.
 */
export class Fields {
  readonly #values: Record<string, unknown>
  readonly #loc: Place
  readonly #problems: Problem[]

  constructor(value: unknown, loc: Place, problems: Problem[]) {
    this.#loc = loc
    this.#problems = problems
    this.#values = isObject(value) ? value : {}
    if (!isObject(value)) this.#note(loc, 'model_attributes_type', OBJECT, value)
  }

  /** Whether the field is there, be it null: a field that is left out stays as it is in an update. */
  has(name: string): boolean {
    return Object.hasOwn(this.#values, name)
  }

  get(name: string): unknown {
    return this.has(name) ? this.#values[name] : undefined
  }

  /** Any value, null as well, but it must be there. */
  any(name: string): unknown {
    if (!this.has(name)) this.#note([...this.#loc, name], 'missing', 'Field required', this.#values)
    return this.get(name)
  }

  text(name: string): string {
    return this.#present(name) ? (this.#text(this.get(name), [...this.#loc, name]) ?? '') : ''
  }

  maybeText(name: string): string | undefined {
    return this.#absent(name) ? undefined : this.#text(this.get(name), [...this.#loc, name])
  }

  /** @throws later, by `checked`, for what is neither a whole number nor text that says one */
  whole(name: string, otherwise?: number): number {
    if (!this.has(name) && otherwise !== undefined) return otherwise
    if (!this.#present(name)) return 0
    const given = this.get(name)
    const value = typeof given === 'string' && /^\s*[+-]?\d+\s*$/.test(given) ? Number(given) : given
    if (typeof value === 'number' && Number.isInteger(value)) return value
    const loc = [...this.#loc, name]
    if (typeof value === 'number') {
      this.#note(loc, 'int_from_float', `${INTEGER}, got a number with a fractional part`, given)
    } else if (typeof value === 'string') {
      this.#note(loc, 'int_parsing', `${INTEGER}, unable to parse string as an integer`, given)
    } else this.#note(loc, 'int_type', INTEGER, given)
    return otherwise ?? 0
  }

  maybeNumber(name: string): number | undefined {
    if (this.#absent(name)) return undefined
    const given = this.get(name)
    const value = typeof given === 'string' && given.trim() !== '' ? Number(given) : given
    if (typeof value === 'number' && !Number.isNaN(value)) return value
    const loc = [...this.#loc, name]
    if (typeof value === 'number' || typeof value === 'string') {
      this.#note(loc, 'float_parsing', `${NUMBER}, unable to parse string as a number`, given)
    } else this.#note(loc, 'float_type', NUMBER, given)
    return undefined
  }

  flag(name: string): boolean {
    if (!this.#present(name)) return false
    const value = this.get(name)
    if (typeof value === 'boolean') return value
    this.#note([...this.#loc, name], 'bool_type', 'Input should be a valid boolean', value)
    return false
  }

  maybeChoice<Known extends string>(name: string, known: readonly Known[]): Known | undefined {
    return this.#absent(name) ? undefined : this.#choice(this.get(name), known, [...this.#loc, name])
  }

  choice<Known extends string>(name: string, known: readonly [Known, ...Known[]]): Known {
    return this.#present(name)
      ? (this.#choice(this.get(name), known, [...this.#loc, name]) ?? known[0])
      : known[0]
  }

  maybeTexts(name: string): string[] | undefined {
    return this.#maybeList(name)?.flatMap((item, i) => this.#text(item, [...this.#loc, name, i]) ?? [])
  }

  maybeChoices<Known extends string>(name: string, known: readonly Known[]): Known[] | undefined {
    return this.#maybeList(name)?.flatMap(
      (item, i) => this.#choice(item, known, [...this.#loc, name, i]) ?? [],
    )
  }

  list(name: string): readonly unknown[] {
    return this.#present(name) ? (this.#list(name) ?? []) : []
  }

  maybeObject(name: string): Record<string, unknown> | undefined {
    if (this.#absent(name)) return undefined
    const value = this.get(name)
    if (isObject(value)) return value
    this.#note([...this.#loc, name], 'dict_type', 'Input should be a valid dictionary', value)
    return undefined
  }

  object(name: string): Record<string, unknown> {
    return this.#present(name) ? (this.maybeObject(name) ?? {}) : {}
  }

  /** The fields of the object in a field; those of none where it is null. */
  maybeInner(name: string): Fields | undefined {
    return this.#absent(name) ? undefined : new Fields(this.get(name), [...this.#loc, name], this.#problems)
  }

  inner(name: string): Fields {
    const value = this.#present(name) ? this.get(name) : {}
    return new Fields(value, [...this.#loc, name], this.#problems)
  }

  /** The fields of each object in a list. */
  inners(name: string): Fields[] {
    return this.list(name).map((item, i) => new Fields(item, [...this.#loc, name, i], this.#problems))
  }

  entries(): [name: string, value: unknown][] {
    return Object.entries(this.#values)
  }

  /** Notes what is wrong with a field beyond its type. */
  refuse(name: string | undefined, type: string, msg: string, input: unknown): void {
    this.#note(name === undefined ? this.#loc : [...this.#loc, name], type, msg, input)
  }

  /** Whether the value is there; notes where it is missing. Null is a value of the wrong type, for its reader to note. */
  #present(name: string): boolean {
    if (this.has(name)) return true
    this.#note([...this.#loc, name], 'missing', 'Field required', this.#values)
    return false
  }

  #absent(name: string): boolean {
    return (this.get(name) ?? null) === null
  }

  #text(value: unknown, loc: Place): string | undefined {
    if (typeof value === 'string') return value
    this.#note(loc, 'string_type', 'Input should be a valid string', value)
    return undefined
  }

  #choice<Known extends string>(value: unknown, known: readonly Known[], loc: Place): Known | undefined {
    const found = known.find((candidate) => candidate === value)
    if (found !== undefined) return found
    const quoted = known.map((candidate) => `'${candidate}'`)
    const expected = `${quoted.slice(0, -1).join(', ')} or ${quoted.at(-1) ?? ''}`
    this.#note(loc, 'literal_error', `Input should be ${expected}`, value, { expected })
    return undefined
  }

  #maybeList(name: string): readonly unknown[] | undefined {
    return this.#absent(name) ? undefined : this.#list(name)
  }

  #list(name: string): readonly unknown[] | undefined {
    const value = this.get(name)
    if (Array.isArray(value)) return value
    this.#note([...this.#loc, name], 'list_type', 'Input should be a valid list', value)
    return undefined
  }

  #note(loc: Place, type: string, msg: string, input: unknown, ctx?: Record<string, unknown>): void {
    // One request may be wrong in a million places; whoever made it does not need them all.
    if (this.#problems.length >= 100) return
    this.#problems.push({ type, loc, msg, input: brief(input ?? null), ...(ctx && { ctx }) })
  }
}

/** The value as an answer repeats it, which may be 50 MB. */
function brief(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return value.length <= LONGEST ? value : `${value.slice(0, LONGEST)}…`
  if (typeof value !== 'object' || value === null) return value
  if (depth === 2) return Array.isArray(value) ? [] : {}
  if (Array.isArray(value)) return value.slice(0, MOST).map((item) => brief(item, depth + 1))
  const some = Object.entries(value).slice(0, MOST)
  return Object.fromEntries(some.map(([key, item]) => [key, brief(item, depth + 1)]))
}

const LONGEST = 200
const MOST = 20
const OBJECT = 'Input should be a valid dictionary or object to extract fields from'
const INTEGER = 'Input should be a valid integer'
const NUMBER = 'Input should be a valid number'

/**
 * What `read` makes of a request's body or query.
 *
 * @throws HttpError 422 that names everything that does not fit
 */
export function checked<Read>(value: unknown, where: 'body' | 'query', read: (fields: Fields) => Read): Read {
  const problems: Problem[] = []
  if (where === 'body' && (value ?? null) === null) {
    problems.push({ type: 'missing', loc: ['body'], msg: 'Field required', input: null })
    throw new HttpError(422, problems)
  }
  let result: Read
  try {
    result = read(new Fields(value, [where], problems))
  } catch (error) {
    // Types come first: a value of the wrong one cannot be refused for what it says.
    throw problems.length > 0 ? new HttpError(422, problems) : error
  }
  if (problems.length > 0) throw new HttpError(422, problems)
  return result
}
