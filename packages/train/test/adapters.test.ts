import { AglError, emitReward, type PluginApi, record, type Span, start } from '@agl/core'
import { definePlugin } from '@agl/core'
import { type AdapterWarning, toMessages, toProxyTriplets, toTriplets } from '@agl/train'
import { describe, expect, it } from 'vitest'
import { callAttributes, REWARD, span } from './support.ts'

const call = (spanId: string, parts: Partial<Span> = {}): Span =>
  span({ spanId, name: 'openai.chat.completion', attributes: callAttributes(`chatcmpl-${spanId}`), ...parts })

function warned(spans: readonly Span[]): { ids: (string | null)[]; warnings: AdapterWarning[] } {
  const warnings: AdapterWarning[] = []
  const triplets = toTriplets(spans, { onWarning: (warning) => void warnings.push(warning) })
  return { ids: triplets.map(({ metadata }) => metadata.response_id), warnings }
}

describe('toTriplets', () => {
  it('takes what the tracer recorded, as it is', async () => {
    let api: PluginApi | undefined
    const plugin = definePlugin({ name: 'test', setup: (given) => void (api = given) })
    await using _lightning = await start({ plugins: [plugin] })
    const { spans } = await record('solve', () => {
      api
        ?.activity('llm', {
          operation: 'chat',
          provider: 'openai',
          request: { model: 'm' },
          messages: [{ role: 'user', content: 'hi' }],
        })
        .end({
          response: { id: 'chatcmpl-1' },
          choices: [
            { index: 0, role: 'assistant', content: 'ho', logprobs: [{ token: 'ho', logprob: -0.5 }] },
          ],
          tokens: {
            prompt: Int32Array.of(1, 2),
            choices: [{ index: 0, response: Int32Array.of(3) }],
            complete: true,
          },
        })
      emitReward(0.75)
    })
    const [triplet] = toTriplets(spans)
    expect(triplet).toMatchObject({
      prompt: { token_ids: [1, 2], raw_content: [{ role: 'user', content: 'hi' }] },
      response: { token_ids: [3], logprobs: [{ token: 'ho', logprob: -0.5 }] },
      reward: 0.75,
      metadata: { response_id: 'chatcmpl-1', agent_name: '*' },
    })
    expect(JSON.stringify(triplet?.prompt.token_ids)).toBe('[1,2]')
  })

  it('puts what hung below missing parents in order of time, then id, whatever order it came in', () => {
    const spans = [
      call('late', { parentId: 'gone-a', startTime: 5, endTime: 6 }),
      call('second', { parentId: 'gone-c', startTime: 1, endTime: 2 }),
      call('first', { parentId: 'gone-b', startTime: 1, endTime: 2 }),
    ]
    const ids = ['chatcmpl-first', 'chatcmpl-second', 'chatcmpl-late']
    const { warnings, ...given } = warned(spans)
    expect(given).toEqual({ ids })
    expect(warned(spans.toReversed()).ids).toEqual(ids)
    expect(warnings).toEqual([expect.objectContaining({ code: 'order_unclear' })])
  })

  it('says which branch is lost when a child lasts longer than its parent, as in Python', () => {
    const spans = [
      span({ spanId: 'root', endTime: 100 }),
      span({ spanId: 'short', parentId: 'root', name: 'planner.agent', startTime: 10, endTime: 20 }),
      call('long', { parentId: 'short', startTime: 5, endTime: 90 }),
      call('beside', { parentId: 'root', startTime: 91, endTime: 92 }),
      span({ spanId: 'other', parentId: 'root', startTime: 93, endTime: 94 }),
    ]
    expect(warned(spans)).toEqual({
      ids: ['chatcmpl-beside'],
      warnings: [{ code: 'branch_lost', spanId: 'short', message: expect.stringContaining('planner.agent') }],
    })
    expect(toTriplets(spans, { repairHierarchy: false })).toHaveLength(2)
  })

  it('says that spans which are each other’s parents are lost', () => {
    const spans = [call('root'), call('a', { parentId: 'b' }), call('b', { parentId: 'a' })]
    const { ids, warnings } = warned(spans)
    expect(ids).toEqual(['chatcmpl-root'])
    expect(warnings).toEqual([expect.objectContaining({ code: 'branch_lost' })])
    expect(() => toTriplets(spans.slice(1))).toThrow(AglError)
  })

  it('refuses a span that is above itself instead of going on for ever', () => {
    const spans = [call('a'), call('b', { parentId: 'a' }), call('a', { parentId: 'b' })]
    expect(() => toTriplets(spans)).toThrow('is above itself')
  })

  it('says which attribute is of the wrong type, and gives no ids for it', () => {
    const attributes = { ...callAttributes('x'), prompt_token_ids: '[1, 2]' }
    const warnings: AdapterWarning[] = []
    const [triplet] = toTriplets([call('a', { attributes })], { onWarning: (one) => void warnings.push(one) })
    expect(triplet?.prompt.token_ids).toEqual([])
    expect(warnings).toEqual([
      { code: 'attribute_ignored', spanId: 'a', message: expect.stringContaining('"prompt_token_ids"') },
    ])
  })

  it('takes traces of any depth', () => {
    const spans = Array.from({ length: 20_000 }, (_, i) =>
      call(`s${i}`, { parentId: i === 0 ? null : `s${i - 1}`, startTime: i, endTime: 50_000 - i }),
    )
    expect(toTriplets(spans)).toHaveLength(20_000)
  })

  it('leaves its input as it was', () => {
    const attributes = {
      ...callAttributes('x'),
      'gen_ai.request.messages': 'm',
      'gen_ai.response.choices.0': 'c',
    }
    const spans = [
      call('a', { attributes, parentId: 'gone' }),
      span({ spanId: 'r', parentId: 'gone', attributes: REWARD }),
    ]
    const before = structuredClone(spans)
    toTriplets(spans)
    toMessages(spans)
    toProxyTriplets(spans)
    expect(spans).toEqual(before)
  })

  it.each([
    ['(?i)PLANNER', 'planner', true],
    ['planner$', 'planner\n', true],
    ['planner\\Z', 'planner\n', false],
    ['\\Aplan', 'planner', true],
    ['\\Alan', 'planner', false],
    ['(?P<first>n)(?P=first)er', 'planner', true],
    ['[]x]l', 'p]lan', true],
    ['[^]x]lan', 'planner', true],
    ['p.anner', 'p\ranner', true],
    ['p.anner', 'p\nanner', false],
    ['(?s)p.anner', 'p\nanner', true],
    ['plan{', 'plan{er', true],
    [/^PLAN/gi, 'planner', true],
  ])('searches %s in %j as Python does', (agentMatch, name, found) => {
    const spans = [
      span({ spanId: 'root', attributes: { 'agent.name': name } }),
      call('a', { parentId: 'root' }),
      call('b', { parentId: 'root', attributes: callAttributes('other') }),
    ]
    expect(toTriplets(spans, { agentMatch })).toHaveLength(found ? 2 : 0)
  })

  it('refuses options that it does not understand', () => {
    expect(() => toTriplets([call('a')], { llmCallMatch: '(' })).toThrow('is no regular expression')
    const rewardMatch = JSON.parse('"last"')
    expect(() => toTriplets([call('a')], { rewardMatch })).toThrow('rewardMatch must be')
  })
})

