import type { Call } from '../call.ts'
import { record, type Json } from '../json.ts'
import { choicesOf, without, type Dialect } from './dialect.ts'

/**
 * A LiteLLM proxy before vLLM (`hosted_vllm/…`). In whole answers what it does not know of a choice moves to
 * `provider_specific_fields`. Its streams lose the prompt's ids, chunks without text, and what the last chunk carried.
 */
export const litellm: Dialect = {
  family: 'vllm',
  version: '1.83.0',
  ownedBy: 'openai',
  reasoningFields: ['reasoning_content'],
  body: (answer) => ({ ...answer, choices: choicesOf(answer).map(moved) }),
  chunks: (chunks, call) => (call.endpoint === 'chat' ? rebuilt(chunks, call) : chunks),
}

const KNOWN = new Set(['index', 'message', 'text', 'logprobs', 'finish_reason'])

function moved(choice: Json, position: number): Json {
  const entries = Object.entries(choice)
  const extra = Object.fromEntries(entries.filter(([key, value]) => !KNOWN.has(key) && value !== null))
  const kept = Object.fromEntries(entries.filter(([key]) => KNOWN.has(key)))
  return { ...kept, index: position, provider_specific_fields: extra }
}

function* rebuilt(chunks: Iterable<Json>, call: Call): Generator<Json> {
  const begun = new Set<unknown>()
  for (const chunk of chunks) {
    const head = without(chunk, 'choices', 'usage', 'prompt_token_ids')
    const [choice] = choicesOf(chunk)
    if (choice === undefined) {
      // Of usage it makes a chunk with an empty choice.
      yield { ...head, choices: [{ index: 0, delta: {} }], usage: chunk['usage'], ...call.reply.extra }
      continue
    }
    const { index, delta, logprobs, token_ids: ids, finish_reason: finish } = choice
    const { role: _, ...said } = record(delta)
    if (Object.values(said).some((value) => value !== '')) {
      const first = begun.has(index) ? {} : { role: 'assistant' }
      begun.add(index)
      const numbered = ids === null ? {} : { token_ids: ids }
      yield { ...head, choices: [{ index, delta: { ...first, ...said }, logprobs, ...numbered }] }
    }
    if (finish !== null) yield { ...head, choices: [{ index, delta: {}, finish_reason: finish }] }
  }
}
