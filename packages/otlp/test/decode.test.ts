import { deflateSync, gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { decodeTraces, encodeTraces, failureResponse, tracesResponse, type Protocol } from '@agl/otlp'
import { other, span } from './spans.ts'

const protocols: readonly Protocol[] = ['protobuf', 'json']
const protobuf = { contentType: 'application/x-protobuf' }
const json = { contentType: 'application/json' }
const type = { protobuf, json }

function text(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value))
}

/** A request in JSON around spans. */
function request(spans: unknown, resource: unknown[] = []): Uint8Array {
  return text({ resourceSpans: [{ resource: { attributes: resource }, scopeSpans: [{ spans }] }] })
}

/** In four bytes, which is longer than need be and allowed. */
function length({ length: size }: Buffer): Buffer {
  return Buffer.of((size & 127) | 128, ((size >> 7) & 127) | 128, ((size >> 14) & 127) | 128, size >> 21)
}

const ids = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331' }

describe.each(protocols)('a body in %s', (protocol) => {
  const spans = Array.from({ length: 1000 }, (_, i) =>
    other({ i, text: 'words '.repeat(10) }, { name: `n${i}` }),
  )
  const { body } = encodeTraces(spans, { protocol })

  it('that is cut off anywhere is an error, not a part of it', async () => {
    const { body: small } = encodeTraces(spans.slice(0, 3), { protocol })
    for (let end = 1; end < small.length; end++) {
      const cut = decodeTraces(small.subarray(0, end), type[protocol])
      await expect(cut).rejects.toMatchObject({ name: 'AglError', code: 'body_invalid' })
    }
  })

  it('that is empty holds no spans', async () => {
    expect((await decodeTraces(new Uint8Array(), type[protocol])).spans).toEqual([])
  })

  it('that is noise is an error or nothing, and never anything else', async () => {
    let state = 7
    const noise = Uint8Array.from(
      { length: 1500 },
      () => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) >>> 24,
    )
    for (let start = 0; start < 2900; start += 7) {
      const [outcome] = await Promise.allSettled([
        decodeTraces(noise.subarray(start, start + 100), type[protocol]),
      ])
      const refused = outcome.status === 'rejected' && outcome.reason?.code === 'body_invalid'
      expect(refused || (outcome.status === 'fulfilled' && outcome.value.spans.length === 0)).toBe(true)
    }
  })

  it('that has any of its bytes changed never fails but by an AglError', async () => {
    const { body: small } = encodeTraces(spans.slice(0, 3), { protocol })
    for (let at = 0; at < small.length; at++) {
      const changed = Uint8Array.from(small)
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8))
      const [outcome] = await Promise.allSettled([decodeTraces(changed, type[protocol])])
      expect(outcome.status === 'fulfilled' || outcome.reason?.code === 'body_invalid').toBe(true)
    }
  })

  it.each(['gzip', 'deflate'] as const)('is read through %s', async (contentEncoding) => {
    const packed = contentEncoding === 'gzip' ? gzipSync(body) : deflateSync(body)
    const decoded = await decodeTraces(packed, { ...type[protocol], contentEncoding })
    expect(decoded.spans).toHaveLength(1000)
  })

  it('that says gzip and is none, or is cut off, is an error', async () => {
    const packed = gzipSync(body)
    for (const bad of [body, packed.subarray(0, packed.length - 10), new Uint8Array(20)]) {
      const decoded = decodeTraces(bad, { ...type[protocol], contentEncoding: 'gzip' })
      await expect(decoded).rejects.toMatchObject({ code: 'body_invalid' })
    }
  })

  it('of 50 MB is too large where less is allowed, and read where more is', async () => {
    const large = other({ text: 'x'.repeat(50 * 1024 * 1024) })
    const { body: bytes } = encodeTraces([large], { protocol })
    await expect(decodeTraces(bytes, { ...type[protocol], maxBytes: 10_000_000 })).rejects.toMatchObject({
      code: 'body_too_large',
    })
    const decoded = await decodeTraces(bytes, type[protocol])
    expect(decoded.spans[0]?.attributes['text']).toHaveLength(50 * 1024 * 1024)
  })

  it('that is small and would inflate to a gigabyte is too large, before it has', async () => {
    const bomb = gzipSync(Buffer.alloc(256 * 1024 * 1024), { level: 9 })
    expect(bomb.length).toBeLessThan(300_000)
    const before = process.memoryUsage().arrayBuffers
    const decoded = decodeTraces(bomb, { ...type[protocol], contentEncoding: 'gzip', maxBytes: 4_000_000 })
    await expect(decoded).rejects.toMatchObject({ code: 'body_too_large' })
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * 1024 * 1024)
  })

  it('lets others have their turn while it is read', async () => {
    const { body: large } = encodeTraces(
      Array.from({ length: 1500 }, () =>
        other({ text: 'y'.repeat(20_000), ids: Array.from({ length: 50 }, (_, i) => i) }),
      ),
      { protocol },
    )
    let turns = 0
    const timer = setInterval(() => turns++, 1)
    await decodeTraces(large, type[protocol])
    clearInterval(timer)
    expect(turns).toBeGreaterThan(0)
  })
})

