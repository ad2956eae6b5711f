import type { Dice } from './dice.ts'
import { type Attributes, type GeneratedCase, span } from './span.ts'

export function messagesCase(dice: Dice): GeneratedCase {
  const count = 1 + dice.below(8)
  // Most cases are orderly, as one odd value is enough to refuse the whole trace.
  const odd = dice.chance(0.5) ? 0 : 0.01
  const spans = Array.from({ length: count }, (_, i) => {
    const isTool = i > 0 && dice.chance(0.4)
    return span(`s${i}`, i + 1, {
      parent_id: i === 0 ? null : `s${dice.below(i)}`,
      name: isTool ? 'tool_call.f' : 'openai.chat.completion',
      attributes: isTool ? toolAttributes(dice, odd) : chatAttributes(dice, odd),
      start_time: dice.chance(0.1) ? null : i,
      end_time: dice.chance(0.1) ? null : i + 1,
    })
  })
  return { adapter: 'messages', options: {}, spans: dice.chance(0.5) ? spans : dice.shuffled(spans) }
}

function toolAttributes(dice: Dice, odd: number): Attributes {
  const attributes: Attributes = { 'agentops.span.kind': 'tool' }
  if (!dice.chance(odd)) attributes['tool.name'] = 'f'
  if (!dice.chance(odd)) attributes['tool.parameters'] = dice.pick(['{"a": 1}', '', 5])
  if (!dice.chance(odd)) attributes['tool.call.id'] = 'call_1'
  if (!dice.chance(odd)) attributes['tool.call.type'] = 'function'
  if (dice.chance(odd))
    attributes[
      dice.pick(['tool.0.name', 'tool.call', 'tool.call.0', 'tool.name.first', 'tool.parameters.a', 'tool.'])
    ] = 'x'
  if (dice.chance(0.1)) attributes['gen_ai.prompt.0.role'] = 'user'
  return attributes
}

const PARTS = [
  { type: 'text', text: 'a' },
  { type: 'text', text: 'a', extra: 1 },
  { type: 'image_url', 'image_url.url': 'u' },
  { type: 'image_url', 'image_url.url': 'u', 'image_url.detail': 'low', 'image_url.more': 1 },
  { type: 'input_audio', 'input_audio.data': 'd', 'input_audio.format': 'wav' },
  { type: 'file', 'file.file_id': 'f', 'file.other': 'g' },
  { type: 'refusal', refusal: 'no' },
] as const
const ODD_PARTS = [
  { type: 'text' },
  { type: 'text', text: 5 },
  { text: 'a' },
  { type: 'image_url', image_url: 'u' },
  { type: 'image_url', 'image_url.url': 'u', 'image_url.detail': 'far' },
  { type: 'input_audio', 'input_audio.data': 'd', 'input_audio.format': 'ogg' },
  { type: 'file', 'file.filename': 5 },
  { type: 'zebra', text: 'a' },
] as const

function chatAttributes(dice: Dice, odd: number): Attributes {
  const entries: [string, Attributes[string]][] = []
  const put = (key: string, value: Attributes[string]): void => void entries.push([key, value])
  const count = dice.below(dice.chance(0.1) ? 13 : 4)
  for (let i = 0; i < count; i++) {
    const at = `gen_ai.prompt.${dice.chance(0.1) ? i * 2 + 1 : dice.chance(0.05) ? `0${i}` : i}`
    const role = dice.chance(odd)
      ? dice.pick(['function', 'robot', '', 5, true])
      : dice.pick(['user', 'assistant', 'system', 'developer', 'user'])
    if (!dice.chance(odd)) put(`${at}.role`, dice.chance(0.1) ? 'tool' : role)
    if (dice.chance(0.8)) put(`${at}.tool_call_id`, dice.chance(odd) ? 5 : 'call_1')
    if (dice.chance(0.15)) {
      for (let j = 0; j < 2; j++) {
        const part = dice.chance(odd * 3) ? dice.pick(ODD_PARTS) : dice.pick(PARTS)
        for (const [key, value] of Object.entries(part)) put(`${at}.content.${j}.${key}`, value)
      }
    } else if (dice.chance(0.9))
      put(
        `${at}.content`,
        dice.chance(odd)
          ? dice.pick([5, true, ['a'], [], [1], 0.5])
          : dice.pick(['hello', '', '[{"type": "text"}]']),
      )
    if (dice.chance(0.2)) {
      for (let j = 0; j <= dice.below(2); j++) {
        if (!dice.chance(odd)) put(`${at}.tool_calls.${j}.id`, `call_${j}`)
        if (!dice.chance(odd)) put(`${at}.tool_calls.${j}.name`, 'f')
        if (!dice.chance(odd)) put(`${at}.tool_calls.${j}.arguments`, dice.pick(['{}', 'oops', 5]))
      }
    }
    if (dice.chance(odd))
      put(
        `${at}${dice.pick(['.tool_calls', '', '.', '.0.role', '.content.text', '..role', '.content.0', '.tool_calls.0.0.id'])}`,
        dice.pick(['x', '', 5, [], ['a'], true]),
      )
  }
  for (let i = 0; i < dice.below(3); i++) {
    put(`gen_ai.completion.${i}.role`, dice.chance(0.8) ? 'assistant' : dice.pick(['user', 5]))
    if (dice.chance(0.8)) put(`gen_ai.completion.${i}.content`, dice.pick(['answer', '', 5, true]))
    if (dice.chance(0.1)) put(`gen_ai.completion.${i}.content.0.text`, 'x')
    if (dice.chance(odd)) put(`gen_ai.completion.${i}.0.role`, 'assistant')
  }
  if (dice.chance(0.3)) put('gen_ai.request.model', 'm')
  if (dice.chance(0.3)) put('gen_ai.response.id', `r${dice.below(9)}`)
  for (let i = 0; i < dice.below(3); i++) {
    const at = `gen_ai.request.functions.${i}`
    if (!dice.chance(odd)) put(`${at}.name`, 'f')
    if (dice.chance(0.7)) put(`${at}.description`, dice.pick(['does', '', 5]))
    if (dice.chance(0.1)) put(`${at}.parameters.type`, 'object')
    if (!dice.chance(odd))
      put(
        `${at}.parameters`,
        dice.chance(odd)
          ? dice.pick(['oops', '', 5, true])
          : dice.pick(['{"type": "object"}', 'null', '{"a": NaN}', '5']),
      )
  }
  if (dice.chance(odd)) {
    put(
      dice.pick([
        'gen_ai.prompt',
        'gen_ai.prompt.x',
        'gen_ai.completion.x',
        'gen_ai.request.0',
        'gen_ai.response.0',
        'gen_ai.request.functions',
        'gen_ai.request.functions.x.name',
        'gen_ai.prompt.0.1.role',
        'gen_ai.prompt.__proto__.role',
      ]),
      dice.pick(['x', '', 5, [], ['a']]),
    )
  }
  return Object.fromEntries(entries)
}
