import type { Store, StoreOptions } from './store.ts'

/** How a store was opened, secrets included: for another process of ours that has to open it once more. */
export interface Opening {
  url: string
  options: StoreOptions
}

const openings = new WeakMap<Store, Opening>()

export function noteOpening<Opened extends Store>(store: Opened, opening: Opening): Opened {
  openings.set(store, opening)
  return store
}

export function openingOf(store: Store): Opening | undefined {
  return openings.get(store)
}
