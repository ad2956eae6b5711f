import { runInNewContext } from 'node:vm'
import { suppressTracing } from '@opentelemetry/core'
import { context } from '@opentelemetry/api'
import { describe, expect, it } from 'vitest'
import {
  emitAnnotation,
  emitException,
  emitMessage,
  emitObject,
  emitReward,
  findFinalReward,
  findRewards,
  getMessageValue,
  getObjectValue,
  getRewardsFromSpan,
  getRewardValue,
  operation,
  record,
  type Attributes,
  type Span,
} from '@agl/core'
import { makeLinkAttributes, makeTagAttributes } from '@agl/core/semconv'
import { begin, named, spansOf } from './support.ts'

const refused = (code: string): unknown => expect.objectContaining({ name: 'AglError', code })
const quiet = { propagate: false }
const object = (value: unknown): Attributes => emitObject(value, quiet).attributes
const jsonOf = (value: unknown): unknown => object(value)['agentlightning.object.json']

describe('outside a trace', () => {
  const emitters: [string, () => unknown][] = [
    ['emitReward', () => emitReward(1)],
    ['emitAnnotation', () => emitAnnotation({ a: 1 })],
    ['emitMessage', () => emitMessage('x')],
    ['emitObject', () => emitObject(1)],
    ['emitException', () => emitException(new Error('x'))],
  ]
  it.each(emitters)('%s says what to do', (name, emit) => {
    expect(emit).toThrow(refused('outside_trace'))
    expect(emit).toThrow(`${name}()`)
  })

  it('what is wrong with the value is said first', () => {
    expect(() => emitReward(Number.NaN)).toThrow(refused('value_invalid'))
    expect(() => emitAnnotation({ a: null })).toThrow(refused('value_invalid'))
    expect(() => emitObject(() => 1)).toThrow(refused('value_unserializable'))
  })

  it('an operation can be declared, and refuses its calls before they do anything', () => {
    let calls = 0
    const step = operation('step', () => ++calls)
    expect(step).toThrow(refused('outside_trace'))
    expect(calls).toBe(0)
  })

  it('a span can be had without being recorded, also inside a trace', async () => {
    expect(emitReward(1, quiet).attributes['agentlightning.reward.0.value']).toBe(1)
    expect(await spansOf('run', () => void emitReward(1, quiet))).toHaveLength(1)
  })
})

describe('emitReward', () => {
  it.each([
    ['NaN', Number.NaN],
    ['Infinity', Infinity],
    ['-Infinity', -Infinity],
    ['type undefined', undefined],
    ['a list', [1]],
    ['a map', new Map([['a', 1]])],
    ['a bigint', 1n],
    ['a map with NaN', { a: 1, b: Number.NaN }],
    ['a map with an object that has no text', { a: Object.create(null) }],
  ])('refuses %s as an error of its own', async (_title, reward) => {
    // @ts-expect-error a program without types may pass anything
    const emit = (): unknown => emitReward(reward, { primary: 'a' })
    expect(emit).toThrow(refused('value_invalid'))
    expect(await spansOf('run', () => expect(emit).toThrow(refused('value_invalid')))).toHaveLength(1)
  })

  it('says which number it was and what to pass', () => {
    expect(() => emitReward(Number.NaN)).toThrow(/"primary" is NaN.*finite number or a boolean/)
    expect(() => emitReward({ good: 1, bad: -Infinity }, { primary: 'good' })).toThrow(/"bad" is -Infinity/)
    expect(() => emitReward({ good: 1, bad: 2 })).toThrow(/primary.*good, bad/)
  })

  it('takes dimensions of any name, the one to train on first', () => {
    const rewards = JSON.parse('{"a.b": 0.5, "__proto__": true, "constructor": 2}')
    const span = emitReward(rewards, { ...quiet, primary: '__proto__' })
    expect(getRewardsFromSpan(span)).toEqual([
      { name: '__proto__', value: 1 },
      { name: 'a.b', value: 0.5 },
      { name: 'constructor', value: 2 },
    ])
    expect(() => emitReward({ a: 1 }, { primary: 'toString' })).toThrow(/primary.*one of: a\./)
  })

  it('is never earlier than the call that it rewards, and found again with its tags and links', async () => {
    await using running = await begin()
    const spans = await spansOf('run', () => {
      for (let i = 0; i < 50; i++) {
        running.api.activity('tool', { name: `call ${i}` }).end()
        const attributes = { ...makeTagAttributes(['exact']), ...makeLinkAttributes({ span_id: 's' }) }
        emitReward(i, { attributes })
      }
    })
    for (let i = 0; i < 50; i++) {
      const [call, reward] = [spans[2 * i], spans[2 * i + 1]]
      expect(reward?.startTime).toBeGreaterThanOrEqual(call?.endTime ?? Infinity)
      expect(reward?.attributes).toMatchObject({
        'agentlightning.reward.0.value': i,
        'agentlightning.tag.0': 'exact',
        'agentlightning.link.0.value_match': 's',
      })
    }
    expect(findRewards(spans)).toHaveLength(50)
    expect(findFinalReward(spans)).toBe(49)
  })
})

