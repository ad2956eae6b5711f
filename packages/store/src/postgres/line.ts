/** Lets so many work at once; the others wait in line, in the order in which they came. */
export class Line {
  #free: number
  readonly #waiting = new Set<() => void>()

  constructor(places: number) {
    this.#free = places
  }

  async pass<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>((resolve) => this.#waiting.add(resolve))
    try {
      return await work()
    } finally {
      this.#leave()
    }
  }

  /** The place goes to the next one, so that nobody who comes later gets it. */
  #leave(): void {
    const [next] = this.#waiting
    if (next === undefined) {
      this.#free++
      return
    }
    this.#waiting.delete(next)
    next()
  }
}
