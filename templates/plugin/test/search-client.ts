import type { TemplateClient } from '../src/types.ts'

/** The toy host: looks words up in a list, and refuses an empty query as a server would. */
export class SearchClient implements TemplateClient {
  readonly #entries: readonly string[]

  constructor(entries: readonly string[]) {
    this.#entries = entries
  }

  async search(query: string, limit = 10): Promise<readonly string[]> {
    await Promise.resolve()
    if (query === '') throw new RangeError('The query is empty.')
    return this.#entries.filter((entry) => entry.includes(query)).slice(0, limit)
  }
}