describe('emitAnnotation', () => {
  it.each([
    ['null', null],
    ['a text', 'abc'],
    ['a list', [1]],
    ['a Map', new Map([['a', 1]])],
    ['a date within', { a: new Date(0) }],
    ['null within', { a: { b: null } }],
    ['a hole within', { a: [1, undefined, 3] }],
  ])('refuses %s', (_title, annotation) => {
    // @ts-expect-error a program without types may pass anything
    expect(() => emitAnnotation(annotation, quiet)).toThrow(refused('value_invalid'))
  })

  it('takes optional fields that are undefined, and maps of another realm', () => {
    expect(emitAnnotation({ grade: 1, note: undefined }, quiet).attributes).toEqual({ grade: 1 })
    const foreign = runInNewContext('({ a: { b: [1, 2] } })')
    expect(emitAnnotation(foreign, quiet).attributes).toEqual({ 'a.b': [1, 2] })
  })
})

it.each([
  ['emitMessage', emitMessage('m', { ...quiet, attributes: { a: null, b: { c: undefined, d: null } } })],
  ['emitObject', emitObject(1, { ...quiet, attributes: { a: null, b: { c: undefined, d: null } } })],
  ['emitException', emitException(new Error('x'), { ...quiet, attributes: { a: null, b: { d: null } } })],
])('%s records null among its further attributes as a text', (_name, { attributes }) => {
  expect(attributes).toMatchObject({ a: 'null', 'b.d': 'null' })
  expect(attributes).not.toHaveProperty(['b.c'])
})

