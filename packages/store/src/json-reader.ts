import { AglError } from '@agl/core'

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Reads the fields of one record; `null` and absent are the same to it. */
export class Reader {
  readonly object: Record<string, unknown>
  readonly #record: string

  constructor(record: string, value: unknown) {
    if (!isObject(value)) throw unexpected(record, 'itself')
    this.#record = record
    this.object = value
  }

  field(name: string): unknown {
    return Object.hasOwn(this.object, name) ? this.object[name] : undefined
  }

  text(name: string): string {
    return this.optionalText(name) ?? this.#fail(name)
  }

  number(name: string): number {
    return this.optionalNumber(name) ?? this.#fail(name)
  }

  optionalText(name: string): string | null {
    const value = this.field(name) ?? null
    return value === null || typeof value === 'string' ? value : this.#fail(name)
  }

  optionalNumber(name: string): number | null {
    const value = this.field(name) ?? null
    return value === null || typeof value === 'number' ? value : this.#fail(name)
  }

  optionalObject(name: string): Record<string, unknown> | null {
    const value = this.field(name) ?? null
    return value === null || isObject(value) ? value : this.#fail(name)
  }

  list(name: string): readonly unknown[] {
    const value = this.field(name) ?? []
    return Array.isArray(value) ? value : this.#fail(name)
  }

  #fail(name: string): never {
    throw unexpected(this.#record, name)
  }
}

export function oneOf<Known extends string>(name: string, known: readonly Known[], value: unknown): Known {
  const found = known.find((candidate) => candidate === value)
  if (found !== undefined) return found
  throw new AglError(
    'value_invalid',
    `The ${name} "${String(value)}" is not known; known are: ${known.join(', ')}.`,
  )
}

export function unexpected(record: string, field: string): AglError {
  return new AglError('value_invalid', `The ${record}'s ${field} is missing or of another type than it has.`)
}
