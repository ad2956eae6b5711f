import type { Choice } from '@agl/core'
import { isId } from './ids.ts'
import { isFields } from './guards.ts'

/*
 * What log probabilities tell besides themselves. They come as a chat's list of entries, as the completions API's
 * object of parallel lists, or, from llama.cpp's completions, as `{ content: entries }`.
 */

const TOKEN_ID = /^token_id:(\d+)$/
const utf8 = new TextEncoder()

function entriesOf(logprobs: unknown): readonly unknown[] {
  const entries = isFields(logprobs) && !Array.isArray(logprobs) ? logprobs['content'] : logprobs
  return Array.isArray(entries) ? entries : []
}

function listOf(logprobs: unknown, key: 'tokens' | 'token_logprobs'): readonly unknown[] {
  const list = isFields(logprobs) ? logprobs[key] : undefined
  return Array.isArray(list) ? list : []
}

/** For how many tokens there are log probabilities. */
export function countLogprobs({ logprobs, refusalLogprobs }: Choice): number {
  return (
    entriesOf(logprobs).length + entriesOf(refusalLogprobs).length + listOf(logprobs, 'token_logprobs').length
  )
}

/**
 * Token ids that log probabilities carry: llama.cpp's entries have an `id`; vLLM spells tokens as `token_id:7` where the
 * request asked for that (`asked`), or where its `--return-tokens-as-token-ids` is on. Of the latter nothing tells but
 * the bytes of the entries, which are those of the text; a model may also write `token_id:7` itself, and that is no id.
 */
export function idsInLogprobs(logprobs: unknown, asked: boolean | undefined): readonly unknown[] | undefined {
  const entries = entriesOf(logprobs)
  const [first] = entries
  if (isFields(first) && isId(first['id']))
    return entries.map((entry) => (isFields(entry) ? entry['id'] : null))
  const tokens =
    entries.length > 0
      ? entries.map((entry) => (isFields(entry) ? entry['token'] : null))
      : listOf(logprobs, 'tokens')
  if (asked === false || tokens.length === 0 || !isTokenId(tokens[0])) return undefined
  if (!tokens.every(isTokenId)) return undefined
  if (asked !== true && (entries.length === 0 || !entries.every(spellsOtherwise))) return undefined
  return tokens.map((token) => Number(token.slice('token_id:'.length)))
}

function isTokenId(token: unknown): token is string {
  return typeof token === 'string' && TOKEN_ID.test(token)
}

/** Whether the bytes of an entry are there, and are not those of the token as it is shown. */
function spellsOtherwise(entry: unknown): boolean {
  if (!isFields(entry)) return false
  const { bytes, token } = entry
  if (!Array.isArray(bytes) || typeof token !== 'string') return false
  const shown = utf8.encode(token)
  return bytes.length !== shown.length || bytes.some((byte, i) => byte !== shown[i])
}

/** What stands for -Infinity, which JSON lacks: vLLM's clamp, and the lowest float of llama.cpp. */
function isMinusInfinity(logprob: unknown): boolean {
  return typeof logprob === 'number' && (logprob === -9999 || logprob <= -3.4e38)
}

/**
 * Flags log probabilities that are only a stand-in: `agl.logprob_flags` is JSON, by position, as `{"3":"-inf"}`; that of
 * further choices is `agl.choices.<i>.logprob_flags`. The numbers themselves stay as they came.
 */
export function logprobFlags(choices: readonly Choice[]): Record<string, string> | undefined {
  let found: Record<string, string> | undefined
  for (const { index, logprobs } of choices) {
    if (logprobs === undefined) continue
    let flags: Record<number, '-inf'> | undefined
    const entries = entriesOf(logprobs)
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]
      if (isFields(entry) && isMinusInfinity(entry['logprob'])) (flags ??= {})[i] = '-inf'
    }
    for (const [i, value] of listOf(logprobs, 'token_logprobs').entries())
      if (isMinusInfinity(value)) (flags ??= {})[i] = '-inf'
    if (flags === undefined) continue
    found ??= {}
    found[index === 0 ? 'agl.logprob_flags' : `agl.choices.${index}.logprob_flags`] = JSON.stringify(flags)
  }
  return found
}
