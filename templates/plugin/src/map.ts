import type { NamedData, NamedStart } from '@agl/core'

/** What is known of a search when it starts, from the arguments it was called with. */
export function searchStart([query, limit]: readonly unknown[]): NamedStart {
  return {
    name: 'search',
    input: query,
    ...(limit === undefined ? {} : { attributes: { 'search.limit': limit } }),
  }
}

/** What a search adds when it ends, from what the host answered. */
export function searchData(answer: unknown): NamedData {
  return Array.isArray(answer) ? { output: answer, attributes: { 'search.results': answer.length } } : {}
}
