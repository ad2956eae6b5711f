import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { spanToJSON, type Attributes, type Span } from '@agl/core'
import { decodeTraces, encodeTraces } from '@agl/otlp'
import { seeded } from '../src/programs.ts'
import { startPython, type PythonProgram } from '../src/python.ts'

const SPANS = 500

let python: PythonProgram
let store: string

beforeAll(async () => {
  python = await startPython('agentlightning', 'store.py')
  store = String(fields(python.hello)['url'])
}, 20 * 60_000)

afterAll(() => python?.[Symbol.asyncDispose]())

function fields(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null) throw new Error('Python answered with something else.')
  return { ...value }
}

async function begin(): Promise<{ rolloutId: string; attemptId: string }> {
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(`${store}/v1/agl/rollouts`, { method: 'POST', headers, body: '{"input":1}' })
  const { rollout_id: rolloutId, attempt } = fields(await response.json())
  return { rolloutId: String(rolloutId), attemptId: String(fields(attempt)['attempt_id']) }
}

async function send(body: Uint8Array, headers: Record<string, string>): Promise<number> {
  const { status } = await fetch(`${store}/v1/traces`, { method: 'POST', headers, body })
  return status
}

async function held(rolloutId: string): Promise<Record<string, unknown>[]> {
  const response = await fetch(`${store}/v1/agl/spans?rollout_id=${rolloutId}`)
  const { items } = fields(await response.json())
  return Array.isArray(items) ? items.map(fields) : []
}

describe('the spans that we write', () => {
  it('are what the real store then holds', async () => {
    const ids = await begin()
    const spans = Array.from({ length: SPANS }, (_, i) => made(i + 1, ids))
    const { body, contentType, refused } = encodeTraces(spans, { sequenceIds: true })
    expect(refused).toEqual([])
    expect(await send(body, { 'content-type': contentType })).toBe(200)
    const expected = spans.map((span) => {
      const { resource, attributes, context: _, ...rest } = spanToJSON(span)
      const { traceId: trace_id, spanId: span_id } = span
      return {
        ...rest,
        attributes: { ...attributes, 'agentlightning.span_sequence_id': span.sequenceId },
        resource: {
          ...resource,
          attributes: {
            ...resource.attributes,
            'agentlightning.rollout_id': ids.rolloutId,
            'agentlightning.attempt_id': ids.attemptId,
          },
        },
        context: { trace_id, span_id, is_remote: false, trace_state: {} },
      }
    })
    expect(await held(ids.rolloutId)).toEqual(expected)
  })

  it('are numbered by the store in their order, and counted once when they come twice', async () => {
    const ids = await begin()
    const spans = Array.from({ length: 50 }, (_, i) => made(50 - i, ids))
    const { body, contentType } = encodeTraces(spans)
    for (let i = 0; i < 2; i++) expect(await send(body, { 'content-type': contentType })).toBe(200)
    const numbered = (await held(ids.rolloutId)).map(({ span_id: spanId, sequence_id: number }) => [
      spanId,
      number,
    ])
    expect(numbered).toEqual(spans.map(({ spanId }, i) => [spanId, i + 1]))
  })
})

describe("the spans that OpenTelemetry's Python exporter writes", () => {
  let server: Server
  let exporter: PythonProgram
  const got: { body: Uint8Array; headers: Record<string, string> }[] = []

  beforeAll(async () => {
    server = createServer((request, response) => {
      void request.toArray().then((chunks) => {
        const { 'content-type': type = '', 'content-encoding': encoding } = request.headers
        const headers = {
          'content-type': type,
          ...(encoding !== undefined && { 'content-encoding': encoding }),
        }
        got.push({ body: Buffer.concat(chunks), headers })
        response.end()
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    exporter = await startPython('agentlightning', 'exporter.py')
  }, 120_000)

  afterAll(async () => {
    await exporter?.[Symbol.asyncDispose]()
    server?.close()
  })

  it.each([false, true])('are read as the real store reads the same bytes (gzip: %s)', async (gzip) => {
    const { rolloutId, attemptId } = await begin()
    const { port } = server.address() as AddressInfo
    const url = `http://127.0.0.1:${port}/v1/traces`
    got.length = 0
    await exporter.ask({ url, gzip, rollout_id: rolloutId, attempt_id: attemptId })
    const ours: Span[] = []
    for (const { body, headers } of got) {
      expect(await send(body, headers)).toBe(200)
      const options = { contentType: headers['content-type'], contentEncoding: headers['content-encoding'] }
      const { spans, rejected } = await decodeTraces(body, options)
      expect(rejected).toBe(0)
      ours.push(...spans)
    }
    const theirs = await held(rolloutId)
    expect(theirs).toHaveLength(3)
    const byId = new Map(theirs.map((span) => [span['span_id'], span]))
    const numbered = ours.map((span) => {
      const number = byId.get(span.spanId)?.['sequence_id']
      return spanToJSON({ ...span, sequenceId: span.sequenceId < 0 ? Number(number) : span.sequenceId })
    })
    expect(numbered).toEqual(ours.map(({ spanId }) => byId.get(spanId)))
  })
})

/** A span made up from a seed, with all that a record can have. */
function made(seed: number, ids: { rolloutId: string; attemptId: string }): Span {
  const random = seeded(seed)
  const upTo = (count: number): number => Math.floor(random() * count)
  const hex = (digits: number): string =>
    Array.from({ length: digits }, () => (1 + upTo(15)).toString(16)).join('')
  const list = <T>(item: () => T): T[] => Array.from({ length: upTo(4) }, item)
  const text = (): string =>
    ['', 'plain', 'ünïcödé 🎉', 'line\nbreak', '\0', 'x'.repeat(upTo(500))][upTo(6)] ?? ''
  const float = (): number => (random() - 0.5) * 10 ** upTo(20)
  const whole = (): number => (upTo(2) === 0 ? 1 : -1) * upTo(2 ** (1 + upTo(52)))
  const values = [
    text,
    float,
    whole,
    () => random() < 0.5,
    () => list(text),
    () => list(float),
    () => list(whole),
    () => list(() => random() < 0.5),
  ] as const
  const attributes = (): Attributes =>
    Object.fromEntries(list(() => [`key.${text()}`, (values[upTo(values.length)] ?? text)()]))
  const time = (): number => 1_600_000_000 + random() * 300_000_000
  return {
    ...ids,
    sequenceId: seed,
    traceId: hex(32),
    spanId: hex(16),
    parentId: random() < 0.5 ? hex(16) : null,
    name: text(),
    status: {
      statusCode: (['UNSET', 'OK', 'ERROR'] as const)[upTo(3)] ?? 'OK',
      description: random() < 0.5 ? 'why' : null,
    },
    attributes: {
      ...attributes(),
      prompt_token_ids: Int32Array.from({ length: upTo(300) }, () => upTo(200_000)),
      'agentlightning.reward.0.name': 'primary',
      'agentlightning.reward.0.value': upTo(3),
    },
    events: list(() => ({ name: text(), attributes: attributes(), timestamp: time() })),
    links: list(() => ({
      context: { traceId: hex(32), spanId: hex(16), isRemote: false, traceState: {} },
      attributes: { why: text() },
    })),
    startTime: time(),
    endTime: time(),
    context: null,
    parent: null,
    resource: { attributes: attributes(), schemaUrl: random() < 0.5 ? '' : 'https://example.com/schema' },
  }
}