describe('emitObject', () => {
  class Answer {
    readonly text = 'x'
  }
  it.each([
    ['a date', new Date(0), 'Date', '"1970-01-01T00:00:00.000Z"'],
    ['an object of a class', new Answer(), 'Answer', '{"text": "x"}'],
    ['a map', new Map([['é', 1]]), 'Map', '{"\\u00e9": 1}'],
    ['a set', new Set([1]), 'Set', '[1]'],
    ['a list with a hole', [1, undefined, 3], 'list', '[1, null, 3]'],
    ['undefined fields', { a: undefined, b: 1 }, 'dict', '{"b": 1}'],
    ['an object without a prototype', Object.create(null), 'dict', '{}'],
    [
      'data with a field named constructor',
      { constructor: { name: 'X' } },
      'dict',
      '{"constructor": {"name": "X"}}',
    ],
    ['a bigint within', { n: 2n ** 64n }, 'dict', '{"n": 18446744073709551616}'],
  ])('writes %s', (_title, value, type, json) => {
    expect(object(value)).toEqual({
      'agentlightning.object.type': type,
      'agentlightning.object.json': json,
    })
  })

  it.each([
    [2n ** 64n, 'int', '18446744073709551616'],
    [-0, 'float', '-0.0'],
    [Number.NaN, 'float', 'nan'],
    [-Infinity, 'float', '-inf'],
    [1e-7, 'float', '1e-07'],
    [Uint8Array.of(0, 255), 'bytes', 'AP8='],
  ])('writes %s as the literal that Python would', (value, type, literal) => {
    expect(object(value)).toEqual({
      'agentlightning.object.type': type,
      'agentlightning.object.literal': literal,
    })
  })

  it.each([
    ['numbers', 1.5],
    ['NaN', Number.NaN],
    ['infinity', -Infinity],
    ['zero below zero', -0],
    ['text', 'é👋\ud800'],
    ['bytes', Uint8Array.of(1, 2, 255)],
    ['no bytes', new Uint8Array(0)],
    ['null', null],
    ['data', { a: [1, null, { b: 'NaN' }], é: ['"', '\\'] }],
    ['data with what JSON lacks', { n: [Number.NaN, Infinity, -Infinity], s: 'NaN, "Infinity"' }],
  ])('is read back: %s', (_title, value) => {
    expect(getObjectValue(emitObject(value, quiet))).toEqual(value)
  })

  const cyclic: Record<string, unknown> = {}
  cyclic['list'] = [{ cyclic }]
  it.each([
    ['a cycle', cyclic, 'cyclic'],
    [
      'a getter that throws',
      {
        get a(): number {
          throw new Error('no access')
        },
      },
      'no access',
    ],
    [
      'toJSON that throws',
      {
        toJSON: () => {
          throw new Error('never')
        },
      },
      'never',
    ],
    ['a function', () => 1, 'function'],
    ['undefined', undefined, 'undefined'],
    ['a symbol', Symbol('x'), 'symbol'],
    ['a long text', 'x'.repeat(33 << 20), '32 MB'],
    ['much data', Array.from({ length: 40 }, () => 'x'.repeat(1 << 20)), '32 MB'],
    ['many bytes', new Uint8Array(33 << 20), '32 MB'],
  ])('refuses %s and says why', (_title, value, reason) => {
    expect(() => emitObject(value, quiet)).toThrow(refused('value_unserializable'))
    expect(() => emitObject(value, quiet)).toThrow(reason)
  })

  it('leaves a trace whole when it refuses', async () => {
    const { error, spans } = await record('run', () => {
      emitMessage('before')
      emitObject(cyclic)
    })
    expect(error).toEqual(refused('value_unserializable'))
    expect(spans.map((span) => span.name)).toEqual(['agentlightning.message', 'run.session'])
  })

  it('takes the same value in two places', () => {
    const shared = { x: 1 }
    expect(jsonOf([shared, shared])).toBe('[{"x": 1}, {"x": 1}]')
  })
})

describe('emitException', () => {
  it.each([
    ['of a class', new (class CustomError extends Error {})('m'), 'CustomError'],
    ['with a name of its own', Object.assign(new Error('m'), { name: 'RateLimit' }), 'RateLimit'],
    ['of an abort', new DOMException('m', 'AbortError'), 'AbortError'],
    ['of another realm', runInNewContext('new TypeError("m")'), 'TypeError'],
  ])('names the error %s', (_title, error, type) => {
    expect(emitException(error, quiet)).toMatchObject({
      status: { statusCode: 'OK' },
      attributes: {
        'exception.type': type,
        'exception.message': 'm',
        'exception.escaped': true,
        'exception.stacktrace': expect.stringContaining('m'),
      },
    })
  })

  it('leaves out a stack that there is not, and refuses what is no error', () => {
    const bare = Object.assign(new Error('m'), { stack: ' \n' })
    expect(emitException(bare, quiet).attributes).toEqual({
      'exception.type': 'Error',
      'exception.message': 'm',
      'exception.escaped': true,
    })
    // @ts-expect-error a program without types may pass anything
    expect(() => emitException('text', quiet)).toThrow(refused('value_invalid'))
  })
})

