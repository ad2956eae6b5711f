import { gzipSync } from 'node:zlib'
import type { Span } from '@agl/core'
import { encodeTraces } from '@agl/otlp'
import { describe, expect, it } from 'vitest'
import { type Answer, type Served, served } from './served.ts'
import { llmSpan, stored } from './spans.ts'

const MEBIBYTE = 1024 * 1024

async function started(server: Served): Promise<{ rolloutId: string; attemptId: string }> {
  const { rolloutId, attempt } = await server.store.startRollout({ input: 1 })
  return { rolloutId, attemptId: attempt.attemptId }
}

async function send(
  { post }: Served,
  body: Uint8Array,
  headers: Record<string, string> = {},
  path = '/v1/traces',
): Promise<Answer> {
  return post(path, undefined, {
    body: Buffer.from(body),
    headers: { 'content-type': 'application/x-protobuf', ...headers },
  })
}

async function names({ store }: Served, rolloutId: string): Promise<[string, number][]> {
  const { items } = await store.querySpans({ rolloutId })
  return items.map(({ name, sequenceId }) => [name, sequenceId])
}

const encode = (spans: readonly Span[], sequenceIds = false): Uint8Array =>
  encodeTraces(spans, { sequenceIds }).body

describe('OTLP at /v1/traces', () => {
  it('takes protobuf, numbers the spans and answers with nothing', async () => {
    const server = await served()
    const ids = await started(server)
    const span = llmSpan({ ...ids, name: 'a' })
    const answer = await send(server, encode([span, llmSpan({ ...ids, name: 'b' })]))
    expect(answer).toMatchObject({ status: 200, body: '' })
    expect(answer.headers.get('content-type')).toBe('application/x-protobuf')
    expect(await names(server, ids.rolloutId)).toEqual([
      ['a', 1],
      ['b', 2],
    ])
    const { items } = await server.store.querySpans({ rolloutId: ids.rolloutId, name: 'a' })
    expect(items).toEqual([stored(span, 1)])
  })

  it('takes JSON, gzip, and content types with parameters', async () => {
    const server = await served()
    const ids = await started(server)
    const { body } = encodeTraces([llmSpan({ ...ids, name: 'json' })], { protocol: 'json' })
    expect(await send(server, body, { 'content-type': 'application/json' })).toMatchObject({
      status: 200,
      body: {},
    })
    const zipped = gzipSync(encode([llmSpan({ ...ids, name: 'gzip' })]))
    const headers = { 'content-encoding': 'gzip', 'content-type': 'application/x-protobuf; charset=utf-8' }
    expect(await send(server, zipped, headers)).toMatchObject({ status: 200 })
    expect(await names(server, ids.rolloutId)).toEqual([
      ['json', 1],
      ['gzip', 2],
    ])
  })

  it('keeps given sequence ids and goes on after the highest', async () => {
    const server = await served()
    const ids = await started(server)
    const spans = [5, 0, 5].map((sequenceId) => llmSpan({ ...ids, sequenceId, name: `s${sequenceId}` }))
    await send(server, encode(spans, true))
    await send(server, encode([llmSpan({ ...ids, name: 'next' })]))
    expect(await names(server, ids.rolloutId)).toEqual([
      ['s0', 0],
      ['s5', 5],
      ['s5', 5],
      ['next', 6],
    ])
  })

  it('skips what it has, so that a batch can be sent again', async () => {
    const server = await served()
    const ids = await started(server)
    const body = encode([llmSpan(ids), llmSpan(ids)])
    await send(server, body)
    expect(await send(server, body)).toMatchObject({ status: 200, body: '' })
    expect((await server.store.statistics()).totalSpans).toBe(2)
  })

  it('stores what can be stored, and counts and explains the rest', async () => {
    const server = await served()
    const ids = await started(server)
    const lost = { rolloutId: 'ro-lost', attemptId: 'at-lost' }
    const spans = [llmSpan(ids), llmSpan(lost), llmSpan(lost), llmSpan({ ...ids, name: 'after' })]
    const { body } = encodeTraces(spans, { protocol: 'json' })
    const answer = await send(server, body, { 'content-type': 'application/json' })
    expect(answer).toMatchObject({
      status: 200,
      body: {
        partialSuccess: { rejectedSpans: '2', errorMessage: expect.stringContaining('ro-lost') },
      },
    })
    expect(await names(server, ids.rolloutId)).toHaveLength(2)
  })

  it('says so where nothing can be stored, in a way that nobody tries again', async () => {
    const server = await served()
    const { body } = encodeTraces([llmSpan({ rolloutId: 'ro-lost' })], { protocol: 'json' })
    expect(await send(server, body, { 'content-type': 'application/json' })).toMatchObject({
      status: 400,
      body: { message: expect.stringContaining('ro-lost') },
    })
  })

  it('counts spans without ids', async () => {
    const server = await served()
    const span = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331', name: 'x' }
    const times = { startTimeUnixNano: '1700000000000000000', endTimeUnixNano: '1700000001000000000' }
    const body = JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [{ ...span, ...times }] }] }] })
    expect(await send(server, Buffer.from(body), { 'content-type': 'application/json' })).toMatchObject({
      status: 200,
      body: { partialSuccess: { rejectedSpans: '1' } },
    })
  })

  it('accepts an empty body, and refuses what is no OTLP', async () => {
    const server = await served()
    expect(await send(server, Buffer.alloc(0))).toMatchObject({ status: 200 })
    expect(await send(server, Buffer.from('no protobuf'))).toMatchObject({ status: 400 })
    expect(await send(server, Buffer.from('x'), { 'content-encoding': 'gzip' })).toMatchObject({
      status: 400,
    })
    expect(await send(server, Buffer.from('{}'), { 'content-type': 'text/plain' })).toMatchObject({
      status: 400,
    })
    expect((await server.get('/v1/traces')).status).toBe(405)
  })

  it('does not have metrics, logs and profiles', async () => {
    const server = await served()
    for (const path of ['/v1/metrics', '/v1/logs', '/v1/development/profiles']) {
      expect(await send(server, Buffer.alloc(0), {}, path)).toMatchObject({ status: 501, body: '' })
    }
  })

  it('takes a body of 50 MB', async () => {
    const server = await served()
    const ids = await started(server)
    const text = 'x'.repeat(10 * MEBIBYTE)
    const spans = Array.from({ length: 5 }, () => llmSpan({ ...ids, attributes: { text } }))
    expect(await send(server, encode(spans))).toMatchObject({ status: 200, body: '' })
    expect(await names(server, ids.rolloutId)).toHaveLength(5)
  })

  it.each([
    ['as it is', (text: string) => Buffer.from(text), {}],
    ['zipped to next to nothing', (text: string) => gzipSync(text), { 'content-encoding': 'gzip' }],
  ])('answers 413 to a body that is too large, %s', async (_name, pack, headers) => {
    const server = await served({ maxBodyBytes: MEBIBYTE })
    const large = pack('x'.repeat(2 * MEBIBYTE))
    expect(await send(server, large, headers)).toMatchObject({ status: 413 })
    const json = pack(`{"input":"${'x'.repeat(2 * MEBIBYTE)}"}`)
    const answer = await server.post('rollouts', undefined, {
      body: json,
      headers: { 'content-type': 'application/json', ...headers },
    })
    expect(answer).toMatchObject({ status: 413, body: { detail: expect.stringContaining('1 MB') } })
    expect(await server.get('health')).toMatchObject({ status: 200 })
  })
})
