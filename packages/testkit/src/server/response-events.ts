import type { Call } from './call.ts'
import type { Generation } from './generate.ts'
import { list, record, type Json } from './json.ts'
import { outputItems, responseEnd, responseHead, textLogprobs, type OutputItem } from './responses.ts'

/** The typed events of a streamed answer of `/v1/responses`, numbered from 0. */
export function* responseEvents(call: Call): Generator<Json & { type: string }> {
  let number = 0
  for (const event of events(call)) yield { ...event, sequence_number: number++ }
}

function* events(call: Call): Generator<Json & { type: string }> {
  const response = responseHead(call)
  yield { type: 'response.created', response }
  yield { type: 'response.in_progress', response }
  const [choice] = call.choices
  const items = choice === undefined ? [] : outputItems(call, choice)
  for (const [index, item] of items.entries()) {
    if (choice !== undefined) yield* itemEvents(call, choice, item, index)
  }
  const end = { ...response, ...responseEnd(call) }
  yield { type: end['status'] === 'incomplete' ? 'response.incomplete' : 'response.completed', response: end }
}

function* itemEvents(
  call: Call,
  choice: Generation,
  { kind, item, steps }: OutputItem,
  index: number,
): Generator<Json & { type: string }> {
  const place = { item_id: item['id'], output_index: index }
  const thoughts = call.family === 'vllm' ? { content: [] } : { summary: [] }
  const empty = { function_call: { arguments: '' }, message: { content: [] }, reasoning: thoughts }[kind]
  yield {
    type: 'response.output_item.added',
    output_index: index,
    item: { ...item, status: 'in_progress', ...empty },
  }
  if (kind === 'function_call') {
    for (const { delta } of steps) {
      yield { type: 'response.function_call_arguments.delta', ...place, delta: delta.arguments?.text ?? '' }
    }
    const { name, arguments: args } = item
    yield { type: 'response.function_call_arguments.done', ...place, name, arguments: args }
  } else if (kind === 'reasoning') {
    const part = { ...place, ...(call.family === 'vllm' ? { content_index: 0 } : { summary_index: 0 }) }
    const name = call.family === 'vllm' ? 'response.reasoning_text' : 'response.reasoning_summary_text'
    for (const { delta } of steps) yield { type: `${name}.delta`, ...part, delta: delta.reasoning ?? '' }
    yield { type: `${name}.done`, ...part, text: choice.reasoning }
  } else
    yield* messageEvents(
      call,
      choice,
      steps,
      { ...place, content_index: 0 },
      record(list(item['content'])[0]),
    )
  yield { type: 'response.output_item.done', output_index: index, item }
}

function* messageEvents(
  call: Call,
  choice: Generation,
  steps: OutputItem['steps'],
  place: Json,
  part: Json,
): Generator<Json & { type: string }> {
  const refusal = part['type'] === 'refusal'
  const begun = refusal ? { ...part, refusal: '' } : { ...part, text: '', logprobs: [] }
  yield { type: 'response.content_part.added', ...place, part: begun }
  for (const step of steps) {
    if (refusal) yield { type: 'response.refusal.delta', ...place, delta: step.delta.refusal ?? '' }
    else {
      const logprobs = textLogprobs(call, choice, [step])
      yield { type: 'response.output_text.delta', ...place, delta: step.delta.text ?? '', logprobs }
    }
  }
  if (refusal) yield { type: 'response.refusal.done', ...place, refusal: choice.refusal }
  else yield { type: 'response.output_text.done', ...place, text: choice.text, logprobs: part['logprobs'] }
  yield { type: 'response.content_part.done', ...place, part }
}
