import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { AglError } from '@agl/core'
import {
  checkAttributes,
  extractLinks,
  extractTags,
  filter,
  filterAndUnflatten,
  flatten,
  makeLinkAttributes,
  makeTagAttributes,
  pythonJSON,
  queryLinkedSpans,
  sanitize,
  sanitizeAttributes,
  sanitizeValue,
  unflatten,
} from '@agl/core/semconv'
import { appFolder, runJSON } from './support.ts'

const refused = (code: string): unknown => expect.objectContaining({ name: 'AglError', code })
const cyclic: Record<string, unknown> = { a: 1 }
cyclic['self'] = cyclic

function nested(depth: number): unknown {
  let value: unknown = 1
  for (let i = 0; i < depth; i++) value = { a: value }
  return value
}

describe('flatten', () => {
  it.each([
    ['an empty key adds no dot', { '': { a: 1 } }, { a: 1 }],
    ['a list under an empty key is spelled out, as at the root', { '': ['x', 'y'] }, { 0: 'x', 1: 'y' }],
    ['undefined in a map is left out', { a: undefined, b: { c: undefined, d: 1 } }, { 'b.d': 1 }],
    ['a list has its elements only', { a: Object.assign([1, 'x'], { index: 0 }) }, { 'a.0': 1, 'a.1': 'x' }],
    ['fractions and integers are one type', { a: [1, 2.5, -0, Number.NaN] }, { a: [1, 2.5, -0, Number.NaN] }],
    ['a map of another realm is a map', runInNewContext('({ a: { b: [1] } })'), { 'a.b': [1] }],
    ['a map without a prototype is a map', Object.create(null, {}), {}],
  ])('%s', (_title, data, expected) => {
    expect(flatten(data)).toEqual(expected)
  })

  it('keeps objects of classes whole', () => {
    const date = new Date(0)
    expect(flatten({ a: { date } })).toEqual({ 'a.date': date })
  })

  it('keeps keys that objects are born with, there and back', () => {
    const text = '{"__proto__":{"constructor":{"toString":1}},"hasOwnProperty":[{"__proto__":2}]}'
    const flat = flatten(JSON.parse(text))
    expect(Object.entries(flat)).toEqual([
      ['__proto__.constructor.toString', 1],
      ['hasOwnProperty.0.__proto__', 2],
    ])
    expect(JSON.stringify(unflatten(flat))).toBe(text)
    expect(Object.entries(flatten(JSON.parse('{"__proto__":5}')))).toEqual([['__proto__', 5]])
    expect(Object.entries(filter(JSON.parse('{"__proto__":5,"a":1}'), '__proto__'))).toEqual([
      ['__proto__', 5],
    ])
    expect(Object.prototype).not.toHaveProperty('constructor.toString', 1)
  })

  it('takes one value in two places, but none that contains itself', () => {
    const shared = { x: 1 }
    expect(flatten({ a: shared, b: [shared, 'y'] })).toEqual({ 'a.x': 1, 'b.0.x': 1, 'b.1': 'y' })
    expect(() => flatten(cyclic)).toThrow(refused('value_invalid'))
    expect(() => flatten([[cyclic]])).toThrow(refused('value_invalid'))
  })

  it('goes 1000 levels deep and refuses more, rather than run out of stack', () => {
    expect(Object.keys(flatten(nested(1000)))).toEqual([Array.from({ length: 1000 }, () => 'a').join('.')])
    expect(() => flatten(nested(1002))).toThrow(refused('value_invalid'))
    expect(() => flatten(nested(100_000))).toThrow(refused('value_invalid'))
  })
})