describe('toProxyTriplets', () => {
  it.each([
    ['1.5', 1.5],
    [true, 1],
    [false, 0],
  ])('makes a number of the reward %j of an earlier version', (reward, value) => {
    const spans = [
      span({
        spanId: 'a',
        name: 'litellm_request',
        attributes: { prompt_token_ids: [1], response_token_ids: [2] },
      }),
      span({ spanId: 'r', sequenceId: 2, name: 'agentlightning.annotation', attributes: { reward } }),
    ]
    expect(toProxyTriplets(spans)[0]?.reward).toBe(value)
  })

  it('says which ids cannot be read', () => {
    const attributes = {
      'llm.hosted_vllm.prompt_token_ids': '[1]',
      'llm.hosted_vllm.choices': '[{"token_ids": [2], "logprobs": null}]',
    }
    const warnings: AdapterWarning[] = []
    const onWarning = (warning: AdapterWarning): void => void warnings.push(warning)
    expect(
      toProxyTriplets([span({ spanId: 'a', name: 'raw_gen_ai_request', attributes })], { onWarning }),
    ).toEqual([])
    expect(warnings).toEqual([
      {
        code: 'attribute_ignored',
        spanId: 'a',
        message: expect.stringContaining('"llm.hosted_vllm.choices"'),
      },
    ])
  })

  it.each([
    ['a text', (long: string) => `[{'text': '${long}', 'token_ids': [2]}]`],
    ['a text in three quotes', (long: string) => `[{'text': """${long}""", 'token_ids': [2]}]`],
    [
      'a text with escapes',
      (long: string) =>
        `[{'text': '${long.replaceAll('a'.repeat(9), String.raw`aaaaaaa\'`)}', 'token_ids': [2]}]`,
    ],
    ['blank lines', (long: string) => `[${long.replaceAll('a', '\n')}{'token_ids': [2]}]`],
    ['digits', (long: string) => `[{'logprob': 0.${long.replaceAll('a', '1')}, 'token_ids': [2]}]`],
  ])('reads what holds millions of characters as %s', (_what, write) => {
    const attributes = {
      'llm.hosted_vllm.prompt_token_ids': '[1]',
      'llm.hosted_vllm.choices': write('a'.repeat(9_000_000)),
    }
    expect(toProxyTriplets([span({ spanId: 'a', name: 'raw_gen_ai_request', attributes })])).toMatchObject([
      { prompt: { token_ids: [1] }, response: { token_ids: [2] } },
    ])
  })

  it.each(['[['.repeat(3_000_000), `'${'a'.repeat(9_000_000)}`, `"""${'"" '.repeat(2_000_000)}`])(
    'leaves out millions of characters that are no literal (%#)',
    (choices) => {
      const attributes = { 'llm.hosted_vllm.prompt_token_ids': '[1]', 'llm.hosted_vllm.choices': choices }
      const warnings: AdapterWarning[] = []
      const onWarning = (warning: AdapterWarning): void => void warnings.push(warning)
      toProxyTriplets([span({ spanId: 'a', name: 'raw_gen_ai_request', attributes })], { onWarning })
      expect(warnings).toMatchObject([{ code: 'attribute_ignored' }])
    },
  )

  it('refuses a reward that is none', () => {
    const spans = [
      span({
        spanId: 'a',
        name: 'litellm_request',
        attributes: { prompt_token_ids: [1], response_token_ids: [2] },
      }),
      span({ spanId: 'r', sequenceId: 2, name: 'agentlightning.annotation', attributes: { reward: 'good' } }),
    ]
    expect(() => toProxyTriplets(spans)).toThrow(AglError)
  })
})

