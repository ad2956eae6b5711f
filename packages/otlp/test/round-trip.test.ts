import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { AttributeValue, Attributes, Span, SpanContext } from '@agl/core'
import { decodeTraces, encodeTraces, type Protocol } from '@agl/otlp'
import { other, span } from './spans.ts'

const protocols: readonly Protocol[] = ['protobuf', 'json']

async function there(spans: readonly Span[], protocol: Protocol): Promise<Span[]> {
  const { body, contentType, refused } = encodeTraces(spans, { protocol, sequenceIds: true })
  expect(refused).toEqual([])
  const decoded = await decodeTraces(body, { contentType })
  expect(decoded).toMatchObject({ rejected: 0, reasons: [] })
  return decoded.spans
}

const hex = (digits: number): fc.Arbitrary<string> =>
  fc
    .array(fc.integer({ min: 0, max: 15 }), { minLength: digits, maxLength: digits })
    .map((list) => list.map((digit) => digit.toString(16)).join(''))
    .filter((id) => /[1-9a-f]/.test(id))
/** Today's clocks, to the microsecond and below. */
const time = fc.double({ min: 1_600_000_000, max: 2_000_000_000, noNaN: true })
const text = fc.string({ unit: 'binary' })
const int = fc.maxSafeInteger().map((value) => value + 0)
const float = fc.double({ noNaN: true, noDefaultInfinity: true })
const value: fc.Arbitrary<AttributeValue> = fc.oneof(
  text,
  fc.boolean(),
  int,
  float,
  fc.array(text),
  fc.array(fc.boolean()),
  fc.array(int),
  fc.array(float),
)
const key = fc.oneof(
  fc.string({ minLength: 1 }),
  fc.constantFrom(
    '__proto__',
    'constructor',
    'ünï',
    'gen_ai.prompt.0.content',
    'agentlightning.reward.0.value',
  ),
)
const attributes: fc.Arbitrary<Attributes> = fc
  .array(fc.tuple(key, value), { maxLength: 12 })
  .map((entries) => Object.fromEntries(entries))
const traceState = fc.constantFrom({}, { vendor: 'a=b', other: '1' })
const context = (traceId: fc.Arbitrary<string>): fc.Arbitrary<SpanContext> =>
  fc.record({ traceId, spanId: hex(16), isRemote: fc.boolean(), traceState })

const anySpan: fc.Arbitrary<Span> = fc
  .record({
    rolloutId: fc.string({ minLength: 1 }),
    attemptId: fc.constantFrom('at-1', 'at-2'),
    sequenceId: fc.nat(),
    traceId: hex(32),
    spanId: hex(16),
    parentId: fc.option(hex(16)),
    name: text,
    status: fc.record({
      statusCode: fc.constantFrom('UNSET' as const, 'OK' as const, 'ERROR' as const),
      description: fc.option(fc.string({ minLength: 1 })),
    }),
    attributes,
    events: fc.array(fc.record({ name: text, attributes, timestamp: fc.option(time) }), { maxLength: 3 }),
    links: fc.array(
      fc.record({
        context: context(hex(32)),
        attributes: fc.option(attributes.filter((own) => Object.keys(own).length > 0)),
      }),
      { maxLength: 2 },
    ),
    startTime: time,
    endTime: time,
    resource: fc.record({ attributes, schemaUrl: fc.constantFrom('', 'https://example.com/1') }),
    traceState: fc.option(traceState),
    remoteParent: fc.option(fc.boolean()),
  })
  .map(({ traceState: state, remoteParent, ...rest }): Span => {
    const { traceId, spanId, parentId } = rest
    const own = state && { traceId, spanId, isRemote: false, traceState: state }
    const parent =
      parentId === null || remoteParent === null
        ? null
        : { traceId, spanId: parentId, isRemote: remoteParent, traceState: own?.traceState ?? {} }
    return { ...rest, context: own, parent }
  })

