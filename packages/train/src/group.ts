export type Grouped = { readonly [key: string]: unknown } | readonly Grouped[]

type Entries = readonly (readonly [path: string, value: unknown])[]

/**
 * What stands below `prefix`, nested by the dots of its keys. It differs from `unflatten`: one number among the keys of
 * a level makes it a list, which leaves out gaps and all keys that are no numbers.
 */
export function groupAttributes(attributes: Readonly<Record<string, unknown>>, prefix: string): Grouped {
  const start = `${prefix}.`
  const below: [string, unknown][] = []
  for (const key of Object.keys(attributes)) {
    if (key.startsWith(start)) below.push([key.slice(start.length), attributes[key]])
  }
  return group(below)
}

function group(entries: Entries): Grouped {
  const isList = entries.some(([path]) => isNumber(head(path)))
  // By number, as `01` and `1` are one place.
  const places = new Map<string | number, Map<string, unknown>>()
  const result = new Map<string, unknown>()
  for (const [path, value] of entries) {
    const first = head(path)
    if (isList ? !isNumber(first) : first === path) {
      if (!isList) result.set(path, value)
      continue
    }
    const place = isList ? Number(first) : first
    const below = places.get(place) ?? new Map<string, unknown>()
    below.set(path.slice(first.length + 1), value)
    places.set(place, below)
  }
  if (isList) {
    const sorted = Array.from(places).toSorted(([a], [b]) => Number(a) - Number(b))
    return sorted.map(([, below]) => group([...below]))
  }
  for (const [key, below] of places) result.set(String(key), group([...below]))
  return Object.fromEntries(result)
}

function head(path: string): string {
  const dot = path.indexOf('.')
  return dot < 0 ? path : path.slice(0, dot)
}

function isNumber(part: string): boolean {
  return /^\d+$/.test(part)
}