describe('toMessages', () => {
  it.each([
    ['user', { type: 'text', text: 'a', more: 1 }, { type: 'text', text: 'a' }],
    [
      'user',
      { type: 'image_url', 'image_url.url': 'u', 'image_url.detail': 'low' },
      { type: 'image_url', image_url: { url: 'u', detail: 'low' } },
    ],
    [
      'user',
      { type: 'input_audio', 'input_audio.data': 'd', 'input_audio.format': 'wav' },
      { type: 'input_audio', input_audio: { data: 'd', format: 'wav' } },
    ],
    ['user', { type: 'file', 'file.file_id': 'f' }, { type: 'file', file: { file_id: 'f' } }],
    ['assistant', { type: 'refusal', refusal: 'no' }, { type: 'refusal', refusal: 'no' }],
  ])('keeps what the chat API knows of a part that %s may send', (role, part, expected) => {
    expect(toMessages([chat(role, part)])).toEqual([
      { messages: [{ role, content: [expected] }], tools: null },
    ])
  })

  it.each([
    ['system', { type: 'image_url', 'image_url.url': 'u' }],
    ['user', { type: 'refusal', refusal: 'no' }],
    ['user', { type: 'text', text: 5 }],
    ['user', { type: 'image_url', 'image_url.url': 'u', 'image_url.detail': 'far' }],
    ['user', { type: 'zebra', zebra: 'z' }],
    ['user', { text: 'a' }],
  ])('refuses a part that %s may not send: %j', (role, part) => {
    expect(() => toMessages([chat(role, part)])).toThrow(AglError)
  })

  function chat(role: string, part: Readonly<Record<string, string | number>>): Span {
    const content = Object.entries(part).map(([key, value]) => [`gen_ai.prompt.0.content.0.${key}`, value])
    return span({ spanId: 'a', attributes: { 'gen_ai.prompt.0.role': role, ...Object.fromEntries(content) } })
  }
})