describe.each(protocols)('a record sent as %s', (protocol) => {
  it('comes back as it was, whatever is in it', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anySpan, { minLength: 1, maxLength: 5 }), async (spans) => {
        const back = await there(spans, protocol)
        const sorted = (list: readonly Span[]): Span[] =>
          [...list].sort((a, b) => (whole(a) < whole(b) ? -1 : 1))
        expect(sorted(back)).toEqual(sorted(spans))
      }),
      { numRuns: 300 },
    )
  })

  it('keeps the order of a rollout, also where attempts and resources change', async () => {
    const resources = ['a', 'b'].map((name) => ({ attributes: { name }, schemaUrl: '' }))
    const spans = Array.from({ length: 60 }, (_, i) =>
      other(
        {},
        {
          name: `n${i}`,
          rolloutId: `ro-${i % 3}`,
          attemptId: `at-${i % 5 > 1}`,
          resource: { ...span().resource, ...resources[i % 7 > 3 ? 1 : 0] },
        },
      ),
    )
    const back = await there(spans, protocol)
    const names = (list: readonly Span[], rollout: string): string[] =>
      list.filter(({ rolloutId }) => rolloutId === rollout).map(({ name }) => name)
    for (const rollout of ['ro-0', 'ro-1', 'ro-2'])
      expect(names(back, rollout)).toEqual(names(spans, rollout))
  })

  it('keeps token ids, which are Int32Array again', async () => {
    const ids = Int32Array.from({ length: 32_768 }, (_, i) => (i * 7919) % 200_000)
    ids.set([0, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455, 268_435_456, 2 ** 31 - 1, -1])
    const given = span({
      attributes: {
        prompt_token_ids: ids,
        response_token_ids: new Int32Array(),
        other: [...ids.subarray(0, 20)],
      },
    })
    const [back] = await there([given], protocol)
    expect(back).toEqual(given)
  })

  it('keeps times of seconds to the last bit', async () => {
    await fc.assert(
      fc.asyncProperty(time, async (startTime) => {
        const [back] = await there([span({ startTime })], protocol)
        expect(back?.startTime).toBe(startTime)
      }),
      { numRuns: 1000 },
    )
  })

  it('keeps times until 2554', async () => {
    const given = [
      span({ startTime: 9_999_999_999.5, endTime: 10_000_000_000 }),
      span({ startTime: 18_000_000_000, endTime: 18_446_744_072 }),
    ]
    const { body, contentType, refused } = encodeTraces(given, { protocol })
    expect(refused).toEqual([])
    const { spans, reasons } = await decodeTraces(body, { contentType })
    expect(reasons).toEqual([])
    const times = (list: readonly Span[]) => list.map(({ startTime, endTime }) => [startTime, endTime])
    expect(times(spans)).toEqual(times(given))
  })

  it('tells whole numbers from fractions, and the zeros apart', async () => {
    const given = span({
      attributes: { a: 1, b: 1.5, c: -0, d: -7, e: [1, 2], f: [1, 2.5], g: 2 ** 60, h: -(2 ** 53) + 1 },
    })
    const [back] = await there([given], protocol)
    expect(back).toEqual(given)
    expect(Object.is(back?.attributes['c'], -0)).toBe(true)
  })
})

function whole(one: Span): string {
  return JSON.stringify(one)
}

it.each(['18446744073709551616', '99999999999999999999', '1e9', '-1'])(
  'no time is read from %s',
  async (time) => {
    const { body, contentType } = encodeTraces([span({ startTime: 7, endTime: 8 })], { protocol: 'json' })
    const text = Buffer.from(body).toString().replace('"7000000000"', `"${time}"`)
    const { spans, reasons } = await decodeTraces(Buffer.from(text), { contentType })
    expect(spans).toEqual([])
    expect(reasons).toEqual(['"startTimeUnixNano" is no time'])
  },
)
