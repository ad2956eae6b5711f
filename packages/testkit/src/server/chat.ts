import { counts, inTurns, streamUsage, usageOf, usageSoFar, type Call } from './call.ts'
import type { Generation, Step } from './generate.ts'
import { number, type Json } from './json.ts'
import { chatLogprob, logprobOf, type TokenLogprob } from './logprobs.ts'

/** The whole answer of `/v1/chat/completions`. */
export function chatBody(call: Call): Json {
  const vllm = call.family === 'vllm'
  const usage = usageOf(call)
  return {
    id: call.id,
    object: 'chat.completion',
    created: call.created,
    model: call.model,
    choices: call.choices.map((choice, index) => fullChoice(call, choice, index)),
    service_tier: vllm ? null : 'default',
    system_fingerprint: vllm ? null : 'fp_testkit',
    ...(usage === undefined ? {} : { usage: vllm ? { ...usage, prompt_tokens_details: null } : usage }),
    ...(vllm
      ? {
          prompt_logprobs: null,
          prompt_token_ids: call.wantsIds ? call.prompts[0] : null,
          kv_transfer_params: null,
        }
      : {}),
    ...call.reply.extra,
  }
}

function fullChoice(call: Call, choice: Generation, index: number): Json {
  const vllm = call.family === 'vllm'
  const toolCalls = choice.calls.map(({ id, name, arguments: args }) => ({
    id,
    type: 'function',
    function: { name, arguments: args },
  }))
  const calls = vllm || toolCalls.length > 0 ? { tool_calls: toolCalls } : {}
  const hasText = choice.text !== '' || (toolCalls.length === 0 && choice.refusal === '')
  const thoughts = choice.reasoning === '' ? null : choice.reasoning
  return {
    index,
    message: {
      role: 'assistant',
      content: hasText ? choice.text : null,
      refusal: choice.refusal === '' ? null : choice.refusal,
      ...(vllm ? { annotations: null, audio: null, function_call: null } : { annotations: [] }),
      ...calls,
      ...(vllm || thoughts !== null
        ? Object.fromEntries(call.reasoningFields.map((key) => [key, thoughts]))
        : {}),
    },
    logprobs: logprobsOf(call, choice, choice.steps),
    finish_reason: finishOf(call, choice),
    ...(vllm ? { stop_reason: choice.stopReason, token_ids: call.wantsIds ? choice.ids : null } : {}),
  }
}

/** vLLM keeps `stop` where the request named the tool to call. */
function finishOf(call: Call, choice: Generation): string {
  const named = call.family === 'vllm' && typeof call.body['tool_choice'] === 'object'
  return named && choice.finish === 'tool_calls' ? 'stop' : choice.finish
}

/** vLLM gives an entry for each token, OpenAI one for each that spells text or a refusal. */
function logprobsOf(call: Call, choice: Generation, steps: readonly Step[]): Json | null {
  const options = call.logprobs
  if (options === undefined) return null
  const entries = (of: readonly Step[]): TokenLogprob[] =>
    of.map(({ token, position }) => chatLogprob(token, logprobOf(token, position, choice.logprobs), options))
  if (call.family === 'vllm') return { content: entries(steps) }
  const content = entries(steps.filter(({ delta }) => delta.text !== undefined))
  const refusal = entries(steps.filter(({ delta }) => delta.refusal !== undefined))
  if (content.length + refusal.length === 0) return null
  return { content: content.length > 0 ? content : null, refusal: refusal.length > 0 ? refusal : null }
}

/** The chunks of a streamed answer; choices take turns, one group of tokens each. */
export function* chatChunks(call: Call): Generator<Json> {
  const usage = streamUsage(call)
  const vllm = call.family === 'vllm'
  const prompt = counts(call).prompt
  const said = call.choices.map(() => 0)
  const chunk = (choices: Json[], more: Json = {}): Json => ({
    id: call.id,
    object: 'chat.completion.chunk',
    created: call.created,
    model: call.model,
    ...(vllm ? {} : { service_tier: 'default', system_fingerprint: 'fp_testkit' }),
    choices,
    ...more,
    ...soFar(choices.length > 0),
    ...call.reply.extra,
  })
  const soFar = (inside: boolean): Json => {
    if (usage.continuous && inside) {
      return {
        usage: usageSoFar(
          prompt,
          said.reduce((sum, count) => sum + count, 0),
        ),
      }
    }
    return usage.last && !vllm && inside ? { usage: null } : {}
  }

  if (call.azure) yield { choices: [], created: 0, id: '', model: '', object: '', prompt_filter_results: [] }
  for (const index of call.choices.keys()) {
    const delta = vllm
      ? { role: 'assistant', content: '' }
      : { role: 'assistant', content: '', refusal: null }
    const ids = vllm ? { prompt_token_ids: call.wantsIds ? call.prompts[index] : null } : {}
    yield chunk([{ index, delta, logprobs: null, finish_reason: null }], ids)
  }
  const streams = call.choices.map((choice, index) =>
    choiceChunks(call, choice, index, (count) => (said[index] = count)),
  )
  for (const entry of inTurns(streams)) yield chunk([entry])
  const total = usageOf(call)
  if (usage.last && total !== undefined) yield chunk([], { usage: total })
}

