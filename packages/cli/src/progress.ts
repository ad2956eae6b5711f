/** How often a log file gets a line. */
const PLAIN_EVERY = 5000

/**
 * Tells how far long work is, on standard error: in one line that changes on a terminal, in plain lines every few seconds
 * elsewhere.
 */
export class Progress {
  readonly #stream = process.stderr
  #told = performance.now()
  #isOpen = false

  update(text: string): void {
    if (this.#stream.isTTY) {
      this.#isOpen = true
      // Some terminals do not tell how wide they are.
      const width = this.#stream.columns || 80
      this.#stream.write(`\r\u001B[K${text.slice(0, width - 1)}`)
    } else if (performance.now() - this.#told >= PLAIN_EVERY) {
      this.#told = performance.now()
      this.#stream.write(`${text}\n`)
    }
  }

  /** Clears the changing line, so that others can follow. */
  done(): void {
    if (this.#isOpen) this.#stream.write('\r\u001B[K')
    this.#isOpen = false
  }
}
