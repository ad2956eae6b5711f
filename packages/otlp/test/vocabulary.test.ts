import { describe, expect, it } from 'vitest'
import type { Attributes, Span } from '@agl/core'
import {
  AGENTOPS,
  fromAgentOps,
  fromForeign,
  fromGenAI,
  fromOpenInference,
  GENAI,
  OPENINFERENCE,
  toAgentOps,
  toGenAI,
  toOpenInference,
  vocabularyOf,
} from '@agl/otlp/vocabulary'
import { span } from './spans.ts'

const parameters = '{"type":"object","properties":{"city":{"type":"string"}}}'
const image = [
  { type: 'text', text: 'What is this?' },
  { type: 'image_url', image_url: { url: 'https://example.com/cat.png' } },
]

/** A model call with all that one can have. */
const call: Span = span({
  name: 'openai.chat.completion',
  attributes: {
    'gen_ai.system': 'OpenAI',
    'gen_ai.request.type': 'chat',
    'gen_ai.request.model': 'small',
    'gen_ai.request.temperature': 0,
    'gen_ai.request.n': 2,
    'gen_ai.request.stop': '["END"]',
    'gen_ai.request.streaming': true,
    'gen_ai.request.functions.0.name': 'weather',
    'gen_ai.request.functions.0.description': 'Looks it up.',
    'gen_ai.request.functions.0.parameters': parameters,
    'gen_ai.prompt.0.role': 'system',
    'gen_ai.prompt.0.content': 'Be brief.',
    'gen_ai.prompt.1.role': 'user',
    'gen_ai.prompt.1.content': JSON.stringify(image),
    'gen_ai.prompt.2.role': 'assistant',
    'gen_ai.prompt.2.tool_calls.0.id': 'c0',
    'gen_ai.prompt.2.tool_calls.0.type': 'function',
    'gen_ai.prompt.2.tool_calls.0.name': 'weather',
    'gen_ai.prompt.2.tool_calls.0.arguments': '{"city":"Ulm"}',
    'gen_ai.prompt.3.role': 'tool',
    'gen_ai.prompt.3.tool_call_id': 'c0',
    'gen_ai.prompt.3.content': 'rain',
    'gen_ai.completion.0.role': 'assistant',
    'gen_ai.completion.0.content': 'It rains.',
    'gen_ai.completion.0.reasoning': 'Hm.',
    'gen_ai.completion.0.finish_reason': 'stop',
    'gen_ai.completion.1.role': 'assistant',
    'gen_ai.completion.1.finish_reason': 'tool_calls',
    'gen_ai.completion.1.tool_calls.0.id': 'c1',
    'gen_ai.completion.1.tool_calls.0.type': 'function',
    'gen_ai.completion.1.tool_calls.0.name': 'weather',
    'gen_ai.completion.1.tool_calls.0.arguments': '{"city":"Bonn"}',
    'gen_ai.response.id': 'r1',
    'gen_ai.response.model': 'small-1',
    'gen_ai.usage.prompt_tokens': 10,
    'gen_ai.usage.completion_tokens': 5,
    'gen_ai.usage.total_tokens': 15,
    'gen_ai.usage.cache_read_input_tokens': 4,
    'gen_ai.usage.reasoning_tokens': 2,
    prompt_token_ids: Int32Array.of(1, 2, 3),
    response_token_ids: Int32Array.of(4, 5),
    'logprobs.content': '[]',
    'agl.choices.1.response_token_ids': Int32Array.of(6),
    'agl.tokens.complete': true,
    'agl.time_to_first_token': 0.25,
  },
})
const tool = span({
  name: 'weather.tool',
  attributes: {
    'agentops.span.kind': 'tool',
    'operation.name': 'weather',
    'tool.name': 'weather',
    'tool.parameters': '{"city":"Ulm"}',
    'tool.result': 'rain',
    'tool.call.id': 'c0',
  },
})
const agent = span({
  name: 'planner.agent',
  attributes: {
    'agentops.span.kind': 'agent',
    'operation.name': 'planner',
    'agentops.agent.input': 'go',
    'agentops.agent.output': 'gone',
  },
})
const reward = span({
  name: 'agentlightning.annotation',
  attributes: { 'agentlightning.reward.0.name': 'primary', 'agentlightning.reward.0.value': 0.5 },
})

