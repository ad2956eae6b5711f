import type { Choice, ResponseReader, TokenIds, Usage } from '@agl/core'
import { fields, isFields, list, type Fields } from './guards.ts'
import { appendIds, sameIds, typedIds, type IdList } from './ids.ts'
import { countLogprobs, idsInLogprobs } from './logprobs.ts'

export { logprobFlags } from './logprobs.ts'

export interface TokenReaderOptions {
  /** The request's body as it was sent: what was asked for decides what to expect. */
  request?: Readonly<Record<string, unknown>>
  /** Told what a user should know: ids that are none, ids that are missing. */
  warn?: (message: string) => void
}

/** Where the ids of a choice were found; the first of these that the answer has counts. */
const NOWHERE = 9
const FROM_TOKEN_IDS = 0
const FROM_LITELLM = 1
const FROM_SGLEXT = 2
const FROM_META = 3
const FROM_PATCHED = 4
const FROM_VERBOSE = 5
const FROM_RAW = 6
const FROM_LOGPROBS = 7
/** In streams these come with the output that they spell. */
const PIECES: readonly number[] = [FROM_TOKEN_IDS, FROM_LITELLM, FROM_META]

/** One choice's ids. */
interface Ids {
  index: number
  prompt: IdList | undefined
  response: IdList | undefined
  from: number
}

/**
 * Reads token ids from answers, whole or streamed, wherever servers and proxies put them.
 *
 * Output of choice `c` of answer `r`, the first that is there: `c.token_ids` (vLLM from 0.10.2, SGLang),
 * `c.provider_specific_fields.token_ids` (LiteLLM), `r.sglext.output_ids[i]` and `c.meta_info.output_token_logprobs`
 * (SGLang), `r.response_token_ids[i]` (Agent Lightning's patch of older vLLM), `r.__verbose.tokens` (llama.cpp),
 * `r.output_messages[].tokens` (vLLM's Responses API), and log probabilities (`idsInLogprobs`).
 *
 * Prompt: `r.prompt_token_ids`; of each choice `c.prompt_token_ids`, `c.provider_specific_fields.prompt_token_ids`,
 * `c.message.prompt_token_ids`; `r.sglext.input_ids`; `r.input_messages[].tokens`.
 *
 * In streams these are parts, in order, by the choice's index; the prompt's are on the first chunk that has any. Null and
 * absent both mean that the server did not give them. Nothing is ever tokenised here.
 */
export class TokenReader implements ResponseReader {
  readonly #request: Readonly<Record<string, unknown>>
  readonly #warn: (message: string) => void
  readonly #choices: Ids[] = []
  #prompt: IdList | undefined
  /** Parts of a stream are put together; in a whole answer each choice comes once. */
  #whole = false
  /** Something came that is no list of ids. */
  #broken = false
  /** Output came without ids: where others have ids, there is a hole. */
  #unnumbered = false

  constructor({ request = {}, warn = () => {} }: TokenReaderOptions = {}) {
    this.#request = request
    this.#warn = warn
  }

