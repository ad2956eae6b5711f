import type { Dice } from './dice.ts'
import { type Attributes, type GeneratedCase, rewardAttributes, span } from './span.ts'

const AGENTS = ['planner', 'critic', 'writer', '', 'coder-7'] as const
const ODD_IDS = ['__proto__', 'constructor', 'toString', 'virtual-root', '0', '1'] as const

export function tripletsCase(dice: Dice): GeneratedCase {
  const count = 1 + dice.below(dice.chance(0.1) ? 60 : 16)
  const ids = Array.from({ length: count }, (_, i) =>
    dice.chance(0.05) ? dice.pick(ODD_IDS) + (dice.chance(0.7) ? '' : String(i)) : `s${i}`,
  )
  const grid = dice.pick([1, 0.1, 0.001, 0.37])
  const hasGone = dice.chance(0.2)
  const isFlat = dice.chance(0.3)
  const spans = ids.map((id, i) => {
    const parent = i === 0 || isFlat ? (ids[0] ?? null) : (ids[dice.below(i)] ?? null)
    const isRoot = i === 0 || dice.chance(0.05)
    const start = dice.below(40) * grid
    const length = dice.chance(0.15) ? 0 : dice.below(dice.chance(0.3) ? 60 : 12) * grid
    const { name, attributes } = content(dice, i)
    return span(id, i + 1, {
      parent_id: hasGone && dice.chance(0.2) ? 'gone' : isRoot ? null : parent,
      name,
      attributes,
      start_time: dice.chance(0.004) ? null : start,
      end_time: dice.chance(0.006) ? null : start + length,
    })
  })
  const options = {
    ...(dice.chance(0.2) ? { repair_hierarchy: false } : {}),
    ...(dice.chance(0.2) ? { exclude_llm_call_in_reward: false } : {}),
    ...(dice.chance(0.3) ? { reward_match: 'first_sibling' } : {}),
    ...(dice.chance(0.2) ? { _skip_empty_token_spans: true } : {}),
    ...(dice.chance(0.2)
      ? {
          agent_match: dice.pick([
            'planner',
            'er$',
            '^c',
            '',
            '(?i)WRITER',
            '(?P<a>\\w)-\\d',
            'zzz',
            '[]c]r',
          ]),
        }
      : {}),
    ...(dice.chance(0.15)
      ? { llm_call_match: dice.pick(['chat', '', 'completions?$', '^openai\\.', '\\Aopenai|tool\\Z', 'o.e']) }
      : {}),
  }
  const order = dice.pick(['start', 'end', 'random'])
  return {
    adapter: 'triplets',
    options,
    spans: order === 'random' ? dice.shuffled(spans) : order === 'end' ? spans.toReversed() : spans,
  }
}

function content(dice: Dice, i: number): { name: string; attributes: Attributes } {
  const kind = dice.roll()
  if (kind < 0.4) {
    const name = dice.pick([
      'openai.chat.completion',
      'openai.chat.completion',
      'openai.chat.completions',
      'openai.chat.completion.stream',
      'openai.response',
      'openai.chat.completion\n',
    ])
    return { name, attributes: callAttributes(dice, i) }
  }
  if (kind < 0.6)
    return { name: dice.pick(['agentlightning.annotation', 'x']), attributes: rewardAttributes(dice) }
  if (kind < 0.75) return agent(dice)
  if (kind < 0.8)
    return {
      name: 'agentlightning.operation',
      attributes: { 'agentlightning.operation.name': dice.pick(['agentlightning.reward', 'judge']) },
    }
  return { name: dice.pick(['search.tool', 'ro-1.session', 'agentlightning.operation']), attributes: {} }
}

function agent(dice: Dice): { name: string; attributes: Attributes } {
  const name = dice.pick(AGENTS)
  const attributes: Attributes = dice.pick([
    { 'agent.name': name },
    { 'agentops.span.kind': 'agent', 'operation.name': name },
    { 'operation.name': name },
    { recipient_agent_type: name },
    { 'langchain.chain.type': name },
    { 'executor.id': name },
    { type: 'agent', 'agentlightning.operation.input.name': name },
    { lc_name: name },
    { 'agentops.span.kind': 'agent' },
    { 'agent.name': 7 },
    { 'agentops.span.kind': 'agent', 'executor.id': name, recipient_agent_type: 'outer' },
  ])
  return { name: dice.pick(['some.agent', 'langchain.Chain.invoke', 'openai.chat.completion']), attributes }
}