const tokenKeys = [
  'prompt_token_ids',
  'response_token_ids',
  'logprobs.content',
  'agl.choices.1.response_token_ids',
]

function parse(attributes: Attributes, key: string): unknown {
  return JSON.parse(String(attributes[key]))
}

describe('toGenAI', () => {
  it("says a call by OpenTelemetry's current names", () => {
    const { name, attributes } = toGenAI(call)
    expect(name).toBe('chat small')
    expect(attributes).toMatchObject({
      'gen_ai.operation.name': 'chat',
      'gen_ai.provider.name': 'openai',
      'gen_ai.request.choice.count': 2,
      'gen_ai.request.stop_sequences': ['END'],
      'gen_ai.request.stream': true,
      'gen_ai.request.temperature': 0,
      'gen_ai.response.id': 'r1',
      'gen_ai.response.finish_reasons': ['stop', 'tool_calls'],
      'gen_ai.response.time_to_first_chunk': 0.25,
      'gen_ai.usage.input_tokens': 10,
      'gen_ai.usage.output_tokens': 5,
      'gen_ai.usage.cache_read.input_tokens': 4,
      'gen_ai.usage.reasoning.output_tokens': 2,
    })
    expect(parse(attributes, 'gen_ai.input.messages')).toEqual([
      { role: 'system', parts: [{ type: 'text', content: 'Be brief.' }] },
      {
        role: 'user',
        parts: [
          { type: 'text', content: 'What is this?' },
          { type: 'uri', modality: 'image', uri: 'https://example.com/cat.png' },
        ],
      },
      {
        role: 'assistant',
        parts: [{ type: 'tool_call', id: 'c0', name: 'weather', arguments: { city: 'Ulm' } }],
      },
      { role: 'tool', parts: [{ type: 'tool_call_response', id: 'c0', response: 'rain' }] },
    ])
    expect(parse(attributes, 'gen_ai.output.messages')).toEqual([
      {
        role: 'assistant',
        parts: [
          { type: 'reasoning', content: 'Hm.' },
          { type: 'text', content: 'It rains.' },
        ],
        finish_reason: 'stop',
      },
      {
        role: 'assistant',
        parts: [{ type: 'tool_call', id: 'c1', name: 'weather', arguments: { city: 'Bonn' } }],
        finish_reason: 'tool_calls',
      },
    ])
    expect(parse(attributes, 'gen_ai.tool.definitions')).toEqual([
      { type: 'function', name: 'weather', description: 'Looks it up.', parameters: JSON.parse(parameters) },
    ])
    expect(
      Object.keys(attributes).filter((key) => /^gen_ai\.(prompt|completion|system)\b/.test(key)),
    ).toEqual([])
  })

  it('keeps the place of an answer without a finish reason', () => {
    const given = span({
      name: 'openai.chat.completion',
      attributes: {
        'gen_ai.request.type': 'chat',
        'gen_ai.completion.0.content': 'a',
        'gen_ai.completion.1.content': 'b',
        'gen_ai.completion.1.finish_reason': 'stop',
      },
    })
    const { attributes } = toGenAI(given)
    expect(attributes['gen_ai.response.finish_reasons']).toEqual(['', 'stop'])
    // As of senders who say it there alone.
    const messages = parse(attributes, 'gen_ai.output.messages')
    attributes['gen_ai.output.messages'] = JSON.stringify(messages).replace(',"finish_reason":"stop"', '')
    const back = fromGenAI(span({ attributes })).attributes
    expect(back).toMatchObject({ 'gen_ai.completion.1.finish_reason': 'stop' })
    expect(back).not.toHaveProperty(['gen_ai.completion.0.finish_reason'])
  })

  it('says tools and agents, and rewards as evaluations', () => {
    expect(toGenAI(tool)).toMatchObject({
      name: 'execute_tool weather',
      attributes: {
        'gen_ai.operation.name': 'execute_tool',
        'gen_ai.tool.name': 'weather',
        'gen_ai.tool.call.id': 'c0',
        'gen_ai.tool.call.arguments': '{"city":"Ulm"}',
        'gen_ai.tool.call.result': 'rain',
      },
    })
    expect(toGenAI(agent)).toMatchObject({
      name: 'invoke_agent planner',
      attributes: { 'gen_ai.operation.name': 'invoke_agent', 'gen_ai.agent.name': 'planner' },
    })
    expect(toGenAI(reward).events).toEqual([
      {
        name: 'gen_ai.evaluation.result',
        attributes: { 'gen_ai.evaluation.name': 'primary', 'gen_ai.evaluation.score.value': 0.5 },
        timestamp: reward.endTime,
      },
    ])
  })
})