  /** Runs for every chunk of every stream. */
  chunk(chunk: unknown): void {
    if (!isFields(chunk)) return
    const { prompt_token_ids: prompt, choices } = chunk
    if (prompt != null && this.#prompt === undefined) this.#prompt = this.#promptIn(prompt)
    if (Array.isArray(choices)) {
      for (let i = 0; i < choices.length; i++) {
        const choice: unknown = choices[i]
        if (!isFields(choice)) continue
        const { token_ids: ids, prompt_token_ids: own, index } = choice
        if (ids != null && own == null && typeof index === 'number') {
          this.#add(this.#of(index), FROM_TOKEN_IDS, ids)
        } else this.#choice(choice, i)
      }
    }
    if (chunk['sglext'] != null || chunk['__verbose'] != null) this.#beside(chunk)
    // The events of the Responses API; the last one repeats all.
    if (chunk['response'] != null) this.response(chunk['response'])
  }

  response(body: unknown): void {
    if (!isFields(body)) return
    this.#whole = true
    this.chunk(body)
    for (const [i, ids] of list(body['response_token_ids']).entries())
      if (ids != null) this.#add(this.#of(i), FROM_PATCHED, ids)
    this.#messages(body)
  }

  #choice(choice: Fields, position: number): void {
    const more = fields(choice['provider_specific_fields'])
    const said = choice['delta'] ?? choice['message']
    const prompt = choice['prompt_token_ids'] ?? more['prompt_token_ids'] ?? fields(said)['prompt_token_ids']
    let from = FROM_TOKEN_IDS
    let response = choice['token_ids']
    if (response == null && more['token_ids'] != null) {
      from = FROM_LITELLM
      response = more['token_ids']
    }
    if (response == null && choice['meta_info'] != null) {
      from = FROM_META
      response = idsInMeta(fields(choice['meta_info']))
    }
    // The end of an answer is a token as well.
    if (response == null && !this.#unnumbered)
      this.#unnumbered = hasOutput(said) || hasText(choice['text']) || hasText(choice['finish_reason'])
    if (response == null && prompt == null) return
    const { index } = choice
    const ids = this.#of(typeof index === 'number' ? index : position)
    if (prompt != null && ids.prompt === undefined) ids.prompt = this.#promptIn(prompt)
    if (response != null) this.#add(ids, from, response)
  }

  /** What SGLang and llama.cpp put beside the choices. */
  #beside({ sglext, __verbose: verbose }: Fields): void {
    const { input_ids: prompt, output_ids: outputs } = fields(sglext)
    if (prompt != null && this.#prompt === undefined) this.#prompt = this.#promptIn(prompt)
    for (const [i, ids] of list(outputs).entries()) if (ids != null) this.#add(this.#of(i), FROM_SGLEXT, ids)
    const tokens = fields(verbose)['tokens']
    if (tokens != null) this.#add(this.#of(0), FROM_VERBOSE, tokens)
  }

  /** vLLM's raw messages, each time the whole of them. */
  #messages({ input_messages: input, output_messages: output }: Fields): void {
    const prompt = rawTokens(input)
    const response = rawTokens(output)
    if (prompt !== undefined) this.#prompt = this.#promptIn(prompt)
    if (response === undefined) return
    const ids = this.#of(0)
    ids.response = undefined
    this.#add(ids, FROM_RAW, response)
  }

