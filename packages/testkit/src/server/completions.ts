import { counts, inTurns, streamUsage, usageOf, usageSoFar, type Call } from './call.ts'
import type { Generation, Step } from './generate.ts'
import { number, type Json } from './json.ts'
import { logprobOf, ranked, spelled } from './logprobs.ts'
import type { Token } from './tokenizer.ts'

/** The prompt in front of an echo. */
interface Echo {
  tokens: readonly Token[]
  text: string
}

const NO_ECHO: Echo = { tokens: [], text: '' }

/** The whole answer of `/v1/completions`. */
export function completionBody(call: Call): Json {
  const usage = usageOf(call)
  const vllm = call.family === 'vllm'
  return {
    ...head(call),
    choices: call.choices.map((choice, index) => {
      const echo = echoOf(call, index)
      return {
        index,
        text: echo.text + choice.text,
        logprobs: logprobsOf(call, choice, choice.steps, echo, 0),
        finish_reason: choice.finish,
        ...(vllm
          ? {
              stop_reason: choice.stopReason,
              token_ids: call.wantsIds ? choice.ids : null,
              prompt_logprobs: null,
              prompt_token_ids: call.wantsIds ? call.prompts[index] : null,
            }
          : {}),
      }
    }),
    ...(usage === undefined ? {} : { usage: vllm ? { ...usage, prompt_tokens_details: null } : usage }),
    ...call.reply.extra,
  }
}

function head(call: Call): Json {
  return { id: call.id, object: 'text_completion', created: call.created, model: call.model }
}

/** With ids asked for, vLLM leaves the prompt's text out of an echo, but not its log probabilities. */
function echoOf(call: Call, index: number): Echo {
  if (call.body['echo'] !== true) return NO_ECHO
  const ids = call.prompts[index] ?? []
  return {
    tokens: ids.map((id) => call.tokenizer.token(id)),
    text: call.wantsIds ? '' : call.tokenizer.decode(ids),
  }
}

/** Lists in step: an entry for each token, those of the echo first. `offset` is where the text begins in the choice's. */
function logprobsOf(
  call: Call,
  choice: Generation,
  steps: readonly Step[],
  echo: Echo,
  offset: number,
): Json | null {
  const options = call.logprobs
  if (options === undefined) return null
  const tokens: string[] = []
  const values: (number | null)[] = []
  const tops: (Record<string, number> | null)[] = []
  const offsets: number[] = []
  let at = offset
  const add = (token: Token, value: number | null, length: number): void => {
    tokens.push(spelled(token, options))
    values.push(value)
    // vLLM adds the sampled token to the best k.
    const count = options.top + (call.family === 'vllm' ? 1 : 0)
    const top = value === null || options.top === 0 ? [] : ranked(token, value, count, options.tokenizer)
    tops.push(
      top.length === 0
        ? null
        : Object.fromEntries(top.map((entry) => [spelled(entry.token, options), entry.logprob])),
    )
    offsets.push(at)
    at += length
  }
  for (const [index, token] of echo.tokens.entries()) {
    // Nothing comes before the first token that it could depend on.
    add(token, index === 0 ? null : logprobOf(token, index, []), token.text.length)
  }
  for (const { token, position, delta } of steps) {
    add(token, logprobOf(token, position, choice.logprobs), delta.text?.length ?? 0)
  }
  return { tokens, token_logprobs: values, top_logprobs: tops, text_offset: offsets }
}

/** The chunks of a streamed answer; choices take turns. */
export function* completionChunks(call: Call): Generator<Json> {
  const usage = streamUsage(call)
  const { prompt } = counts(call)
  let said = 0
  const streams = call.choices.map((choice, index) => choiceChunks(call, choice, index))
  for (const { entry, count } of inTurns(streams)) {
    said += count
    const soFar = usage.last && call.family === 'openai' ? { usage: null } : {}
    const running = usage.continuous ? { usage: usageSoFar(prompt, said) } : soFar
    yield { ...head(call), choices: [entry], ...running, ...call.reply.extra }
  }
  const total = usageOf(call)
  if (usage.last && total !== undefined)
    yield { ...head(call), choices: [], usage: total, ...call.reply.extra }
}

function* choiceChunks(
  call: Call,
  choice: Generation,
  index: number,
): Generator<{ entry: Json; count: number }> {
  const vllm = call.family === 'vllm'
  const size = Math.max(1, call.reply.tokensPerChunk ?? number(call.body['stream_interval']) ?? 1)
  let offset = 0
  for (let from = 0; from === 0 || from < choice.steps.length; from += size) {
    const steps = choice.steps.slice(from, from + size)
    const last = from + size >= choice.steps.length
    const echo = from === 0 ? echoOf(call, index) : NO_ECHO
    const text = steps.map(({ delta }) => delta.text ?? '').join('')
    const logprobs = logprobsOf(call, choice, steps, echo, offset)
    offset += echo.tokens.reduce((sum, token) => sum + token.text.length, text.length)
    const ids = call.wantsIds ? steps.map(({ token }) => token.id) : null
    const prompt = from === 0 && call.wantsIds ? call.prompts[index] : null
    yield {
      count: steps.length,
      entry: {
        index,
        text: echo.text + text,
        logprobs,
        finish_reason: last ? choice.finish : null,
        ...(vllm
          ? { stop_reason: last ? choice.stopReason : null, prompt_token_ids: prompt, token_ids: ids }
          : {}),
      },
    }
  }
}