/** The entries of one choice, in order, the last with its finish reason. */
function* choiceChunks(
  call: Call,
  choice: Generation,
  index: number,
  spent: (count: number) => void,
): Generator<Json> {
  const finish = { finish_reason: finishOf(call, choice) }
  if (call.family === 'openai') {
    for (const group of groups(call, choice)) {
      const logprobs = logprobsOf(call, choice, group)
      yield { index, delta: deltaOf(call, choice, group), logprobs, finish_reason: null }
    }
    yield { index, delta: {}, logprobs: null, ...finish }
    return
  }
  const all = groups(call, choice)
  const silent = !call.wantsIds && call.logprobs === undefined
  for (const [at, group] of (all.length > 0 ? all : [[]]).entries()) {
    const last = at + 1 >= all.length
    const delta = deltaOf(call, choice, group)
    const empty = Object.keys(delta).length === 0
    // Tokens that a parser swallows still travel where ids or log probabilities were asked for.
    if (empty && silent && !last) continue
    spent((group.at(-1)?.position ?? -1) + 1)
    const parsed = choice.calls.length > 0 || choice.reasoning !== ''
    yield {
      index,
      delta: empty && last && !parsed ? { content: '' } : delta,
      logprobs: logprobsOf(call, choice, group),
      ...(last ? { ...finish, stop_reason: choice.stopReason } : { finish_reason: null }),
      token_ids: call.wantsIds ? group.map(({ token }) => token.id) : null,
    }
  }
}

/** The tokens of each chunk. OpenAI shows no control tokens and holds back half a character. */
function groups(call: Call, choice: Generation): Step[][] {
  const size = Math.max(1, call.reply.tokensPerChunk ?? number(call.body['stream_interval']) ?? 1)
  const openai = call.family === 'openai'
  const result: Step[][] = []
  let group: Step[] = []
  for (const step of choice.steps) {
    if (openai && !shows(call, step)) continue
    group.push(step)
    const half = step.delta.text === '' || step.delta.refusal === ''
    if (group.length < size || (openai && half)) continue
    result.push(group)
    group = []
  }
  if (group.length > 0) result.push(group)
  return result
}

function shows(call: Call, { delta }: Step): boolean {
  if (delta.reasoning !== undefined) return call.reasoningFields.length > 0
  return Object.keys(delta).length > 0
}

function deltaOf(call: Call, choice: Generation, steps: readonly Step[]): Json {
  const delta: Json = {}
  const add = (key: string, text: string): void => {
    const before = delta[key]
    delta[key] = typeof before === 'string' ? before + text : text
  }
  const calls: {
    index: number
    id?: string
    type?: string
    function: { name?: string; arguments?: string }
  }[] = []
  for (const { delta: part } of steps) {
    if (part.text !== undefined) add('content', part.text)
    if (part.refusal !== undefined) add('refusal', part.refusal)
    if (part.reasoning !== undefined) for (const field of call.reasoningFields) add(field, part.reasoning)
    const begun = part.call === undefined ? undefined : choice.calls[part.call]
    if (begun !== undefined && part.call !== undefined) {
      const fn = call.family === 'vllm' ? { name: begun.name } : { name: begun.name, arguments: '' }
      calls.push({ index: part.call, id: begun.id, type: 'function', function: fn })
    }
    if (part.arguments === undefined) continue
    const { call: index, text } = part.arguments
    const known = calls.find((piece) => piece.index === index)
    if (known === undefined) calls.push({ index, function: { arguments: text } })
    else known.function.arguments = (known.function.arguments ?? '') + text
  }
  if (calls.length > 0) delta['tool_calls'] = calls
  return delta
}