  #of(index: number): Ids {
    const known = this.#choices[index]
    if (known?.index === index) return known
    let ids = this.#choices.find((item) => item.index === index)
    if (ids === undefined)
      this.#choices.push((ids = { index, prompt: undefined, response: undefined, from: NOWHERE }))
    return ids
  }

  #promptIn(items: unknown): IdList | undefined {
    const ids = appendIds(undefined, items)
    if (ids === undefined) this.#refuse()
    return ids?.length === 0 ? undefined : ids
  }

  #add(ids: Ids, from: number, items: unknown): void {
    if (from > ids.from) return
    if (this.#whole && from === ids.from && ids.response !== undefined) return this.#refuse()
    const list = appendIds(from < ids.from ? undefined : ids.response, items)
    if (list === undefined) return this.#refuse()
    ids.response = list
    ids.from = from
  }

  #refuse(): void {
    this.#broken = true
    this.#warn('A server sent token ids that are not lists of integers; they are not recorded.')
  }

  /** `choices`: what the answer's choices add up to, for the ids in their log probabilities and for the count of these. */
  finish(summary: { usage?: Usage; aborted: boolean; choices?: readonly Choice[] }): TokenIds | undefined {
    const { usage, aborted, choices = [] } = summary
    this.#readLogprobs(choices)
    const read = this.#choices.toSorted((a, b) => a.index - b.index)
    const [first] = read
    const shared = this.#prompt ?? (first?.index === 0 ? first.prompt : undefined)
    const any = read.some(({ response }) => response !== undefined)
    const hidden = !any && this.#request['include_reasoning'] === false
    const counted = hidden ? undefined : this.#counted(usage)
    if (shared === undefined && read.length === 0) {
      if (counted !== false || aborted || !this.#asked()) return undefined
      this.#warn('A server that was asked for token ids sent none.')
      return { choices: [], complete: false }
    }
    // Output without ids is no hole where the count is right: with `echo`, a chunk repeats the prompt.
    const unnumbered = this.#unnumbered && counted !== true && read.some(({ from }) => PIECES.includes(from))
    const logprobs = this.#request['echo'] === true ? 0 : compareLogprobs(read, choices)
    const hole = this.#broken || unnumbered || logprobs > 0
    const complete = aborted || hole || logprobs < 0 ? false : counted
    if (complete === false && !aborted && !this.#broken)
      this.#warn(
        'A server sent other token ids than it counts; such answers have "agl.tokens.complete": false.',
      )
    // Cut short, the ids are a clean prefix; where the server says that there were others, they have a hole.
    const gap = hole || counted === false
    return {
      ...own('prompt', shared),
      choices: read.map(({ index, prompt, response }) => ({
        index,
        ...own('response', response),
        ...own('prompt', prompt === undefined || sameIds(prompt, shared) ? undefined : prompt),
        ...(gap && (this.#broken || response !== undefined) ? { gap } : {}),
      })),
      ...(complete === undefined ? {} : { complete }),
      ...(aborted && !gap ? { truncated: true } : {}),
    }
  }

  #readLogprobs(choices: readonly Choice[]): void {
    // With an echo, the prompt's are among them.
    if (this.#request['echo'] === true) return
    const asked = this.#request['return_tokens_as_token_ids']
    for (const { index, logprobs } of choices) {
      if (logprobs === undefined) continue
      if (this.#choices.some((ids) => ids.index === index && ids.response !== undefined)) continue
      const ids = idsInLogprobs(logprobs, typeof asked === 'boolean' ? asked : undefined)
      if (ids !== undefined) this.#add(this.#of(index), FROM_LOGPROBS, ids)
    }
  }

  #asked(): boolean {
    const { return_token_ids: ids, enable_response_messages: messages } = this.#request
    return ids === true || messages === true
  }

  /** Whether the ids are as many as the server says; undefined where it does not say. */
  #counted(usage: Usage | undefined): boolean | undefined {
    const { completionTokens, promptTokens } = usage ?? {}
    if (completionTokens === undefined) return undefined
    const { prompt: asked, n = 1 } = this.#request
    const prompts = typeof list(asked)[0] === 'number' ? 1 : list(asked).length
    // The choices of one prompt are next to each other.
    const each = prompts > 1 ? Number(n) : Infinity
    const lengths: Record<number, number> = {}
    if (this.#prompt !== undefined) lengths[0] = this.#prompt.length
    let actual = 0
    for (const { index, prompt, response } of this.#choices) {
      actual += response?.length ?? 0
      if (prompt !== undefined) lengths[Math.floor(index / each)] ??= prompt.length
    }
    if (actual !== completionTokens) return false
    const known = Object.values(lengths)
    if (promptTokens === undefined || known.length === 0) return true
    return known.length < prompts ? undefined : known.reduce((sum, length) => sum + length) === promptTokens
  }
}

/** Positive where a choice has more log probabilities than ids, negative where it has fewer, though some. */
function compareLogprobs(read: readonly Ids[], choices: readonly Choice[]): number {
  let result = 0
  for (const { index, response, from } of read) {
    // Those of the Responses API are of its text alone.
    if (response === undefined || from === FROM_RAW) continue
    const choice = choices.find((item) => item.index === index)
    const count = choice === undefined ? 0 : countLogprobs(choice)
    if (count > response.length) return 1
    if (count > 0 && count < response.length) result = -1
  }
  return result
}

/** SGLang's triples of log probability, token id and text. */
function idsInMeta({ output_token_logprobs: triples }: Fields): unknown {
  return Array.isArray(triples) ? triples.map((triple) => list(triple)[1]) : undefined
}

/** The tokens of all raw messages; a message without any among others makes the list invalid. */
function rawTokens(messages: unknown): unknown[] | undefined {
  const tokens = list(messages).map((message) => fields(message)['tokens'] ?? null)
  return tokens.some((item) => item !== null) ? tokens.flat() : undefined
}

/** Whether a message, or a streamed part of one, holds a text that the model said; servers have fields of their own for it. */
function hasOutput(said: unknown): boolean {
  return Object.entries(fields(said)).some(
    ([key, value]) => !/^role$|_ids$/.test(key) && (hasText(value) || hasOutput(value)),
  )
}

function hasText(value: unknown): boolean {
  return typeof value === 'string' && value !== ''
}

function own(key: 'prompt' | 'response', ids: IdList | undefined): { [key: string]: Int32Array } {
  const typed = ids === undefined ? undefined : typedIds(ids)
  return typed === undefined ? {} : { [key]: typed }
}