function callAttributes(dice: Dice, i: number): Attributes {
  const entries: [string, Attributes[string]][] = []
  const put = (key: string, value: Attributes[string]): void => void entries.push([key, value])
  const odd = dice.chance(0.1)
  if (dice.chance(0.8)) {
    const id = dice.chance(0.2) ? 'same' : `chatcmpl-${i}`
    put(
      dice.chance(0.9) ? 'gen_ai.response.id' : 'agentlightning.operation.output.id',
      odd && dice.chance(0.3) ? 5 : id,
    )
  }
  if (dice.chance(0.8))
    put('prompt_token_ids', odd ? dice.pick(['[1]', [1.5], ['1'], [], [true], 7]) : dice.ids(5))
  if (dice.chance(0.8)) put('response_token_ids', odd ? dice.pick(['[1]', [0.5], [], [false]]) : dice.ids(5))
  if (dice.chance(0.2)) weave(dice, put)
  if (dice.chance(0.3)) {
    const list = [
      '[]',
      '[{"token": "a", "logprob": -0.1, "bytes": null}]',
      'null',
      '[NaN, -Infinity]',
      '{"a": Infinity}',
      '5',
      '"NaN"',
    ] as const
    put('logprobs.content', odd ? dice.pick(['', 'oops', '[1,]', '[1NaN]', ['a'], 5]) : dice.pick(list))
  }
  if (dice.chance(0.5)) put('gen_ai.request.model', 'm')
  if (dice.chance(0.2)) put('gen_ai.request.messages', 'kept out')
  if (dice.chance(0.2))
    put(
      dice.pick(['gen_ai.request.a.b', 'gen_ai.request.a', 'gen_ai.request.a.0', 'gen_ai.request.0']),
      dice.pick([1, 0.5, 'x', true]),
    )
  if (dice.chance(0.2)) put('gen_ai.response.choices.0', 'kept out')
  if (dice.chance(0.3)) put('gen_ai.response.model', 'm')
  if (dice.chance(0.6)) messages(dice, 'gen_ai.prompt', put)
  if (dice.chance(0.5)) messages(dice, 'gen_ai.completion', put)
  if (dice.chance(0.1))
    put(
      dice.pick(['gen_ai.prompt.prompt_filter_results', 'gen_ai.prompt.content', 'gen_ai.prompt.a.content']),
      imageContent(dice),
    )
  if (dice.chance(0.02))
    put(
      dice.pick([
        'gen_ai.prompt',
        'gen_ai.request',
        'gen_ai.response',
        'gen_ai.completion',
        'agentlightning.operation.input',
        'agentlightning.operation.output',
      ]),
      'x',
    )
  if (dice.chance(0.05)) entries.push(...Object.entries(rewardAttributes(dice)))
  if (dice.chance(0.1)) put('agent.name', dice.pick(AGENTS))
  return Object.fromEntries(entries)
}

function weave(dice: Dice, put: (key: string, value: Attributes[string]) => void): void {
  const output = 'agentlightning.operation.output'
  if (dice.chance(0.5)) put(`${output}.prompt_token_ids`, dice.ids(4))
  if (dice.chance(0.3)) put(`${output}.response_token_ids.0`, dice.ids(4))
  if (dice.chance(0.3)) put(`${output}.choices.0.token_ids`, dice.ids(4))
  if (dice.chance(0.3)) put(`${output}.choices.0.provider_specific_fields.token_ids`, dice.ids(4))
  if (dice.chance(0.3)) put(`${output}.choices.0.message.content`, 'hi')
  if (dice.chance(0.3)) put(`${output}.model`, 'm')
  if (dice.chance(0.3)) put(`${output}.${dice.below(3)}`, 'm')
  if (dice.chance(0.5)) messages(dice, 'agentlightning.operation.input.messages', put)
  if (dice.chance(0.3)) put('agentlightning.operation.input.model', 'm')
}

function messages(dice: Dice, prefix: string, put: (key: string, value: Attributes[string]) => void): void {
  const count = dice.below(dice.chance(0.1) ? 13 : 4)
  for (let i = 0; i < count; i++) {
    const at = dice.chance(0.05) ? i + 1 : i
    if (dice.chance(0.95)) put(`${prefix}.${at}.role`, dice.pick(['user', 'assistant', 'system', 'tool']))
    if (dice.chance(0.9)) put(`${prefix}.${at}.content`, dice.chance(0.3) ? imageContent(dice) : 'hello')
    if (dice.chance(0.1)) put(`${prefix}.${at}.content.0.type`, 'image_url')
    if (dice.chance(0.1)) put(`${prefix}.${at}.content.0.image_url.url`, dice.pick(['u', 5]))
    if (dice.chance(0.1)) put(`${prefix}.${at}.tool_calls.0.name`, 'f')
    if (dice.chance(0.02)) put(`${prefix}.${at}`, 'scalar')
  }
}

function imageContent(dice: Dice): string {
  return dice.pick([
    '[{"type": "image_url", "image_url": {"url": "http://a/b.png"}}, {"type": "text", "text": "x"}]',
    '[{"type": "image_url", "image_url": {"url": null}}, {"type": "image_url", "image_url": {"url": 5}}]',
    '[{"type": "image_url", "image_url": "flat"}, 5, null, [], {"type": "image_url"}, {"type": "image_url", "image_url": {}}]',
    '{"type": "image_url", "image_url": {"url": "u"}}',
    '[NaN]',
    '["image_url"]',
    'null',
    '5',
  ])
}
