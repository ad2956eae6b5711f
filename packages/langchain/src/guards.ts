/* What LangChain hands over is looked at, never trusted: versions differ, and programs put anything into a state. */

export type Fields = Record<string, unknown>
export type Method = (...args: unknown[]) => unknown

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
  return typeof value === 'string' && value !== '' ? value : undefined
}

export function count(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined
}

export function isMethod(value: unknown): value is Method {
  return typeof value === 'function'
}

/** Leaves out what is undefined, as optional properties ask for. */
export function defined<T extends object>(value: { [K in keyof T]: T[K] | undefined }): T
export function defined(value: Fields): Fields {
  const result: Fields = {}
  for (const key in value) if (value[key] !== undefined) result[key] = value[key]
  return result
}
