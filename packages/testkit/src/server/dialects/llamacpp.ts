import type { Call } from '../call.ts'
import type { Step } from '../generate.ts'
import { list, record, type Json } from '../json.ts'
import { chatLogprob, logprobOf } from '../logprobs.ts'
import { choicesOf, type Dialect } from './dialect.ts'

/**
 * `llama-server`: each log probability has the token's id and its true bytes, in completions too; `return_tokens` with
 * `verbose` puts the ids of a whole answer beside it. A stream's last chunk carries no log probabilities.
 */
export const llamacpp: Dialect = {
  family: 'vllm',
  version: 'b7120',
  ownedBy: 'llamacpp',
  reasoningFields: ['reasoning_content'],
  wantsIds: () => false,
  body(answer, call) {
    const choices = choicesOf(answer).map(({ finish_reason: finish, message, text, logprobs }, index) => {
      const steps = call.choices[index]?.steps ?? []
      const said = message === undefined ? { text, ...chatLike(call, index, steps) } : { message, logprobs }
      return { finish_reason: finish, index, ...said }
    })
    return { ...head(answer), choices, usage: answer['usage'], ...beside(call), timings: timings(call) }
  },
  *chunks(chunks, call) {
    const at = call.choices.map(() => 0)
    for (const chunk of chunks) {
      const [choice] = choicesOf(chunk)
      if (choice === undefined) {
        yield { ...head(chunk), choices: [], usage: chunk['usage'], timings: timings(call) }
        continue
      }
      const { text, delta, logprobs, finish_reason: finish } = choice
      const index = Number(choice['index'])
      const from = at[index] ?? 0
      const to = from + list(record(logprobs)['tokens']).length
      at[index] = to
      const steps = call.choices[index]?.steps.slice(from, to) ?? []
      const said = text === undefined ? { delta, logprobs } : { text, ...chatLike(call, index, steps) }
      if (text !== '' && (text !== undefined || Object.values(record(delta)).some((part) => part !== '')))
        yield { ...head(chunk), choices: [{ index, ...said, finish_reason: null }] }
      if (finish === null) continue
      const nothing = text === undefined ? { delta: {} } : { text: '' }
      yield {
        ...head(chunk),
        choices: [{ index, ...nothing, finish_reason: finish }],
        timings: timings(call),
      }
    }
  },
}

function head({ id, object, created, model }: Json): Json {
  return { id, object, created, model, system_fingerprint: 'b7120-testkit' }
}

function beside(call: Call): Json {
  const { return_tokens: tokens, verbose } = call.body
  if (tokens !== true || verbose !== true) return {}
  return { __verbose: { content: call.choices[0]?.text, tokens: call.choices[0]?.ids } }
}

function timings(call: Call): Json {
  return { prompt_n: call.prompts[0]?.length, predicted_n: call.choices[0]?.ids.length }
}

/** Log probabilities of completions, in the form that a chat's have. */
function chatLike(call: Call, index: number, steps: readonly Step[]): Json {
  const options = call.logprobs
  if (options === undefined) return {}
  const given = call.choices[index]?.logprobs ?? []
  const content = steps.map(({ token, position }) =>
    chatLogprob(token, logprobOf(token, position, given), options),
  )
  return { logprobs: { content } }
}