describe('unflatten', () => {
  it('lets the later of a value and a path win, also where keys look like indices', () => {
    expect(unflatten({ 'a.b': 1, a: 2 })).toEqual({ a: 2 })
    expect(unflatten({ a: 2, 'a.b': 1 })).toEqual({ a: { b: 1 } })
    expect(filterAndUnflatten({ 'a.0.x': 1, 'a.0': true }, 'a')).toEqual([true])
    expect(filterAndUnflatten({ 'a.0': true, 'a.0.x': 1 }, 'a')).toEqual([{ x: 1 }])
  })

  it('makes lists of keys 0 to n-1 alone, and never of leading zeros', () => {
    expect(unflatten({ 1: 'b', 0: 'a' })).toEqual(['a', 'b'])
    expect(unflatten({ 0: 'a', 2: 'b' })).toEqual({ 0: 'a', 2: 'b' })
    expect(unflatten({ '-1': 'a', 0: 'b' })).toEqual({ '-1': 'a', 0: 'b' })
    expect(() => unflatten({ '00': 'a' })).toThrow(refused('value_invalid'))
    expect(unflatten({ 'a.': 1 })).toEqual({ a: { '': 1 } })
  })

  it('refuses a prefix that is a value as well', () => {
    expect(() => filterAndUnflatten({ a: 1, 'a.b': 2 }, 'a')).toThrow(refused('value_invalid'))
    expect(filterAndUnflatten({ ab: 1 }, 'a')).toEqual({})
  })
})

describe('sanitizing', () => {
  it.each([
    ['null', null, 'null'],
    ['a mixed list', [1, 'é', null], '[1, "\\u00e9", null]'],
    ['booleans beside numbers', [true, 2, false], [1, 2, 0]],
    ['no elements', [], []],
    ['a date', new Date(0), '"1970-01-01T00:00:00.000Z"'],
    ['a bigint', 2n ** 70n, '1180591620717411303424'],
    ['a map', new Map([['k', { n: 1 }]]), '{"k": {"n": 1}}'],
    ['a set', new Set([1, 'x']), '[1, "x"]'],
    ['typed numbers', Int32Array.of(3, 4), '[3, 4]'],
    ['a null object', Object.create(null), '{}'],
  ])('writes %s as an attribute', (_title, value, expected) => {
    expect(sanitizeValue(value)).toEqual(expected)
  })

  it('names an object of a class that cannot be written, and refuses plain data that cannot', () => {
    class Client {
      readonly owner: Client = this
    }
    expect(sanitizeValue(new Client())).toBe('"[Client]"')
    expect(() => sanitizeValue(cyclic)).toThrow(refused('value_unserializable'))
    expect(() => sanitizeValue([null, cyclic])).toThrow(refused('value_unserializable'))
  })

  it('leaves out what is undefined, and nothing else', () => {
    expect(sanitizeAttributes({ a: undefined, b: null, c: 0, d: '' })).toEqual({ b: 'null', c: 0, d: '' })
    expect(sanitize).toBe(sanitizeAttributes)
  })

  it.each([
    ['null', null],
    ['undefined', undefined],
    ['a map', {}],
    ['a list of two kinds', [1, 'x']],
    ['a list with null', ['x', null]],
    ['a date', new Date(0)],
  ])('finds %s wanting as an attribute, by its name', (_title, value) => {
    expect(() => checkAttributes({ fine: 1, 'not.fine': value })).toThrow(refused('value_invalid'))
    expect(() => checkAttributes({ fine: 1, 'not.fine': value })).toThrow('"not.fine"')
  })

  it('finds primitives and lists of one kind fine', () => {
    expect(() => checkAttributes({ a: '', b: 0, c: false, d: [], e: ['x'], f: [1, true, 0.5] })).not.toThrow()
  })
})

