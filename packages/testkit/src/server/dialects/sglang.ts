import type { Call } from '../call.ts'
import { logprobOf } from '../logprobs.ts'
import { list, type Json } from '../json.ts'
import { choicesOf, without, type Dialect } from './dialect.ts'

/**
 * SGLang: ids of a chat inside its choices with `return_token_ids` (not streamed), `return_prompt_token_ids` and
 * `return_meta_info`; or with `return_input_ids` and `return_output_ids`, by body or header, in `sglext`, which a stream
 * has in a chunk of its own before the end.
 */
export const sglang: Dialect = {
  family: 'vllm',
  version: '0.5.9',
  ownedBy: 'sglang',
  reasoningFields: ['reasoning_content'],
  wantsIds: (body, endpoint) => endpoint !== 'chat' && body['return_token_ids'] === true,
  refuse: (body, endpoint) =>
    endpoint === 'chat' && body['stream'] === true && body['return_token_ids'] === true
      ? 'return_token_ids is not supported with stream in chat completions.'
      : undefined,
  body(answer, call) {
    const ext = extension(call)
    return {
      ...without(answer, 'prompt_token_ids', 'prompt_logprobs', 'kv_transfer_params'),
      choices: choicesOf(answer).map((choice, index) => ({ ...matched(choice), ...more(call, index) })),
      ...(ext === undefined ? {} : { sglext: ext }),
    }
  },
  *chunks(chunks, call) {
    let head: Json = {}
    for (const chunk of chunks) {
      head = without(chunk, 'prompt_token_ids', 'choices', 'usage')
      yield { ...without(chunk, 'prompt_token_ids'), choices: choicesOf(chunk).map(matched) }
    }
    const ext = call.endpoint === 'chat' ? extension(call) : undefined
    if (ext !== undefined) yield { ...head, choices: [], sglext: ext }
  },
}

function matched(choice: Json): Json {
  const { stop_reason: reason = null, ...rest } = choice
  const plain = list(rest['token_ids']).length > 0 ? rest : without(rest, 'token_ids', 'prompt_token_ids')
  return { ...plain, matched_stop: reason }
}

/** What a chat's choice carries besides. */
function more(call: Call, index: number): Json {
  if (call.endpoint !== 'chat') return {}
  const { body } = call
  const [prompt, choice] = [call.prompts[index], call.choices[index]]
  const ids = body['return_token_ids'] === true
  const triples = choice?.steps.map(({ token, position }) => [
    logprobOf(token, position, choice.logprobs),
    token.id,
    token.text,
  ])
  return {
    ...(ids ? { token_ids: choice?.ids } : {}),
    ...(ids || body['return_prompt_token_ids'] === true ? { prompt_token_ids: prompt } : {}),
    ...(body['return_meta_info'] === true
      ? {
          meta_info: {
            prompt_tokens: prompt?.length,
            completion_tokens: choice?.ids.length,
            ...(call.logprobs === undefined ? {} : { output_token_logprobs: triples }),
          },
        }
      : {}),
  }
}

function extension({ body, headers, prompts, choices }: Call): Json | undefined {
  const wants = (what: 'input' | 'output'): boolean =>
    body[`return_${what}_ids`] === true || headers[`x-sglext-return-${what}-ids`] === 'true'
  const ext = {
    ...(wants('input') ? { input_ids: prompts[0] } : {}),
    ...(wants('output') ? { output_ids: choices.map(({ ids }) => ids) } : {}),
  }
  return Object.keys(ext).length > 0 ? ext : undefined
}
