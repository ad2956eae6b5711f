/* Payloads come over the wire and are not trusted to have the shape that their documentation gives them. */

export type Fields = Record<string, unknown>

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null
}

export function fields(value: unknown): Fields {
  return isFields(value) ? value : {}
}

export function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

export function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

export function count(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined
}

/** A list of its own: programs sort and cut the lists in their answers, and the record is written later. */
export function copied(value: unknown): unknown {
  return Array.isArray(value) ? [...value] : (value ?? undefined)
}

/** Leaves out what is undefined, as optional properties ask for. Copies: `delete` would make the object slow to use. */
export function defined<T extends object>(value: { [K in keyof T]: T[K] | undefined }): T
export function defined(value: Fields): Fields {
  const result: Fields = {}
  for (const key in value) if (value[key] !== undefined) result[key] = value[key]
  return result
}