describe('operation', () => {
  const INPUT = 'agentlightning.operation.input.'
  /** The attributes of the one operation that `fn` runs. */
  async function recorded(fn: () => unknown): Promise<Attributes> {
    return named(await spansOf('run', fn), 'agentlightning.operation').attributes
  }
  async function inputs(fn: () => unknown): Promise<Attributes> {
    const all = Object.entries(await recorded(fn))
    return Object.fromEntries(
      all.filter(([key]) => key.startsWith(INPUT)).map(([key, value]) => [key.slice(INPUT.length), value]),
    )
  }
  /** An operation of a function as a program without types would write it. */
  const wrapped = (source: string): ((...args: unknown[]) => unknown) => {
    const fn: (...args: unknown[]) => unknown = runInNewContext(`(${source})`)
    return operation('op', fn)
  }

  it.each([
    ['(a, b) => 1', { a: 1, b: 2 }],
    ['a => 1', { a: 1, 'args.1': 2 }],
    ['async a => 1', { a: 1, 'args.1': 2 }],
    ['async => 1', { async: 1, 'args.1': 2 }],
    ['async function f(a,\n  b) {}', { a: 1, b: 2 }],
    ['function (größe, $b) {}', { größe: 1, $b: 2 }],
    ['{ m(a, b) {} }.m', { a: 1, b: 2 }],
    ['{ async m(a, b) {} }.m', { a: 1, b: 2 }],
    ['() => 1', { 'args.0': 1, 'args.1': 2 }],
    ['function () { return arguments.length }', { 'args.0': 1, 'args.1': 2 }],
    ['({ a }, b) => 1', { 'args.0': 1, 'args.1': 2 }],
    ['(a, { b }) => 1', { a: 1, 'args.1': 2 }],
    ['(a, { b: [c] = [] }) => 1', { a: 1, 'args.1': 2 }],
    ['(...all) => 1', { 'all.0': 1, 'all.1': 2 }],
    ['(a, ...[b]) => 1', { a: 1, 'args.1': 2 }],
    ['(a /* first, second */, b) => 1', { 'args.0': 1, 'args.1': 2 }],
    ["(a = 'x, y, z', b) => 1", { a: 1, 'args.1': 2 }],
    ["(a = 'http://x', b) => 1", { a: 1, b: 2 }],
    ['(a = [1, c, 2], b) => 1', { a: 1, 'args.1': 2 }],
    ['(a = `x, ${1}`, b) => 1', { a: 1, 'args.1': 2 }],
    ['(a = Math.max(1, 2), b) => 1', { 'args.0': 1, 'args.1': 2 }],
    ['Math.max', { 'args.0': 1, 'args.1': 2 }],
    ['function (a, b) {}.bind(null)', { 'args.0': 1, 'args.1': 2 }],
  ])('names arguments only where the names are certain: %s', async (source, expected) => {
    expect(await inputs(() => wrapped(source)(1, 2))).toEqual(expected)
  })

  it.each([
    ['(a = 2) => a', { a: 2 }],
    ['(a = \'it\', b = "is") => a', { a: 'it', b: 'is' }],
    ['(a = true, b = null, c = -1.5) => a', { a: true, b: 'null', c: -1.5 }],
    ['(a = [1]) => a', { a: [1] }],
    ['(a = [1, 2]) => a', {}],
    ["(a = 'it\\'s') => a", {}],
    ['(a = b.c) => 1', {}],
    ['(a, b) => 1', {}],
    ['(...rest) => 1', {}],
  ])('records the defaults that are literals: %s', async (source, expected) => {
    const run = wrapped(source.replace('b.c', 'undefined'))
    expect(await inputs(() => run())).toEqual(expected)
  })

  it('records arguments of any kind, and none that would lose the others', async () => {
    class Client {
      readonly self: Client = this
    }
    const ask = operation((client: Client, question: string, options: object, rest?: string) => [
      client,
      question,
      options,
      rest,
    ])
    const options = { depth: { max: 2 }, signal: undefined, stop: ['a'], none: null }
    expect(await inputs(() => ask(new Client(), 'q', options))).toEqual({
      client: '"[Client]"',
      question: 'q',
      'options.depth.max': 2,
      'options.stop': ['a'],
      'options.none': 'null',
    })
  })

  it('takes a parameter of any name', async () => {
    const input = await inputs(() => wrapped('function (__proto__, constructor) {}')({ x: 1 }, 'c'))
    expect(Object.entries(input)).toEqual([
      ['__proto__.x', 1],
      ['constructor', 'c'],
    ])
  })

  it('is the function that it wraps, for those who look', async () => {
    function grade(this: unknown, answer: string, expected: string): boolean {
      return answer === expected
    }
    grade.version = 2
    const wrappedGrade = operation(grade)
    expect([wrappedGrade.name, wrappedGrade.length, wrappedGrade.version]).toEqual(['grade', 2, 2])
    expect(
      (await recorded(() => wrappedGrade.call(undefined, 'a', 'a')))['agentlightning.operation.name'],
    ).toBe('grade')
  })

  it('passes this, arguments, values and errors through as they are', async () => {
    const thrown = { not: 'an error' }
    const value = { same: true }
    class Counter {
      count = 0
      readonly add = operation('add', function (this: Counter, by: number) {
        this.count += by
        return value
      })
    }
    const fail = operation('fail', () => {
      throw thrown
    })
    const late = operation('late', async () => {
      await Promise.resolve()
      throw thrown
    })
    await spansOf('run', async () => {
      const counter = new Counter()
      expect(counter.add(2)).toBe(value)
      expect(counter.count).toBe(2)
      let caught: unknown
      try {
        fail()
      } catch (error) {
        caught = error
      }
      expect(caught).toBe(thrown)
      const promise = late()
      expect(promise).toBeInstanceOf(Promise)
      expect(await promise.catch((error: unknown) => error)).toBe(thrown)
    })
  })

  it('leaves generators, streams and promises of other classes unread, and records no output of them', async () => {
    let reads = 0
    class Query {
      readonly table = 'secret'
      // oxlint-disable-next-line unicorn/no-thenable -- what query builders are
      then(resolve: (value: number) => void): void {
        reads++
        resolve(5)
      }
    }
    const lazy = new Query()
    const sync = operation('sync', function* () {
      reads++
      yield 1
    })
    const async = operation('async', async function* () {
      reads++
      yield 1
    })
    const stream = operation('stream', () => new ReadableStream({ start: (it) => it.enqueue('x') }))
    const thenable = operation('thenable', () => lazy)
    const spans = await spansOf('run', async () => {
      const made = [sync(), async(), thenable(), stream()]
      expect(reads).toBe(0)
      expect(made[2]).toBe(lazy)
      expect([...sync()]).toEqual([1])
      for await (const item of async()) expect(item).toBe(1)
      expect(stream().locked).toBe(false)
    })
    expect(spans.slice(0, -1).map((span) => Object.keys(span.attributes))).toEqual(
      Array.from({ length: 7 }, () => ['agentlightning.operation.name']),
    )
  })

  it('records a page with a next link: that is a value, not a generator', async () => {
    const attributes = await recorded(operation('page', () => ({ items: [1], next: 'p2' })))
    expect(attributes).toMatchObject({
      'agentlightning.operation.output.items': [1],
      'agentlightning.operation.output.next': 'p2',
    })
  })

  it('opens one span per call, in the trace of the call, with what happens inside below it', async () => {
    const inner = operation('inner', async (i: number) => {
      await Promise.resolve()
      emitReward(i)
    })
    const outer = operation('outer', async (i: number) => inner(i))
    const runs = await Promise.all([1, 2, 3].map((i) => spansOf(`run ${i}`, () => outer(i))))
    for (const [index, spans] of runs.entries()) {
      expect(spans.map((span) => span.attributes['agentlightning.operation.name'] ?? span.name)).toEqual([
        'agentlightning.annotation',
        'inner',
        'outer',
        `run ${index + 1}.session`,
      ])
      const parents = new Map(spans.map((span, i): [string, number] => [span.spanId, i]))
      expect(spans.map((span) => parents.get(span.parentId ?? ''))).toEqual([1, 2, 3, undefined])
      expect(findFinalReward(spans)).toBe(index + 1)
    }
  })

  it('keeps its attributes as they were when it was declared, null included', async () => {
    const attributes: Record<string, unknown> = { user: { id: 1 }, none: null, left: undefined }
    const step = operation({ attributes }, () => undefined)
    attributes['user'] = 2
    expect(await recorded(step)).toEqual({
      'agentlightning.operation.name': 'anonymous',
      'user.id': 1,
      none: 'null',
    })
  })

  it('works where tracing is suppressed, and records nothing', async () => {
    const step = operation('step', () => 5)
    const spans = await spansOf('run', () =>
      context.with(suppressTracing(context.active()), () => expect(step()).toBe(5)),
    )
    expect(spans).toHaveLength(1)
  })

  it('refuses what is no function', () => {
    // @ts-expect-error a program without types may pass anything
    expect(() => operation('step')).toThrow(refused('value_invalid'))
    // @ts-expect-error a program without types may pass anything
    expect(() => operation('step', 5)).toThrow(refused('value_invalid'))
  })
})

