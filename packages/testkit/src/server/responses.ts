import { counts, type Call } from './call.ts'
import type { Generation, Step } from './generate.ts'
import type { Json } from './json.ts'
import { chatLogprob, logprobOf } from './logprobs.ts'

/** An item of a response's `output`, with the tokens that spell it. */
export interface OutputItem {
  kind: 'reasoning' | 'message' | 'function_call'
  item: Json
  steps: readonly Step[]
}

/** The whole answer of `/v1/responses`. */
export function responseBody(call: Call): Json {
  return { ...responseHead(call), ...responseEnd(call) }
}

/** What is known when the answer begins. */
export function responseHead(call: Call): Json {
  const { body } = call
  return {
    id: call.id,
    object: 'response',
    created_at: call.created,
    status: 'in_progress',
    error: null,
    incomplete_details: null,
    instructions: body['instructions'] ?? null,
    max_output_tokens: body['max_output_tokens'] ?? null,
    model: call.model,
    output: [],
    parallel_tool_calls: body['parallel_tool_calls'] ?? true,
    previous_response_id: body['previous_response_id'] ?? null,
    temperature: body['temperature'] ?? 1,
    text: body['text'] ?? { format: { type: 'text' } },
    tool_choice: body['tool_choice'] ?? 'auto',
    tools: body['tools'] ?? [],
    top_p: body['top_p'] ?? 1,
    truncation: body['truncation'] ?? 'disabled',
    usage: null,
    metadata: body['metadata'] ?? {},
  }
}

/** What is known when it ends, over what was known when it began. */
export function responseEnd(call: Call): Json {
  const [choice] = call.choices
  const cut = choice?.finish === 'length'
  const usage = responseUsage(call)
  return {
    status: cut ? 'incomplete' : 'completed',
    incomplete_details: cut ? { reason: 'max_output_tokens' } : null,
    output: choice === undefined ? [] : outputItems(call, choice).map(({ item }) => item),
    ...(usage === undefined ? {} : { usage }),
    ...rawMessages(call),
    ...call.reply.extra,
  }
}

function responseUsage(call: Call): Json | undefined {
  if (call.reply.usage === null) return undefined
  const { prompt, completion, reasoning } = counts(call)
  return {
    input_tokens: prompt,
    input_tokens_details: { cached_tokens: 0 },
    output_tokens: completion,
    output_tokens_details: { reasoning_tokens: reasoning },
    total_tokens: prompt + completion,
    ...call.reply.usage,
  }
}

/** vLLM's `enable_response_messages`: what went in and came out, as text and as ids. */
function rawMessages(call: Call): Json {
  if (call.flavor !== 'vllm' || call.body['enable_response_messages'] !== true) return {}
  const raw = (ids: readonly number[] = []): Json[] => [
    { type: 'raw_message_tokens', message: call.tokenizer.decode(ids), tokens: ids },
  ]
  return { input_messages: raw(call.prompts[0]), output_messages: raw(call.choices[0]?.ids) }
}

export function outputItems(call: Call, choice: Generation): OutputItem[] {
  const items: OutputItem[] = []
  const suffix = call.id.replace(/^resp_/, '')
  if (choice.reasoning !== '') {
    const summary = [{ type: 'summary_text', text: choice.reasoning }]
    const content = call.family === 'vllm' ? [{ type: 'reasoning_text', text: choice.reasoning }] : undefined
    items.push({
      kind: 'reasoning',
      item:
        content === undefined
          ? { id: `rs_${suffix}`, type: 'reasoning', summary }
          : { id: `rs_${suffix}`, type: 'reasoning', summary: [], content },
      steps: choice.steps.filter(({ delta }) => delta.reasoning !== undefined),
    })
  }
  if (choice.text !== '' || choice.refusal !== '' || choice.calls.length === 0) {
    const content =
      choice.refusal !== '' ? { type: 'refusal', refusal: choice.refusal } : textPart(call, choice)
    items.push({
      kind: 'message',
      item: {
        id: `msg_${suffix}`,
        type: 'message',
        status: 'completed',
        role: 'assistant',
        content: [content],
      },
      steps: choice.steps.filter(({ delta }) => delta.text !== undefined || delta.refusal !== undefined),
    })
  }
  for (const [index, { id, name, arguments: args }] of choice.calls.entries()) {
    const item = {
      id: `fc_${suffix}_${index}`,
      type: 'function_call',
      status: 'completed',
      arguments: args,
      call_id: id,
      name,
    }
    const steps = choice.steps.filter(({ delta }) => delta.arguments?.call === index)
    items.push({ kind: 'function_call', item, steps })
  }
  return items
}

function textPart(call: Call, choice: Generation): Json {
  const steps = choice.steps.filter(({ delta }) => delta.text !== undefined)
  return {
    type: 'output_text',
    annotations: [],
    logprobs: textLogprobs(call, choice, steps),
    text: choice.text,
  }
}

export function textLogprobs(call: Call, choice: Generation, steps: readonly Step[]): Json[] {
  const options = call.logprobs
  if (options === undefined) return []
  return steps.map(({ token, position }) => ({
    ...chatLogprob(token, logprobOf(token, position, choice.logprobs), options),
  }))
}
