import { type Listed, now } from './engine.ts'
import { arrange, matches } from './memory-query.ts'
import type { ResourcesSelection } from './query.ts'
import type { NamedResources, ResourcesUpdate } from './resources.ts'

/** Resources in the order of their arrival. */
export class MemoryResources {
  readonly #updates = new Map<string, ResourcesUpdate>()
  #latest: string | undefined

  get latestId(): string | null {
    return this.#latest ?? null
  }

  get size(): number {
    return this.#updates.size
  }

  put(resourcesId: string, resources: NamedResources): ResourcesUpdate {
    const updateTime = now()
    const { createTime = updateTime, version = 0 } = this.#updates.get(resourcesId) ?? {}
    const update = { resourcesId, createTime, updateTime, version: version + 1, resources }
    this.#updates.set(resourcesId, structuredClone(update))
    this.#latest = resourcesId
    return update
  }

  latest(): ResourcesUpdate | undefined {
    const latest = this.#latest
    return latest === undefined ? undefined : structuredClone(this.#updates.get(latest))
  }

  list(selection: ResourcesSelection): Listed<ResourcesUpdate> {
    const found = [...this.#updates.values()].filter((update) => matches(update, selection))
    return structuredClone(arrange(found, (update) => update, selection))
  }
}