describe('one bad span among a thousand', () => {
  it('costs itself alone in protobuf, and the answer says so', async () => {
    const spans = Array.from({ length: 1000 }, (_, i) => other({ i }))
    const { body } = encodeTraces(spans)
    // The length of the 500th span's name says that the name ends behind the span.
    const bytes = Buffer.from(body)
    const at = bytes.indexOf(Buffer.from(spans[499]?.spanId ?? '', 'hex'))
    const name = bytes.indexOf(Buffer.from('work'), at)
    bytes[name - 1] = 0x7f
    const decoded = await decodeTraces(bytes, protobuf)
    expect(decoded).toMatchObject({ rejected: 1, reasons: ['it is cut off'] })
    expect(decoded.spans).toEqual(spans.toSpliced(499, 1).map((one) => ({ ...one, sequenceId: -1 })))
    const { status, body: answer } = tracesResponse('protobuf', decoded)
    expect(status).toBe(200)
    expect(Buffer.from(answer).toString('latin1')).toContain('it is cut off')
  })

  it('costs itself alone in JSON, and the answer says so', async () => {
    const spans: object[] = Array.from({ length: 1000 }, (_, i) => ({
      ...ids,
      spanId: (i + 1).toString(16).padStart(16, '0'),
      name: 'n',
    }))
    spans[499] = { ...ids, name: 7 }
    const decoded = await decodeTraces(request(spans), json)
    expect(decoded.spans).toHaveLength(999)
    const { body } = tracesResponse('json', decoded)
    expect(JSON.parse(Buffer.from(body).toString())).toEqual({
      partialSuccess: { rejectedSpans: '1', errorMessage: '"name" is not a text' },
    })
  })

  it('is told of at most ten times, and counted always', async () => {
    const decoded = await decodeTraces(request(Array.from({ length: 50 }, () => ({}))), json)
    expect(decoded.rejected).toBe(50)
    expect(decoded.reasons).toHaveLength(10)
  })
})

