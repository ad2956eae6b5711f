import { AglError } from '@agl/core'

/**
 * The variables that an `env_map` asks for: `input` is the whole input, `input.files.0.name` a part of it, anything else the
 * value itself. Strings stay as they are, the rest becomes JSON.
 *
 * @throws AglError `value_invalid` for a path that the input does not have
 */
export function environmentOf(
  input: unknown,
  envMap: Readonly<Record<string, string>>,
): Record<string, string> {
  return Object.fromEntries(
    Object.entries(envMap).map(([name, path]) => {
      const value = path === 'input' || path.startsWith('input.') ? partOf(input, name, path) : path
      return [name, typeof value === 'string' ? value : JSON.stringify(value)]
    }),
  )
}

function partOf(input: unknown, name: string, path: string): unknown {
  let value = input
  for (const part of path.split('.').slice(1)) {
    const inside = Array.isArray(value) ? /^\d+$/.test(part) : typeof value === 'object' && value !== null
    if (!inside || !Object.hasOwn(Object(value), part))
      throw new AglError(
        'value_invalid',
        `The env_map asks for ${path} as ${name}, and the input has no such part; correct the path.`,
      )
    value = Reflect.get(Object(value), part)
  }
  return value
}
