import { describe, expect, it } from 'vitest'
import { spanFromJSON, spanToJSON, type Span, type SpanJSON } from '@agl/core'

const context = {
  traceId: 'a'.repeat(32),
  spanId: 'b'.repeat(16),
  isRemote: true,
  traceState: { vendor: 'x' },
}

const SPAN: Span = {
  rolloutId: 'ro-1',
  attemptId: 'at-1',
  sequenceId: 3,
  traceId: 'a'.repeat(32),
  spanId: 'c'.repeat(16),
  parentId: 'b'.repeat(16),
  name: 'openai.chat.completion',
  status: { statusCode: 'ERROR', description: 'RangeError: far' },
  attributes: { text: 'ü', number: 0, flag: false, list: ['a'], numbers: [1, 2.5], none: [] },
  events: [{ name: 'exception', attributes: { at: 1 }, timestamp: 1.25 }],
  links: [
    { context, attributes: { why: 'because' } },
    { context, attributes: null },
  ],
  startTime: 1700000000.123456,
  endTime: 1700000001,
  context,
  parent: context,
  resource: { attributes: { 'service.name': 'test' }, schemaUrl: 'https://example.invalid/schema' },
}

describe('the JSON form of a span', () => {
  it('has the names of Agent Lightning v0.3, every one of them', () => {
    expect(spanToJSON(SPAN)).toEqual({
      rollout_id: 'ro-1',
      attempt_id: 'at-1',
      sequence_id: 3,
      trace_id: 'a'.repeat(32),
      span_id: 'c'.repeat(16),
      parent_id: 'b'.repeat(16),
      name: 'openai.chat.completion',
      status: { status_code: 'ERROR', description: 'RangeError: far' },
      attributes: { text: 'ü', number: 0, flag: false, list: ['a'], numbers: [1, 2.5], none: [] },
      events: [{ name: 'exception', attributes: { at: 1 }, timestamp: 1.25 }],
      links: [
        {
          context: {
            trace_id: 'a'.repeat(32),
            span_id: 'b'.repeat(16),
            is_remote: true,
            trace_state: { vendor: 'x' },
          },
          attributes: { why: 'because' },
        },
        { context: expect.objectContaining({ is_remote: true }), attributes: null },
      ],
      start_time: 1700000000.123456,
      end_time: 1700000001,
      context: expect.objectContaining({ trace_state: { vendor: 'x' } }),
      parent: expect.objectContaining({ span_id: 'b'.repeat(16) }),
      resource: { attributes: { 'service.name': 'test' }, schema_url: 'https://example.invalid/schema' },
    })
  })

  it('keeps the keys that are empty', () => {
    const bare: Span = {
      ...SPAN,
      parentId: null,
      status: { statusCode: 'UNSET', description: null },
      attributes: {},
      events: [{ name: 'e', attributes: {}, timestamp: null }],
      links: [],
      context: null,
      parent: null,
      resource: { attributes: {}, schemaUrl: '' },
    }
    const json: unknown = JSON.parse(JSON.stringify(spanToJSON(bare)))
    expect(json).toMatchObject({
      parent_id: null,
      status: { status_code: 'UNSET', description: null },
      attributes: {},
      events: [{ attributes: {}, timestamp: null }],
      links: [],
      context: null,
      parent: null,
      resource: { attributes: {}, schema_url: '' },
    })
    expect(spanFromJSON(spanToJSON(bare))).toEqual(bare)
  })

  it('is read back to the same span', () => {
    const json: SpanJSON = JSON.parse(JSON.stringify(spanToJSON(SPAN)))
    expect(spanFromJSON(json)).toEqual(SPAN)
    expect(spanToJSON(spanFromJSON(json))).toEqual(json)
  })

  it('has token ids as plain lists', () => {
    const ids = Int32Array.from({ length: 1000 }, (_, i) => i * 7)
    const attributes = { prompt_token_ids: ids, response_token_ids: new Int32Array(0) }
    const json: SpanJSON = JSON.parse(JSON.stringify(spanToJSON({ ...SPAN, attributes })))
    expect(json.attributes).toEqual({ prompt_token_ids: [...ids], response_token_ids: [] })
    expect(spanFromJSON(json).attributes).toEqual({ prompt_token_ids: [...ids], response_token_ids: [] })
  })

  it('keeps keys that mean something to JavaScript', () => {
    const text = '{"__proto__":"own","constructor":1,"toString":true,"0":"zero"}'
    const given: SpanJSON = { ...spanToJSON(SPAN), attributes: JSON.parse(text) }
    const span = spanFromJSON(given)
    expect(Object.keys(span.attributes).sort()).toEqual(['0', '__proto__', 'constructor', 'toString'])
    expect(Object.getPrototypeOf(span.attributes)).toBe(Object.prototype)
    const again = spanToJSON(span)
    expect(JSON.parse(JSON.stringify(again.attributes))).toEqual(JSON.parse(text))
    expect(Object.hasOwn(again.attributes, '__proto__')).toBe(true)
    expect(({} as Record<string, unknown>)['own']).toBeUndefined()
  })

  it('leaves the span that it was made from alone', () => {
    const before = structuredClone(SPAN)
    const json = spanToJSON(SPAN)
    json.attributes['text'] = 'changed'
    json.status.status_code = 'OK'
    for (const event of json.events) event.attributes['at'] = 2
    json.resource.attributes['service.name'] = 'changed'
    expect(SPAN).toEqual(before)
  })
})
