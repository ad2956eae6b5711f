/** The same numbers for the same seed. */
export class Dice {
  #state: number
  constructor(seed: number) {
    this.#state = seed
  }

  /** From 0 to 1. */
  roll(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }

  below(limit: number): number {
    return Math.floor(this.roll() * limit)
  }

  chance(share: number): boolean {
    return this.roll() < share
  }

  pick<const List extends readonly [unknown, ...unknown[]]>(list: List): List[number] {
    return list[this.below(list.length)]
  }

  shuffled<T>(list: readonly T[]): T[] {
    return list
      .map((item) => ({ item, at: this.roll() }))
      .toSorted((a, b) => a.at - b.at)
      .map(({ item }) => item)
  }

  ids(most: number): number[] {
    return Array.from({ length: this.below(most) + 1 }, () => this.below(150_000))
  }
}
