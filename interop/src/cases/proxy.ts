import type { Dice } from './dice.ts'
import { type Attributes, type GeneratedCase, rewardAttributes, span } from './span.ts'

export function proxyCase(dice: Dice): GeneratedCase {
  const spans = Array.from({ length: 1 + dice.below(14) }, (_, i) => {
    const name = dice.pick([
      'raw_gen_ai_request',
      'litellm_request',
      'agentlightning.annotation',
      'openai.chat.completion',
    ])
    const attributes: Attributes = {}
    if (name === 'raw_gen_ai_request') {
      const prefix = 'llm.hosted_vllm'
      if (dice.chance(0.9))
        attributes[`${prefix}.prompt_token_ids`] = dice.chance(0.3) ? dice.ids(4) : literal(dice, false)
      if (dice.chance(0.6))
        attributes[`${prefix}.response_token_ids`] = dice.chance(0.1) ? dice.ids(3) : literal(dice, true)
      if (dice.chance(0.6)) attributes[`${prefix}.choices`] = choices(dice)
      if (dice.chance(0.5)) attributes[`${prefix}.id`] = dice.pick(['a', 'b', `c${i}`, ''])
    } else if (name === 'litellm_request') {
      if (dice.chance(0.9))
        attributes['prompt_token_ids'] = dice.chance(0.5) ? dice.ids(4) : literal(dice, false)
      if (dice.chance(0.9))
        attributes['response_token_ids'] = dice.chance(0.5) ? dice.ids(4) : literal(dice, false)
    } else Object.assign(attributes, rewardAttributes(dice))
    if (dice.chance(0.4)) attributes['gen_ai.response.id'] = dice.pick(['a', `g${i}`, '', 0, 5, false])
    return span(dice.chance(0.05) ? 'same' : `s${i}`, dice.below(8), {
      name,
      attributes,
      start_time: dice.chance(0.01) ? null : dice.below(5),
    })
  })
  return { adapter: 'proxy', options: {}, spans }
}

function literal(dice: Dice, nested: boolean): string {
  const ids = dice.ids(4).join(', ')
  if (dice.chance(0.75)) return nested ? `[[${ids}]]` : `[${ids}]`
  const odd = dice.pick([
    `[${ids},]`,
    ` [${ids}]`,
    `[${ids}]\n`,
    `\n[${ids}]`,
    `([${ids}])`,
    `[0x1F, 0b11, 0o7, 1_000]`,
    `[007]`,
    `[00]`,
    `[-5, +3]`,
    `[--5]`,
    `[1.0]`,
    `[1e3]`,
    `[1j]`,
    `[True, False]`,
    `[None]`,
    `[true]`,
    `[1] # c`,
    `[1,\n 2]`,
    `[1\n, # c\n2]`,
    `[1]\n[2]`,
    `[1]; [2]`,
    `(1, 2)`,
    `1, 2`,
    `{1, 2}`,
    `[1, "a"]`,
    `['a' 'b']`,
    `[b'a']`,
    `[...]`,
    `[set()]`,
    `[[1], []]`,
    `[[], [1]]`,
    `[[1, 2], 5]`,
    `[[1, None]]`,
    `[{}]`,
    `[1 + 2]`,
    `[1 + 2j]`,
    `[1 if 1 else 2]`,
    `[x]`,
    `[`,
    `]`,
    ``,
    `[,]`,
    `[1,,2]`,
    `[1 2]`,
    `[1]]`,
    `[- 5]`,
    `[-True]`,
    `[not 1]`,
    `[[True]]`,
    `[1__0]`,
    `[1_]`,
    `[\t1]`,
    `[(1)]`,
    `[1\\\n]`,
  ])
  return odd
}

function choices(dice: Dice): string {
  const ids = dice.ids(4).join(', ')
  return dice.pick([
    `[{'token_ids': [${ids}], 'index': 0, 'logprobs': None}]`,
    `[{"token_ids": [${ids}]}]`,
    `[{"token_ids": [${ids}], "logprobs": null}]`,
    `[{'message': {'content': 'it\\'s \\x41 \\u00e9 "q"\\n', 'tool_calls': []}, 'token_ids': [${ids}]}]`,
    `[{'message': {'content': "it's"}, 'token_ids': [${ids}]}, {'token_ids': [1]}]`,
    `[{'message': r'raw\\', 'token_ids': [${ids}]}]`,
    `[{'a': '''x\ny''', u'token_ids': [${ids}]}]`,
    `[{'a': 'x\ny', 'token_ids': [${ids}]}]`,
    `[{b'token_ids': [1], 'token_ids': [${ids}]}]`,
    `[{'token_' 'ids': [${ids}]}]`,
    `[{'token_ids': [1], 'token_ids': [${ids}]}]`,
    `[{'\\x74oken_ids': [${ids}]}]`,
    `[{'a': '\\x4', 'token_ids': [${ids}]}]`,
    `[{[1]: 2, 'token_ids': [${ids}]}]`,
    `[{(1, [2]): 2, 'token_ids': [${ids}]}]`,
    `[{(1, 2): 2, 3.5: 1, None: 2, 'token_ids': [${ids}]}]`,
    `[{{}: 2, 'token_ids': [${ids}]}]`,
    `[{'a': {1, 2}, 'token_ids': [${ids}]}]`,
    `[{'a': {1, [2]}, 'token_ids': [${ids}]}]`,
    `[{'a': nan, 'token_ids': [${ids}]}]`,
    `[{'a': -1.5e-3, 'b': 1-2j, 'token_ids': [${ids}]}]`,
    `[{'token_ids': (${ids},)}]`,
    `[{'token_ids': [1.5]}]`,
    `[{'token_ids': '[1]'}]`,
    `[{'index': 0}, {'token_ids': [1]}]`,
    `({'token_ids': [${ids}]},)`,
    `{'token_ids': [${ids}]}`,
    `[[${ids}]]`,
    `[]`,
    `[{'token_ids': [${ids}],}, ]`,
    `[{'token_ids' [1]}]`,
    `[{**{}, 'token_ids': [1]}]`,
    `[f'x']`,
    `['\\ud800', {'token_ids': [1]}]`,
  ])
}
