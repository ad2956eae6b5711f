import type { ResponseReader, TokenIds, Usage } from '@agl/core'

type List = Int32Array | number[]

interface Ids {
  index: number
  prompt: List | undefined
  response: List | undefined
}

/**
 * Reads token ids from what a vLLM server answers, whole or streamed, chat or completions.
 *
 * Placement (vLLM 0.10.2 and later): chat has `prompt_token_ids` at the top, in streams on the first chunk of each
 * choice; completions have it inside the choice. `choices[].token_ids` is the output, in streams each chunk's part.
 * Null and absent both mean that the server did not give them.
 */
export class TokenReader implements ResponseReader {
  #prompt: List | undefined
  readonly #choices: Ids[] = []
  #broken = false
  readonly #onBroken: () => void

  /** @param onBroken called when ids came in a form that is not a list of integers, and so were left out */
  constructor(onBroken: () => void) {
    this.#onBroken = onBroken
  }

  chunk(chunk: unknown): void {
    this.response(chunk)
  }

  response(body: unknown): void {
    if (!isFields(body)) return
    if (this.#prompt === undefined && body['prompt_token_ids'] != null) {
      this.#prompt = this.#append(undefined, body['prompt_token_ids'])
    }
    const choices = body['choices']
    if (!Array.isArray(choices)) return
    for (let i = 0; i < choices.length; i++) {
      const choice: unknown = choices[i]
      if (isFields(choice)) this.#choice(choice, i)
    }
  }

  #choice(choice: Record<string, unknown>, position: number): void {
    const { token_ids: response, prompt_token_ids: prompt } = choice
    if (response == null && prompt == null) return
    const index = typeof choice['index'] === 'number' ? choice['index'] : position
    const ids = this.#ids(index)
    if (prompt != null && ids.prompt === undefined) ids.prompt = this.#append(undefined, prompt)
    if (response != null) ids.response = this.#append(ids.response, response)
  }

  #ids(index: number): Ids {
    const known = this.#choices[index]
    if (known?.index === index) return known
    let ids = this.#choices.find((item) => item.index === index)
    if (ids === undefined) this.#choices.push((ids = { index, prompt: undefined, response: undefined }))
    return ids
  }

  /** Adds a chunk's ids; the first come as one list and mostly stay the only ones. */
  #append(into: List | undefined, items: unknown): List | undefined {
    if (!Array.isArray(items) || !areIds(items)) {
      if (!this.#broken) this.#onBroken()
      this.#broken = true
      return into
    }
    if (into === undefined) return items.length > 64 ? new Int32Array(items) : items.slice()
    const list = Array.isArray(into) ? into : Array.from(into)
    for (let i = 0; i < items.length; i++) list.push(items[i] ?? 0)
    return list
  }

  finish({ usage, aborted }: { usage?: Usage; aborted: boolean }): TokenIds | undefined {
    const [first] = this.#choices
    const shared = this.#prompt ?? first?.prompt
    if (shared === undefined && !this.#choices.some((choice) => choice.response !== undefined))
      return undefined
    const complete = this.#complete(usage, aborted)
    // Cut short, the ids are a clean prefix; where the server says that there were others, they have a hole.
    const gap = complete === false && (!aborted || this.#broken)
    const choices = this.#choices
      .toSorted((a, b) => a.index - b.index)
      .map(({ index, prompt, response }) => ({
        index,
        ...(response === undefined ? {} : { response: typed(response) }),
        ...(prompt === undefined || same(prompt, shared) ? {} : { prompt: typed(prompt) }),
        ...(gap ? { gap } : {}),
      }))
    return {
      ...(shared === undefined ? {} : { prompt: typed(shared) }),
      choices,
      ...(complete === undefined ? {} : { complete }),
      ...(aborted && !gap ? { truncated: true } : {}),
    }
  }

  #complete(usage: Usage | undefined, aborted: boolean): boolean | undefined {
    if (aborted || this.#broken) return false
    const expected = usage?.completionTokens
    if (expected === undefined) return undefined
    let actual = 0
    for (const choice of this.#choices) actual += choice.response?.length ?? 0
    return actual === expected
  }
}

function same(a: List, b: List | undefined): boolean {
  if (a === b) return true
  if (a.length !== b?.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

/** From the list at once: `Int32Array.from` goes through an iterator and takes ten times as long. */
function typed(list: List): Int32Array {
  return list instanceof Int32Array ? list : new Int32Array(list)
}

function areIds(items: readonly unknown[]): items is number[] {
  for (let i = 0; i < items.length; i++) {
    const id = items[i]
    if (typeof id !== 'number' || (id | 0) !== id || id < 0) return false
  }
  return true
}

function isFields(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
