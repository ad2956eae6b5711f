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
  /** A chunk brought output without ids: where others have ids, there is a hole. */
  #unnumbered = false
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
    if (response == null && hasOutput(choice['delta'])) this.#unnumbered = true
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
    if (into === undefined && Array.isArray(items) && items.length > 64) {
      const ids = typed(items)
      if (ids !== undefined) return ids
    } else if (Array.isArray(items)) {
      const list = into === undefined ? [] : Array.isArray(into) ? into : Array.from(into)
      let i = 0
      for (; i < items.length; i++) {
        const id: unknown = items[i]
        if (!isId(id)) break
        list.push(id)
      }
      if (i === items.length) return list
      list.length -= i
    }
    if (!this.#broken) this.#onBroken()
    this.#broken = true
    return into
  }

  finish({ usage, aborted }: { usage?: Usage; aborted: boolean }): TokenIds | undefined {
    const read = this.#choices.toSorted((a, b) => a.index - b.index)
    const [first] = read
    const shared = this.#prompt ?? (first?.index === 0 ? first.prompt : undefined)
    if (shared === undefined && read.length === 0) return undefined
    if (!read.some((choice) => choice.response !== undefined)) this.#unnumbered = false
    const counted = this.#counted(usage)
    // Output without ids is no hole where the count is right: with `echo`, a chunk repeats the prompt.
    const hole = this.#broken || (this.#unnumbered && counted !== true)
    const complete = aborted || hole ? false : counted
    // Cut short, the ids are a clean prefix; where the server says that there were others, they have a hole.
    const gap = hole || counted === false
    const choices = read.map(({ index, prompt, response }) => ({
      index,
      ...own('response', response),
      ...own('prompt', prompt === undefined || same(prompt, shared) ? undefined : prompt),
      ...(gap ? { gap } : {}),
    }))
    return {
      ...own('prompt', shared),
      choices,
      ...(complete === undefined ? {} : { complete }),
      ...(aborted && !gap ? { truncated: true } : {}),
    }
  }

  /** Whether the ids are as many as the server says; undefined where it does not say. */
  #counted(usage: Usage | undefined): boolean | undefined {
    const expected = usage?.completionTokens
    if (expected === undefined) return undefined
    const shared = this.#prompt !== undefined && this.#choices.every((choice) => choice.prompt === undefined)
    if (shared && usage?.promptTokens !== undefined && usage.promptTokens !== this.#prompt?.length)
      return false
    let actual = 0
    for (const choice of this.#choices) actual += choice.response?.length ?? 0
    return actual === expected
  }
}

/** Whether a streamed chunk carries something that the model said. */
function hasOutput(delta: unknown): boolean {
  if (!isFields(delta)) return false
  const { content, reasoning, reasoning_content: thought, tool_calls: calls } = delta
  return (
    [content, reasoning, thought].some((text) => typeof text === 'string' && text !== '') ||
    Array.isArray(calls)
  )
}

function same(a: List, b: List | undefined): boolean {
  if (a === b) return true
  if (a.length !== b?.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

function own(key: 'prompt' | 'response', list: List | undefined): { [key: string]: Int32Array } {
  const ids = list === undefined ? undefined : typed(list)
  return ids === undefined ? {} : { [key]: ids }
}

function isId(id: unknown): id is number {
  return typeof id === 'number' && (id | 0) === id && id >= 0
}

/** By a loop: the constructor and `from` take ten times as long for a plain list. Undefined where not all are ids. */
function typed(list: readonly unknown[] | Int32Array): Int32Array | undefined {
  if (list instanceof Int32Array) return list
  const ids = new Int32Array(list.length)
  for (let i = 0; i < ids.length; i++) {
    const id = list[i]
    if (!isId(id)) return undefined
    ids[i] = id
  }
  return ids
}

function isFields(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
