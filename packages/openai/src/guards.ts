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

/** Leaves out what is undefined, as optional properties ask for. */
export function defined<T extends object>(value: { [K in keyof T]: T[K] | undefined }): T
export function defined(value: Fields): Fields {
  for (const key of Object.keys(value)) if (value[key] === undefined) delete value[key]
  return value
}