describe('OTLP of other writers', () => {
  it('has ids in hex or in base64', async () => {
    const base64 = (hex: string): string => Buffer.from(hex, 'hex').toString('base64')
    const decoded = await decodeTraces(
      request([
        { traceId: ids.traceId.toUpperCase(), spanId: ids.spanId },
        {
          traceId: base64(ids.traceId),
          spanId: base64(ids.spanId),
          parentSpanId: base64('00f067aa0ba902b7'),
        },
      ]),
      json,
    )
    expect(decoded.spans).toMatchObject([ids, { ...ids, parentId: '00f067aa0ba902b7' }])
  })

  it('has 64-bit integers as texts or numbers, and enums by name', async () => {
    const attributes = [
      { key: 'a', value: { intValue: '-9007199254740991' } },
      { key: 'b', value: { intValue: 42 } },
      { key: 'c', value: { doubleValue: 'NaN' } },
      { key: 'd', value: { doubleValue: 3 } },
    ]
    const times = { startTimeUnixNano: '1790000000250000000', endTimeUnixNano: 1790000001000000000 }
    const decoded = await decodeTraces(
      request([{ ...ids, ...times, attributes, status: { code: 'STATUS_CODE_ERROR' } }]),
      json,
    )
    expect(decoded.spans).toMatchObject([
      {
        attributes: { a: -9007199254740991, b: 42, c: 'NaN', d: 3 },
        startTime: 1_790_000_000.25,
        endTime: 1_790_000_001,
        status: { statusCode: 'ERROR', description: null },
      },
    ])
  })

  it('has values that the record has not: they become the nearest that it has', async () => {
    const attributes = [
      { key: 'bytes', value: { bytesValue: 'AQL/' } },
      {
        key: 'map',
        value: { kvlistValue: { values: [{ key: 'k', value: { arrayValue: { values: [{}] } } }] } },
      },
      { key: 'mixed', value: { arrayValue: { values: [{ stringValue: 'x' }, { intValue: '1' }] } } },
      { key: 'none', value: {} },
      { key: 'absent' },
    ]
    const decoded = await decodeTraces(request([{ ...ids, attributes }]), json)
    expect(decoded.spans[0]?.attributes).toEqual({ bytes: '0102ff', map: '{"k": [null]}', mixed: '["x", 1]' })
  })

  it('has fields that are not known here: they do not matter', async () => {
    const decoded = await decodeTraces(
      request([{ ...ids, name: 'n', tomorrow: [1], droppedLinksCount: 3 }]),
      json,
    )
    expect(decoded.spans).toMatchObject([{ name: 'n' }])
    const known = encodeTraces([span()]).body
    const unknown = Uint8Array.of(0xfa, 0x3f, 3, 1, 2, 3, 0x80, 0x08, 5)
    const bytes = Buffer.concat([unknown, known, unknown])
    expect((await decodeTraces(bytes, protobuf)).spans).toHaveLength(1)
  })

  it('has its ids on the resource or on the span, which wins', async () => {
    const id = (key: string, stringValue: string): unknown => ({
      key: `agentlightning.${key}`,
      value: { stringValue },
    })
    const decoded = await decodeTraces(
      request(
        [{ ...ids }, { ...ids, attributes: [id('rollout_id', 'ro-b'), id('span_sequence_id', 'seven')] }],
        [id('rollout_id', 'ro-a'), id('attempt_id', 'at-a'), id('span_sequence_id', '3')],
      ),
      json,
    )
    expect(decoded.spans).toMatchObject([
      { rolloutId: 'ro-a', attemptId: 'at-a', sequenceId: 3 },
      { rolloutId: 'ro-b', attemptId: 'at-a', sequenceId: -1 },
    ])
    expect(decoded.spans[0]?.resource.attributes).toHaveProperty(['agentlightning.rollout_id'], 'ro-a')
  })

  it('nests values without end: the span is refused, the process lives', async () => {
    for (const depth of [200, 5000, 100_000]) {
      const value = `${'{"arrayValue":{"values":['.repeat(depth)}{}${']}}'.repeat(depth)}`
      const spans = `{"traceId":"${ids.traceId}","spanId":"${ids.spanId}","attributes":[{"key":"deep","value":${value}}]}`
      const body = Buffer.from(
        `{"resourceSpans":[{"scopeSpans":[{"spans":[${spans},${JSON.stringify(ids)}]}]}]}`,
      )
      expect(await decodeTraces(body, json)).toMatchObject({ rejected: 1, spans: [ids] })
    }
    const around = (tag: number, inner: Buffer): Buffer =>
      Buffer.concat([Buffer.of(tag), length(inner), inner])
    let value: Buffer = Buffer.alloc(0)
    for (let i = 0; i < 5000; i++) value = around(10, around(42, value))
    const attribute = Buffer.concat([around(10, Buffer.from('deep')), around(18, value.subarray(2))])
    const start = [around(10, Buffer.from(ids.traceId, 'hex')), around(18, Buffer.from(ids.spanId, 'hex'))]
    const bad = around(18, Buffer.concat([...start, around(74, attribute)]))
    const body = around(10, around(18, Buffer.concat([bad, around(18, Buffer.concat(start))])))
    expect(await decodeTraces(body, protobuf)).toMatchObject({ rejected: 1, spans: [ids] })
  })

  it('in JSON is UTF-8, and nothing else is taken for text', async () => {
    const body = { resourceSpans: [{ scopeSpans: [{ spans: [], schemaUrl: '½' }] }] }
    const contentType = 'application/json'
    const decode = (encoding: BufferEncoding): Promise<unknown> =>
      decodeTraces(Buffer.from(JSON.stringify(body), encoding), { contentType })
    await expect(decode('utf8')).resolves.toMatchObject({ spans: [] })
    await expect(decode('latin1')).rejects.toMatchObject({ code: 'body_invalid' })
  })

  it('says what it is, or is refused', async () => {
    for (const contentType of [undefined, null, 'text/plain', 'application/json-seq']) {
      await expect(decodeTraces(request([]), { contentType })).rejects.toMatchObject({ code: 'body_invalid' })
    }
    expect(await decodeTraces(request([]), { contentType: 'Application/JSON; charset=utf-8' })).toMatchObject(
      { spans: [] },
    )
    await expect(decodeTraces(request([]), { ...json, contentEncoding: 'br' })).rejects.toMatchObject({
      code: 'body_invalid',
    })
  })
})

describe('failureResponse', () => {
  it('is 400 or 413 with the reason in the encoding of the request, and 500 without', async () => {
    const refusal = (maxBytes: number): Promise<unknown> =>
      decodeTraces(text('nothing'), { ...json, maxBytes }).catch((error: unknown) => error)
    const bad = failureResponse('json', await refusal(100))
    expect(bad).toMatchObject({ status: 400, contentType: 'application/json' })
    expect(JSON.parse(Buffer.from(bad.body).toString())).toHaveProperty('message')
    expect(failureResponse('protobuf', await refusal(1))).toMatchObject({ status: 413 })
    const own = failureResponse('json', new Error('disk full at /secret'))
    expect(own.status).toBe(500)
    expect(Buffer.from(own.body).toString()).not.toContain('secret')
  })
})
