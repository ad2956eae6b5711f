import type { Call } from '../call.ts'
import { isRecord, type Json } from '../json.ts'
import { choicesOf, without, type Dialect } from './dialect.ts'

/**
 * vLLM 0.10.2 to 0.12: what a parser swallows is not streamed, its ids included, and models of the gpt-oss family get
 * no output ids at all.
 */
export const oldVllm: Dialect = {
  family: 'vllm',
  version: '0.11.2',
  ownedBy: 'vllm',
  reasoningFields: ['reasoning_content'],
  body: (answer, call) => ({ ...answer, choices: choicesOf(answer).map((choice) => unspoken(choice, call)) }),
  *chunks(chunks, call) {
    for (const chunk of chunks) {
      if (!isSilent(chunk))
        yield { ...chunk, choices: choicesOf(chunk).map((choice) => unspoken(choice, call)) }
    }
  },
}

function unspoken(choice: Json, call: Call): Json {
  return call.model.includes('gpt-oss') && 'token_ids' in choice ? { ...choice, token_ids: null } : choice
}

/** A chunk in which nothing shows, before the last of its choice. */
function isSilent(chunk: Json): boolean {
  const [choice] = choicesOf(chunk)
  if (choice === undefined) return false
  const { delta, finish_reason: finish } = choice
  return finish === null && isRecord(delta) && Object.keys(delta).length === 0
}

/** vLLM before 0.10.2 with Agent Lightning's patch: ids in whole chat answers, unasked, at the top; none in streams. */
export const patchedVllm: Dialect = {
  family: 'vllm',
  version: '0.9.2',
  ownedBy: 'vllm',
  reasoningFields: ['reasoning_content'],
  wantsIds: () => false,
  body(answer, call) {
    const ids =
      call.endpoint === 'chat'
        ? { prompt_token_ids: call.prompts[0], response_token_ids: call.choices.map((choice) => choice.ids) }
        : {}
    return { ...unnumbered(answer), ...ids }
  },
  *chunks(chunks) {
    for (const chunk of chunks) if (!isSilent(chunk)) yield unnumbered(chunk)
  },
}

function unnumbered(answer: Json): Json {
  const choices = choicesOf(answer).map((choice) => without(choice, 'token_ids', 'prompt_token_ids'))
  return { ...without(answer, 'prompt_token_ids'), choices }
}