describe('toOpenInference', () => {
  it('says a call flat, with its parameters in JSON', () => {
    const { attributes } = toOpenInference(call)
    expect(attributes).toMatchObject({
      'openinference.span.kind': 'LLM',
      'llm.provider': 'openai',
      'llm.system': 'openai',
      'llm.model_name': 'small-1',
      'llm.token_count.prompt': 10,
      'llm.token_count.completion': 5,
      'llm.token_count.total': 15,
      'llm.token_count.prompt_details.cache_read': 4,
      'llm.token_count.completion_details.reasoning': 2,
      'llm.input_messages.0.message.role': 'system',
      'llm.input_messages.0.message.content': 'Be brief.',
      'llm.input_messages.1.message.contents.0.message_content.type': 'text',
      'llm.input_messages.1.message.contents.0.message_content.text': 'What is this?',
      'llm.input_messages.1.message.contents.1.message_content.type': 'image',
      'llm.input_messages.1.message.contents.1.message_content.image.image.url':
        'https://example.com/cat.png',
      'llm.input_messages.2.message.tool_calls.0.tool_call.id': 'c0',
      'llm.input_messages.2.message.tool_calls.0.tool_call.function.name': 'weather',
      'llm.input_messages.2.message.tool_calls.0.tool_call.function.arguments': '{"city":"Ulm"}',
      'llm.input_messages.3.message.tool_call_id': 'c0',
      'llm.output_messages.0.message.content': 'It rains.',
      'llm.finish_reason': 'stop',
      'input.value': 'rain',
      'output.value': 'It rains.',
      'output.mime_type': 'text/plain',
      'session.id': 'ro-1',
    })
    expect(parse(attributes, 'llm.invocation_parameters')).toEqual({ temperature: 0, n: 2, stop: ['END'] })
    expect(parse(attributes, 'llm.tools.0.tool.json_schema')).toMatchObject({ function: { name: 'weather' } })
  })

  it('says tools, agents and rewards', () => {
    expect(toOpenInference(tool).attributes).toMatchObject({
      'openinference.span.kind': 'TOOL',
      'tool.name': 'weather',
      'input.value': '{"city":"Ulm"}',
      'input.mime_type': 'application/json',
      'output.value': 'rain',
    })
    expect(toOpenInference(agent).attributes).toMatchObject({
      'openinference.span.kind': 'AGENT',
      'agent.name': 'planner',
      'input.value': 'go',
      'output.value': 'gone',
    })
    expect(toOpenInference(reward).attributes).toMatchObject({
      'annotations.0.annotation.name': 'primary',
      'annotations.0.annotation.score': 0.5,
    })
  })
})

