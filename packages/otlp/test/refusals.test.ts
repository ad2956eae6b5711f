import { describe, expect, it } from 'vitest'
import type { Attributes, Span } from '@agl/core'
import { decodeTraces, encodeTraces, type Protocol } from '@agl/otlp'
import { other, span } from './spans.ts'

const protocols: readonly Protocol[] = ['protobuf', 'json']

const ids = (spans: readonly Span[]): string[] => spans.map(({ spanId }) => spanId)

/** What only a program without types can put there. */
function untyped(json: string): Attributes {
  return JSON.parse(json)
}

describe.each(protocols)('encodeTraces in %s', (protocol) => {
  it('leaves out spans that OTLP cannot say, and says why', async () => {
    const good = [other({ a: 1 }), other({ b: 'x' })]
    const bad = [
      span({ spanId: 'l1' }),
      span({ traceId: 'x'.repeat(32) }),
      span({ parentId: '12' }),
      span({ startTime: Number.NaN }),
      span({ endTime: -1 }),
      span({ attributes: untyped('{"a": null}') }),
      span({ attributes: untyped('{"a": {"b": 1}}') }),
      span({ attributes: untyped('{"a": [1, "x"]}') }),
      span({ attributes: untyped('{"a": [null]}') }),
    ]
    const { body, contentType, refused } = encodeTraces([good[0] ?? span(), ...bad, good[1] ?? span()], {
      protocol,
    })
    expect(refused.map(({ reason }) => reason)).toMatchInlineSnapshot(`
      [
        "an id is not 16 hex digits",
        "an id is not 32 hex digits",
        "an id is not 16 hex digits",
        "a time is not between 1970 and 2554",
        "a time is not between 1970 and 2554",
        "its attribute "a" is neither a text, number or boolean nor a list of one of them",
        "its attribute "a" is neither a text, number or boolean nor a list of one of them",
        "its attribute "a" is neither a text, number or boolean nor a list of one of them",
        "its attribute "a" is neither a text, number or boolean nor a list of one of them",
      ]
    `)
    const { spans } = await decodeTraces(body, { contentType })
    expect(spans).toEqual(good.map((one) => ({ ...one, sequenceId: -1 })))
  })

  it('leaves out those whose resource cannot be said', async () => {
    const broken = span({ resource: { attributes: untyped('{"a": null}'), schemaUrl: '' } })
    const { body, contentType, refused } = encodeTraces([broken, other(), broken], { protocol })
    expect(refused).toHaveLength(2)
    expect((await decodeTraces(body, { contentType })).spans).toHaveLength(1)
  })

  it('throws for no span, whatever it is, and takes the others', async () => {
    const odd: unknown[] = [
      null,
      7,
      {},
      { ...span(), resource: undefined },
      { ...span(), resource: { attributes: { a: 1n }, schemaUrl: '' } },
      { ...span(), resource: { attributes: {}, schemaUrl: null } },
      { ...span(), rolloutId: 1n },
      { ...span(), attributes: null },
      {
        ...span(),
        attributes: new Proxy(
          {},
          {
            ownKeys: () => {
              throw new Error('no')
            },
          },
        ),
      },
      { ...span(), attributes: { a: 1n } },
      { ...span(), status: { statusCode: 'OK', description: 7n } },
      {
        ...span(),
        get spanId() {
          throw new Error('no')
        },
      },
      {
        ...span(),
        get rolloutId() {
          throw Object.create(null)
        },
      },
    ]
    const good = [other(), other()]
    const given = [good[0], ...odd, good[1]]
    const { body, contentType, refused } = Reflect.apply(encodeTraces, undefined, [given, { protocol }])
    expect(refused).toHaveLength(odd.length)
    const { spans } = await decodeTraces(body, { contentType })
    expect(ids(spans)).toEqual(ids(good))
  })

  it('makes texts of numbers that JSON has not, as the core does', async () => {
    const given = span({ attributes: { a: Number.NaN, b: [1, Number.NEGATIVE_INFINITY] } })
    const { body, contentType } = encodeTraces([given], { protocol })
    const { spans } = await decodeTraces(body, { contentType })
    expect(spans[0]?.attributes).toEqual({ a: 'NaN', b: ['1', '-Infinity'] })
  })

  it("does not let a span's attributes send it elsewhere", async () => {
    const given = span({ attributes: { 'agentlightning.rollout_id': 'ro-other', a: 1 } })
    const { body, contentType } = encodeTraces([given], { protocol })
    const { spans } = await decodeTraces(body, { contentType })
    expect(spans[0]).toMatchObject({ rolloutId: 'ro-1', attributes: { a: 1 } })
  })

  it('sends rewards as floats, which they are in Python', () => {
    const given = span({ attributes: { 'agentlightning.reward.0.value': 1, other: 1 } })
    const { body } = encodeTraces([given], { protocol })
    const text = Buffer.from(body).toString('latin1')
    const double = protocol === 'json' ? '{"doubleValue":1}' : `\x21\0\0\0\0\0\0\xf0\x3f`
    expect(text.split(double)).toHaveLength(2)
  })
})