describe('JSON as Python writes it', () => {
  it.each([
    [{ a: [1, null, true], b: {} }, '{"a": [1, null, true], "b": {}}'],
    [{ s: 'é👋\u007f\ud800"\\/\n\u0000' }, '{"s": "\\u00e9\\ud83d\\udc4b\\u007f\\ud800\\"\\\\/\\n\\u0000"}'],
    [
      [-0, 1e-5, 1.5e-7, 1e-10, 0.0001, 1e20, 1e21, -2.5],
      '[-0.0, 1e-05, 1.5e-07, 1e-10, 0.0001, 100000000000000000000, 1e+21, -2.5]',
    ],
    [[Number.NaN, Infinity, -Infinity], '[NaN, Infinity, -Infinity]'],
    [[1, undefined, () => 1, Symbol('x')], '[1, null, null, null]'],
    [{ a: undefined, f: () => 1, s: Symbol('x'), b: 1 }, '{"b": 1}'],
    [Object.assign([1], { extra: 2 }), '[1]'],
    [Array(2), '[null, null]'],
    [undefined, 'null'],
    [JSON.parse('{"__proto__": {"a": 1}}'), '{"__proto__": {"a": 1}}'],
  ])('%o', (value, expected) => {
    expect(pythonJSON(value)).toBe(expected)
  })

  it('asks toJSON once', () => {
    const self = { kept: 1, toJSON: (): unknown => self }
    expect(pythonJSON({ self })).toBe('{"self": {"kept": 1}}')
  })

  it('refuses what is too large before it is written, also where little data repeats itself', () => {
    let value: unknown = 'x'.repeat(100_000)
    for (let i = 0; i < 64; i++) value = [value, value]
    expect(() => pythonJSON(value)).toThrow(refused('value_unserializable'))
    expect(() => pythonJSON(value)).toThrow('32 MB')
  })
})

describe('tags and links', () => {
  it('come back as they were', () => {
    expect(extractTags(makeTagAttributes(['fast', 'a.b', '']))).toEqual(['fast', 'a.b', ''])
    const attributes = makeLinkAttributes({ 'gen_ai.response.id': 'r1', span_id: 's1' })
    expect(attributes).toEqual({
      'agentlightning.link.0.key_match': 'gen_ai.response.id',
      'agentlightning.link.0.value_match': 'r1',
      'agentlightning.link.1.key_match': 'span_id',
      'agentlightning.link.1.value_match': 's1',
    })
    expect(extractLinks(attributes)).toEqual([
      { key_match: 'gen_ai.response.id', value_match: 'r1' },
      { key_match: 'span_id', value_match: 's1' },
    ])
  })

  it('are refused where there are none, or broken ones', () => {
    for (const attributes of [{}, { 'agentlightning.tag.1': 'x' }, { 'agentlightning.tag.0': 1 }])
      expect(() => extractTags(attributes)).toThrow(refused('value_invalid'))
    for (const attributes of [{}, { 'agentlightning.link.0.key_match': 'x' }, { 'agentlightning.link': 'x' }])
      expect(() => extractLinks(attributes)).toThrow(refused('value_invalid'))
    expect(() => makeLinkAttributes(JSON.parse('{"a": 1}'))).toThrow(refused('value_invalid'))
  })

  it('find the spans that match all of them, by own attributes alone', () => {
    const span = (spanId: string, attributes: Record<string, unknown>) => ({
      spanId,
      traceId: 't1',
      attributes,
    })
    const spans = [span('s1', { k: 'v' }), span('s2', { k: 'v', span_id: 's1' }), span('s3', {})]
    const ids = (...links: [string, string][]): string[] =>
      queryLinkedSpans(
        spans,
        links.map(([key_match, value_match]) => ({ key_match, value_match })),
      ).map(({ spanId }) => spanId)
    expect(ids(['k', 'v'])).toEqual(['s1', 's2'])
    expect(ids(['k', 'v'], ['span_id', 's1'])).toEqual(['s1'])
    expect(ids(['trace_id', 't1'])).toEqual(['s1', 's2', 's3'])
    expect(ids(['constructor', 'x'])).toEqual([])
    expect(ids()).toEqual(['s1', 's2', 's3'])
  })
})

it('stands alone: the conventions load no tracer and no OpenTelemetry', async () => {
  const folder = appFolder({
    'main.mjs': `
      import { registerHooks } from 'node:module'
      const loaded = []
      registerHooks({ load: (url, context, next) => (loaded.push(url), next(url, context)) })
      const { flatten } = await import('@agl/core/semconv')
      console.log(JSON.stringify({ flat: flatten({ a: { b: 1 } }), loaded: loaded.map((url) => url.split('/').at(-1)).sort() }))
    `,
  })
  expect(await runJSON(folder)).toEqual({ flat: { 'a.b': 1 }, loaded: ['errors.ts', 'semconv.ts'] })
})

it('throws errors that the core knows as its own', () => {
  expect(() => flatten(cyclic)).toThrow(expect.toSatisfy(AglError.is))
})