describe('toAgentOps', () => {
  it('says what its service reads', () => {
    expect(toAgentOps(call).attributes).toMatchObject({
      'agentops.span.kind': 'llm',
      'gen_ai.usage.prompt_tokens': 10,
      'gen_ai.prompt.0.content': 'Be brief.',
      'gen_ai.response.finish_reason': 'stop',
      'gen_ai.request.tools.0.name': 'weather',
      'gen_ai.request.tools.0.arguments': parameters,
      'gen_ai.streaming.time_to_first_token': 0.25,
    })
    expect(toAgentOps(agent).attributes).toMatchObject({
      'agentops.span.kind': 'agent',
      'agent.name': 'planner',
      'agentops.entity.input': 'go',
      'agentops.entity.output': 'gone',
    })
    expect(toAgentOps(tool).attributes).toMatchObject({ 'tool.id': 'c0', 'tool.result': 'rain' })
  })
})

const vocabularies = {
  genai: { to: toGenAI, from: fromGenAI, names: GENAI },
  openinference: { to: toOpenInference, from: fromOpenInference, names: OPENINFERENCE },
  agentops: { to: toAgentOps, from: fromAgentOps, names: AGENTOPS },
} as const
const each = Object.entries(vocabularies)

describe.each(each)('the vocabulary %s', (name, { to, from, names }) => {
  it('leaves token ids out unless they are asked for, and the span that it is given as it was', () => {
    const before = structuredClone(call)
    for (const key of tokenKeys) {
      expect(to(call).attributes).not.toHaveProperty([key])
      expect(to(call, { tokens: true }).attributes[key]).toBe(call.attributes[key])
    }
    expect(call).toEqual(before)
  })

  it('has a table that can be read in both directions', () => {
    const [ours, theirs] = [0, 1].map((side) => names.names.map((pair) => String(pair[side])))
    expect(new Set(ours).size).toBe(ours?.length)
    expect(new Set(theirs).size).toBe(theirs?.length)
  })

  it('is known by its spans, and what it says comes back as a call that trainers find', () => {
    const foreign = to(call, { tokens: true })
    const back = from(foreign)
    expect(back.name).toBe('openai.chat.completion')
    expect(fromForeign(foreign)).toEqual(name === 'agentops' ? foreign : back)
    const missing = Object.keys(call.attributes).filter((key) => !(key in back.attributes))
    expect({ [name]: missing }).toEqual({ [name]: LOST[name] })
    const changed = Object.entries(back.attributes).filter(
      ([key, value]) =>
        key in call.attributes && JSON.stringify(call.attributes[key]) !== JSON.stringify(value),
    )
    expect({ [name]: changed.map(([key]) => key) }).toEqual({ [name]: CHANGED[name] })
  })

  it('leaves a span alone that says nothing of models or agents', () => {
    const plain = span({ name: 'GET /', attributes: { 'http.route': '/', count: 1 } })
    expect(from(plain)).toEqual(plain)
    expect(to({ ...plain, rolloutId: '' })).toEqual({ ...plain, rolloutId: '' })
  })

  it('brings tools and agents back by their kinds', () => {
    expect(from(to(tool))).toMatchObject({
      name: 'weather.tool',
      attributes: {
        'agentops.span.kind': 'tool',
        'tool.name': 'weather',
        'tool.result': 'rain',
        'tool.call.id': 'c0',
      },
    })
    expect(from(to(agent))).toMatchObject({
      name: 'planner.agent',
      attributes: { 'agentops.span.kind': 'agent', 'operation.name': 'planner' },
    })
  })
})

/** What a vocabulary has no place for. */
const LOST: Record<string, string[]> = {
  genai: [],
  openinference: [
    'gen_ai.request.streaming',
    'gen_ai.completion.0.reasoning',
    'gen_ai.completion.1.finish_reason',
  ],
  agentops: [],
}
/** Spelled otherwise after the way there and back. */
const CHANGED: Record<string, string[]> = {
  genai: ['gen_ai.system', 'gen_ai.request.stop'],
  openinference: ['gen_ai.system'],
  agentops: [],
}

