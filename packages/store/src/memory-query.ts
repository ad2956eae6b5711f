import type { Listed } from './engine.ts'
import { type Condition, type Field, type Selection, nullIsLargest } from './query.ts'

type Fields<Name extends string> = { readonly [key in Name]: string | number | null }

export function matches<Name extends Field>(
  item: Fields<Name>,
  { conditions, logic }: Selection<Name>,
): boolean {
  const meets = (condition: Condition<Name>): boolean => {
    const value: string | number | null = item[condition.field]
    if (typeof value !== 'string') return false
    if ('is' in condition) return value === condition.is
    return 'in' in condition ? condition.in.includes(value) : value.includes(condition.contains)
  }
  return conditions.length === 0 || (logic === 'and' ? conditions.every(meets) : conditions.some(meets))
}

/** Sorts `found` itself, and takes the page. */
export function arrange<Item, Name extends Field>(
  found: Item[],
  fields: (item: Item) => Fields<Name>,
  { sortBy, descending, offset, limit }: Selection<Name>,
): Listed<Item> {
  if (sortBy !== undefined) {
    const direction = descending ? -1 : 1
    const nothing = nullIsLargest(sortBy) ? 1 : -1
    found.sort((a, b) => direction * compare(fields(a)[sortBy], fields(b)[sortBy], nothing))
  }
  return {
    total: found.length,
    items: limit === -1 ? found.slice(offset) : found.slice(offset, offset + limit),
  }
}

function compare(a: string | number | null, b: string | number | null, nothing: number): number {
  if (a === b) return 0
  if (a === null) return nothing
  if (b === null) return -nothing
  return a < b ? -1 : 1
}
