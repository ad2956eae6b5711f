import { AglError } from '@agl/core'

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Reads a record that a server sent, and says which field is not what it should be. */
export class Fields {
  readonly object: Readonly<Record<string, unknown>>
  readonly #record: string

  /** @throws AglError `body_invalid` for what is no object, as all methods */
  constructor(record: string, value: unknown) {
    if (!isObject(value)) throw new AglError('body_invalid', `The server's ${record} is no JSON object.`)
    this.#record = record
    this.object = value
  }

  text(name: string): string {
    return this.optionalText(name) ?? this.#fail(name)
  }

  optionalText(name: string): string | null {
    const value = this.object[name] ?? null
    return value === null || typeof value === 'string' ? value : this.#fail(name)
  }

  number(name: string): number {
    return this.optionalNumber(name) ?? this.#fail(name)
  }

  optionalNumber(name: string): number | null {
    const value = this.object[name] ?? null
    return value === null || typeof value === 'number' ? value : this.#fail(name)
  }

  boolean(name: string): boolean {
    const value = this.object[name]
    return typeof value === 'boolean' ? value : this.#fail(name)
  }

  record(name: string): Record<string, unknown> {
    return this.optionalRecord(name) ?? this.#fail(name)
  }

  optionalRecord(name: string): Record<string, unknown> | null {
    const value = this.object[name] ?? null
    return value === null || isObject(value) ? value : this.#fail(name)
  }

  oneOf<Known extends string>(name: string, known: readonly Known[]): Known {
    return known.find((one) => one === this.object[name]) ?? this.#fail(name)
  }

  list<Item>(name: string, read: (item: unknown) => Item): Item[] {
    const value = this.object[name]
    return Array.isArray(value) ? value.map(read) : this.#fail(name)
  }

  #fail(name: string): never {
    const message = `The server's ${this.#record} has no ${name} of the right type; check what answers at its url.`
    throw new AglError('body_invalid', message)
  }
}

/** @throws AglError `body_invalid` for what is no list */
export function readList<Item>(record: string, value: unknown, read: (item: unknown) => Item): Item[] {
  if (Array.isArray(value)) return value.map(read)
  throw new AglError('body_invalid', `The server's ${record} are no list; check what answers at its url.`)
}