describe.each(each)('what a model wrote for a tool, in the vocabulary %s,', (_, { to, from }) => {
  it.each([
    '{"id":12345678901234567890}',
    '{"far":1e400,"zero":-0}',
    '{"price":1.0}',
    '{"same":1,"same":2}',
    '{"b":1,"1":2}',
    '[{"x":1e-400}]',
    '{"broken":',
    '['.repeat(20_000) + ']'.repeat(20_000),
  ])('comes back as it was: %.40s', (text) => {
    const keys = ['gen_ai.completion.0.tool_calls.0.arguments', 'gen_ai.request.functions.0.parameters']
    const attributes = {
      'gen_ai.request.type': 'chat',
      ...Object.fromEntries(keys.map((key) => [key, text])),
    }
    const back = from(to(span({ name: 'openai.chat.completion', attributes }))).attributes
    expect(keys.map((key) => back[key])).toEqual([text, text])
  })
})

it('tells backends the fields of arguments that are spelled otherwise than here', () => {
  const text = '{ "city": "\\u00dclm \\"a b\\"",\n "days": [1, 2.5] }'
  const attributes = { 'gen_ai.request.type': 'chat', 'gen_ai.completion.0.tool_calls.0.arguments': text }
  const messages = parse(toGenAI(span({ attributes })).attributes, 'gen_ai.output.messages')
  expect(messages).toMatchObject([{ parts: [{ arguments: { city: 'Ülm "a b"', days: [1, 2.5] } }] }])
})