describe('the readers', () => {
  const span = (attributes: Attributes, name = 'x'): Pick<Span, 'name' | 'attributes'> => ({
    name,
    attributes,
  })
  const reward = (value: Attributes[string]): Pick<Span, 'name' | 'attributes'> =>
    span({ 'agentlightning.reward.0.name': 'p', 'agentlightning.reward.0.value': value })

  it.each([
    [true, 1],
    [' 1.5 ', 1.5],
    ['1_000.5', 1000.5],
    ['+.5', 0.5],
    ['5.', 5],
    ['1e3', 1000],
    ['inf', Infinity],
    ['-Infinity', -Infinity],
    ['NaN', Number.NaN],
  ])('read the reward %j as %d', (value, expected) => {
    expect(getRewardValue(reward(value))).toBe(expected)
  })

  it.each([['0x10'], ['0b1'], ['1e'], [''], [' '], ['1__0'], ['_1'], ['1 2'], ['true'], [[1]]])(
    'refuse the reward %j',
    (value) => {
      expect(() => getRewardValue(reward(value))).toThrow(refused('value_invalid'))
    },
  )

  it('read what Python calls JSON in the output of AgentOps', () => {
    const output = (text: string): unknown => getRewardValue(span({ 'agentops.task.output': text }))
    expect(output('{"type": "reward", "value": NaN}')).toBeNaN()
    expect(output('{"type": "reward", "value": -Infinity}')).toBe(-Infinity)
    expect(output('{"type": "other", "value": 1}')).toBeUndefined()
    expect(output('not JSON')).toBeUndefined()
  })

  it.each([
    [{ 'agentlightning.object.literal': 5, 'agentlightning.object.type': 'int' }, 5],
    [{ 'agentlightning.object.literal': 1.5, 'agentlightning.object.type': 'float' }, 1.5],
    [{ 'agentlightning.object.literal': 5 }, 5],
    [{}, null],
  ])('decode literals that another program wrote unquoted: %j', (attributes, expected) => {
    expect(getObjectValue({ attributes })).toEqual(expected)
  })

  it.each<[Attributes]>([
    [{ 'agentlightning.object.json': 5 }],
    [{ 'agentlightning.object.json': '{oops' }],
    [{ 'agentlightning.object.json': '[NaN' }],
    [{ 'agentlightning.object.literal': 'x', 'agentlightning.object.type': 'int' }],
    [{ 'agentlightning.object.literal': '1.5', 'agentlightning.object.type': 'int' }],
    [{ 'agentlightning.object.literal': '0x1', 'agentlightning.object.type': 'float' }],
    [{ 'agentlightning.object.literal': '*', 'agentlightning.object.type': 'bytes' }],
    [{ 'agentlightning.object.literal': 'x', 'agentlightning.object.type': '__proto__' }],
    [{ 'agentlightning.object.literal': 'x', 'agentlightning.object.type': 5 }],
  ])('refuse what they cannot decode: %j', (attributes) => {
    expect(() => getObjectValue({ attributes })).toThrow(refused('value_invalid'))
  })

  it('read a message, or none', () => {
    expect(getMessageValue(emitMessage('hello', quiet))).toBe('hello')
    expect(getMessageValue({ attributes: {} })).toBeUndefined()
  })
})