describe('fromForeign', () => {
  it("reads a span of OpenTelemetry's own instrumentation of an earlier year", () => {
    const foreign = span({
      name: 'chat m',
      attributes: {
        'gen_ai.operation.name': 'chat',
        'gen_ai.system': 'openai',
        'gen_ai.request.model': 'm',
        'gen_ai.usage.input_tokens': 3,
        'gen_ai.prompt': '[{"role":"user","content":"hi"}]',
        'gen_ai.completion': 'yo',
      },
    })
    expect(fromForeign(foreign)).toMatchObject({
      name: 'openai.chat.completion',
      attributes: {
        'gen_ai.system': 'openai',
        'gen_ai.usage.prompt_tokens': 3,
        'gen_ai.prompt.0.role': 'user',
        'gen_ai.prompt.0.content': 'hi',
        'gen_ai.completion.0.content': 'yo',
        'gen_ai.response.id': foreign.spanId,
      },
    })
    expect(fromForeign(foreign).attributes).not.toHaveProperty(['gen_ai.prompt'])
  })

  it('reads instructions, and answers of several tools in one message', () => {
    const { attributes } = fromGenAI(
      span({
        attributes: {
          'gen_ai.operation.name': 'chat',
          'gen_ai.system_instructions': '[{"type":"text","content":"Be brief."}]',
          'gen_ai.input.messages': JSON.stringify([
            {
              role: 'tool',
              parts: [
                { type: 'tool_call_response', id: 'a', response: 1 },
                { type: 'tool_call_response', id: 'b', response: { x: 2 } },
              ],
            },
          ]),
        },
      }),
    )
    expect(attributes).toMatchObject({
      'gen_ai.prompt.0.role': 'system',
      'gen_ai.prompt.0.content': 'Be brief.',
      'gen_ai.prompt.1.tool_call_id': 'a',
      'gen_ai.prompt.1.content': '1',
      'gen_ai.prompt.2.tool_call_id': 'b',
      'gen_ai.prompt.2.content': '{"x":2}',
    })
  })

  it('keeps numbers as they are written, where what a model wrote stands in JSON', () => {
    const given = '{"id":12345678901234567890,"ids":[9007199254740993,-0],"far":1e400,"price":1.0}'
    const back = fromGenAI(
      span({
        attributes: {
          'gen_ai.operation.name': 'chat',
          'gen_ai.input.messages': `[
            {"role":"user","parts":[{"type":"place","number":12345678901234567890}]},
            {"role":"tool","parts":[{"type":"tool_call_response","id":7,"response":12345678901234567890}]}
          ]`,
          'gen_ai.output.messages': `[
            {"role":"assistant","parts":[{"type":"tool_call","id":"c","name":"buy","arguments":${given}}]},
            12345678901234567890
          ]`,
          'gen_ai.tool.definitions': `[{"type":"function","name":"buy","parameters":${given}}]`,
        },
      }),
    )
    expect(back.attributes).toMatchObject({
      'gen_ai.prompt.0.content': '[{"type":"place","number":12345678901234567890}]',
      'gen_ai.prompt.1.tool_call_id': '7',
      'gen_ai.prompt.1.content': '12345678901234567890',
      'gen_ai.completion.0.tool_calls.0.arguments': given,
      'gen_ai.request.functions.0.parameters': given,
    })
    expect(back.attributes).not.toHaveProperty(['gen_ai.completion.1.role'])
    expect(toGenAI(back).attributes['gen_ai.input.messages']).toContain('"number":12345678901234567890')
  })

  it("reads OpenInference's parameters as numbers where these say the same", () => {
    const { attributes } = fromOpenInference(
      span({
        attributes: {
          'openinference.span.kind': 'LLM',
          'llm.invocation_parameters':
            '{"temperature":1.0,"seed":12345678901234567890,"top_p":0.5,"logit_bias":{"5":-1.0}}',
          'llm.tools.0.tool.json_schema': '{"name":"buy","parameters":{"maximum":12345678901234567890}}',
        },
      }),
    )
    expect(attributes).toMatchObject({
      'gen_ai.request.temperature': 1,
      'gen_ai.request.seed': '12345678901234567890',
      'gen_ai.request.top_p': 0.5,
      'gen_ai.request.logit_bias': '{"5":-1.0}',
      'gen_ai.request.functions.0.parameters': '{"maximum":12345678901234567890}',
    })
  })

  it("reads AgentOps' JavaScript SDK, whose numbers are texts", () => {
    const foreign = span({
      name: 'generation',
      attributes: {
        'agentops.span.kind': 'llm',
        'gen_ai.response.model': 'm',
        'gen_ai.usage.input_tokens': '12',
        'gen_ai.usage.output_tokens': '3',
      },
    })
    expect(fromForeign(foreign)).toMatchObject({
      name: 'openai.chat.completion',
      attributes: { 'gen_ai.usage.prompt_tokens': 12, 'gen_ai.usage.completion_tokens': 3 },
    })
  })

  it('survives whatever stands in the attributes', () => {
    const broken: Attributes[] = [
      { 'gen_ai.operation.name': 'chat', 'gen_ai.input.messages': '[{"role":7,"parts":"x"},null,[]]' },
      { 'gen_ai.operation.name': 'chat', 'gen_ai.input.messages': '[{', 'gen_ai.tool.definitions': '[1]' },
      { 'gen_ai.operation.name': 7, 'gen_ai.response.finish_reasons': 'stop' },
      {
        'openinference.span.kind': 'LLM',
        'llm.invocation_parameters': '[]',
        'llm.tools.0.tool.json_schema': '{',
      },
      {
        'openinference.span.kind': 'LLM',
        'llm.input_messages.99999.message.role': 'user',
        'llm.input_messages.x': 1,
      },
      { 'openinference.span.kind': 'ROBOT' },
      { 'agentops.span.kind': 'llm', 'gen_ai.prompt': 'bare', 'gen_ai.prompt.0.role': true },
    ]
    for (const attributes of broken) {
      expect(fromForeign(span({ attributes })).spanId).toBe(span().spanId)
      for (const { to } of Object.values(vocabularies))
        expect(to(span({ attributes })).spanId).toBe(span().spanId)
    }
    const wrong = span({ attributes: { 'agentlightning.reward': 1 } })
    expect(toGenAI(wrong).events).toEqual([])
  })

  it('leaves the record as it is', () => {
    for (const ours of [call, reward]) {
      expect(vocabularyOf(ours)).toBe('agentlightning')
      expect(fromForeign(ours)).toBe(ours)
    }
  })
})
