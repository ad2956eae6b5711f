import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { inspect } from 'node:util'
import { describe, expect, it, vi } from 'vitest'
import { record, start, type Attributes, type Sink, type Span } from '@agl/core'
import { decodeTraces, otlpSink, tracesResponse, type OtlpSinkOptions } from '@agl/otlp'
import { other, span } from './spans.ts'
import { backend, serve, type Got } from './support.ts'

const KEY = 'sk-very-secret-1234'

function sinkTo(url: string, options: Partial<OtlpSinkOptions> = {}): { sink: Sink; warnings: string[] } {
  const warnings: string[] = []
  const sink = otlpSink({
    url,
    headers: { authorization: `Bearer ${KEY}` },
    onWarning: (message) => warnings.push(message),
    ...options,
  })
  return { sink, warnings }
}

async function spansOf({ headers, body }: Got): Promise<Span[]> {
  const decoded = await decodeTraces(body, {
    contentType: headers['content-type'],
    contentEncoding: headers['content-encoding'],
  })
  return decoded.spans
}

/** What only a program without types can do. */
function withVocabulary(url: string, vocabulary: (one: Span) => unknown, more: object): { sink: Sink } {
  return Reflect.apply(sinkTo, undefined, [url, { ...more, vocabulary }])
}

function withHeaders(url: string, headers: () => unknown, more: object = {}): { sink: Sink } {
  return Reflect.apply(sinkTo, undefined, [url, { ...more, headers }])
}

const ids = (spans: readonly Span[]): string[] => spans.map(({ spanId }) => spanId)
const many = (count: number): Span[] => Array.from({ length: count }, (_, i) => other({ i }))

describe('otlpSink', () => {
  it('sends what the tracer records, with headers and resource, and the store is to number it', async () => {
    await using server = await backend()
    const lightning = await start({
      sinks: [otlpSink({ url: server.url, headers: { 'X-Key': KEY }, resource: { team: 'a' } })],
      serviceName: 'tested',
      strict: true,
    })
    const { spans } = await record('run', async () => 1)
    expect(await lightning.flush()).toEqual({ written: spans.length, dropped: 0 })
    await lightning.shutdown()
    expect(ids(server.spans)).toEqual(ids(spans))
    expect(server.spans[0]).toMatchObject({
      rolloutId: spans[0]?.rolloutId,
      sequenceId: -1,
      resource: { attributes: { 'service.name': 'tested', team: 'a' } },
    })
    expect(server.got[0]).toMatchObject({ method: 'POST', path: '/v1/traces', headers: { 'x-key': KEY } })
  })

  it.each([
    ['protobuf', 'none'],
    ['protobuf', 'gzip'],
    ['json', 'gzip'],
    ['json', 'deflate'],
  ] as const)('speaks %s with compression %s', async (protocol, compression) => {
    await using server = await backend()
    const { sink } = sinkTo(server.url, { protocol, compression })
    const spans = many(30)
    expect(await sink.write(spans, [])).toEqual({ dropped: 0 })
    expect(ids(server.spans)).toEqual(ids(spans))
    expect(server.got[0]?.headers['content-encoding']).toBe(compression === 'none' ? undefined : compression)
  })

  it('adds the usual path to an address without one', async () => {
    await using server = await backend()
    const { sink } = sinkTo(new URL(server.url).origin)
    await sink.write(many(1), [])
    expect(server.got[0]?.path).toBe('/v1/traces')
  })

  it('asks for headers before each request where they are a function', async () => {
    await using server = await backend()
    let token = 0
    const { sink } = sinkTo(server.url, { headers: async () => ({ authorization: `Bearer ${++token}` }) })
    await sink.write(many(1), [])
    await sink.write(many(1), [])
    expect(server.got.map(({ headers }) => headers.authorization)).toEqual(['Bearer 1', 'Bearer 2'])
  })

  it('parts large batches, and sends none of them twice when a later part fails', async () => {
    let requests = 0
    await using server = await serve((_, response) => {
      response.statusCode = ++requests === 2 ? 503 : 200
      response.end()
    })
    const { sink } = sinkTo(server.url, { maxBytes: 20_000 })
    const spans = Array.from({ length: 6 }, () => other({ text: 'x'.repeat(9000) }))
    await expect(sink.write(spans, [])).rejects.toMatchObject({ code: 'sink_failed' })
    // The queue brings the batch again, and what came in meanwhile.
    const more = [...spans, ...many(2)]
    expect(await sink.write(more, [])).toEqual({ dropped: 0 })
    const sent = await Promise.all(server.got.map(spansOf))
    const acknowledged = sent.filter((_, i) => i !== 1).flat()
    expect(ids(acknowledged)).toEqual(ids(more))
  })

  it.each([429, 502, 503, 504])('keeps a batch after %i, and delivers it later', async (status) => {
    let requests = 0
    await using server = await serve((_, response) => {
      response.statusCode = ++requests < 3 ? status : 200
      response.end()
    })
    const lightning = await start({ sinks: [sinkTo(server.url).sink], log: 'silent' })
    await record('run', async () => 1)
    await vi.waitFor(async () => expect(await lightning.flush()).toEqual({ written: 1, dropped: 0 }), 5000)
    expect(requests).toBe(3)
    await lightning.shutdown()
  })

  it.each([
    ['seconds', () => '60'],
    ['a date', () => new Date(Date.now() + 60_000).toUTCString()],
  ])('asks nothing of a server before the time that it gave in %s', async (_, after) => {
    await using server = await serve(
      (_got, response) => void response.writeHead(429, { 'retry-after': after() }).end(),
    )
    const { sink } = sinkTo(server.url)
    await expect(sink.write(many(1), [])).rejects.toMatchObject({ code: 'sink_failed' })
    await expect(sink.write(many(1), [])).rejects.toThrow(/left alone for \d\d s/)
    expect(server.got).toHaveLength(1)
  })

  it.each([400, 413, 422, 500])('finds the one bad span for which a store answers %i', async (status) => {
    const taken: Span[] = []
    const bad = other({ bad: true })
    await using server = await serve(async (got, response) => {
      const spans = await spansOf(got)
      const refuse = spans.some(({ spanId }) => spanId === bad.spanId)
      if (!refuse) taken.push(...spans)
      response.writeHead(refuse ? status : 200).end(refuse ? 'no' : undefined)
    })
    const spans = many(256)
    spans[100] = bad
    const { sink, warnings } = sinkTo(server.url)
    expect(await sink.write(spans, [])).toEqual({ dropped: 1 })
    expect(ids(taken)).toEqual(ids(spans.toSpliced(100, 1)))
    expect(server.got.length).toBeLessThan(20)
    expect(warnings).toEqual([expect.stringContaining(`it answers ${status}: no`)])
  })

  it('does not repeat to a backend that counts twice what it answered 500 for', async () => {
    await using server = await serve((_, response) => void response.writeHead(500).end())
    const { sink } = sinkTo(server.url, { vocabulary: 'genai' })
    expect(await sink.write(many(50), [])).toEqual({ dropped: 50 })
    expect(server.got).toHaveLength(1)
  })

  it('gives a server that refuses everything up soon, and counts what is lost', async () => {
    await using server = await serve((_, response) => void response.writeHead(400).end('never'))
    const { sink, warnings } = sinkTo(server.url)
    expect(await sink.write(many(256), [])).toEqual({ dropped: 256 })
    expect(await sink.write(many(256), [])).toEqual({ dropped: 256 })
    expect(server.got.length).toBeLessThan(40)
    expect(warnings).toHaveLength(1)
  })

  it('counts what a server says it did not take', async () => {
    for (const protocol of ['protobuf', 'json'] as const) {
      await using server = await serve((_, response) => {
        const answer = tracesResponse(protocol, { rejected: 3, reasons: [`bad ${KEY}`] })
        response.writeHead(200, { 'content-type': answer.contentType }).end(answer.body)
      })
      const { sink, warnings } = sinkTo(server.url, { protocol })
      expect(await sink.write(many(10), [])).toEqual({ dropped: 3 })
      expect(warnings.join()).toContain('takes some of them only (bad …)')
      expect(server.got).toHaveLength(1)
    }
  })

  it('believes no answer that is more than the spans, or that is none', async () => {
    const answers = [
      '{"partialSuccess":{"rejectedSpans":"99"}}',
      '{"partialSuccess":7}',
      '<html>',
      '[]',
      'null',
      '',
    ]
    await using server = await serve((_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' }).end(answers.shift())
    })
    const { sink } = sinkTo(server.url)
    expect(await sink.write(many(2), [])).toEqual({ dropped: 2 })
    for (let i = 0; i < 5; i++) expect(await sink.write(many(2), [])).toEqual({ dropped: 0 })
  })

  it.each([401, 403])('says once that the key is refused with %i, and never the key', async (status) => {
    await using server = await serve(({ headers }, response) => {
      response.writeHead(status).end(`no such key: ${headers.authorization}`)
    })
    const said = vi.spyOn(console, 'error').mockImplementation(() => {})
    const lightning = await start({
      sinks: [otlpSink({ url: server.url, headers: { authorization: `Bearer ${KEY}` } })],
      log: 'debug',
    })
    for (let i = 0; i < 3; i++) {
      await record('run', async () => 1)
      await lightning.flush()
    }
    expect(await lightning.flush()).toEqual({ written: 0, dropped: 3 })
    await lightning.shutdown()
    const text = said.mock.calls.flat().map(String).join('\n')
    said.mockRestore()
    expect(text.match(/check the key/g)).toHaveLength(1)
    expect(text).not.toContain(KEY)
  })

  it('does not follow to another address, nor takes its page for success', async () => {
    await using elsewhere = await backend()
    await using server = await serve(
      (_, response) => void response.writeHead(302, { location: elsewhere.url }).end(),
    )
    const { sink, warnings } = sinkTo(server.url)
    expect(await sink.write(many(2), [])).toEqual({ dropped: 2 })
    expect(elsewhere.got).toEqual([])
    expect(warnings.join()).toContain('give the final "url"')
  })

  it('keeps spans while nobody listens, and delivers them when somebody does', async () => {
    const probe = createServer().listen(0, '127.0.0.1')
    await once(probe, 'listening')
    const address = probe.address()
    const port = typeof address === 'object' ? address?.port : 0
    await new Promise((resolve) => probe.close(resolve))
    const { sink } = sinkTo(`http://127.0.0.1:${port}/v1/traces`)
    await expect(sink.write(many(2), [])).rejects.toThrow(/cannot be reached \(ECONNREFUSED\)/)
  })

  it('gives up a server that never answers after the time-out, and sends the same ids again', async () => {
    let requests = 0
    await using server = await serve((_, response) => {
      if (++requests > 1) response.end()
    })
    const { sink } = sinkTo(server.url, { timeout: 50 })
    const spans = many(3)
    await expect(sink.write(spans, [])).rejects.toThrow(/not answered within 50 ms/)
    expect(await sink.write(spans, [])).toEqual({ dropped: 0 })
    const [first, second] = server.got
    expect(first?.body).toEqual(second?.body)
  })

  it('reads no endless answer', async () => {
    await using server = await serve((_, response) => {
      response.writeHead(200)
      const timer = setInterval(() => response.write('x'.repeat(50_000)), 1)
      response.on('close', () => clearInterval(timer))
    })
    const { sink } = sinkTo(server.url, { timeout: 60_000 })
    expect(await sink.write(many(1), [])).toEqual({ dropped: 0 })
  })

  it('lets go of a request that hangs when it is closed', async () => {
    await using server = await serve(() => {})
    const { sink } = sinkTo(server.url, { timeout: 60_000 })
    const written = Promise.resolve(sink.write(many(1), [])).catch((error: unknown) => String(error))
    await vi.waitFor(() => expect(server.got).toHaveLength(1))
    await sink.close?.()
    expect(await written).toContain('the sink was closed')
  })

  it('drops a span that cannot be sent, and one that the vocabulary fails on, and sends the others', async () => {
    await using server = await backend()
    const [good, also] = [other(), other({ trouble: true })]
    const { sink, warnings } = sinkTo(server.url, {
      vocabulary: (one) => {
        if (one.attributes['trouble'] === true) throw new Error('oh')
        return one.name === 'private' ? undefined : one
      },
    })
    const batch = [span({ spanId: 'no-hex' }), good, also, other({}, { name: 'private' })]
    expect(await sink.write(batch, [])).toEqual({ dropped: 2 })
    expect(ids(server.spans)).toEqual(ids([good]))
    expect(warnings).toEqual([
      expect.stringContaining('oh'),
      expect.stringContaining('an id is not 16 hex digits'),
    ])
  })

  it.each<[string, (one: Span) => unknown, number]>([
    ['null, which is nothing', () => null, 0],
    ['an object that is no span', () => ({}), 1],
    ['a promise', async (one) => one, 1],
    ['a span without a resource', (one) => ({ ...one, resource: undefined }), 1],
    ['a resource that is no JSON', (one) => ({ ...one, resource: { attributes: { a: 1n } } }), 1],
    ['a span without attributes', (one) => ({ ...one, attributes: undefined }), 1],
  ])('goes on after a vocabulary gave %s', async (_, vocabulary, dropped) => {
    for (const resource of [undefined, { team: 'a' }]) {
      await using server = await backend()
      const { sink } = withVocabulary(server.url, (one) => (one.name === 'odd' ? vocabulary(one) : one), {
        resource,
      })
      const [good, also] = [other(), other()]
      expect(await sink.write([good, other({}, { name: 'odd' }), also], [])).toEqual({ dropped })
      expect(ids(server.spans)).toEqual(ids([good, also]))
    }
  })

  it('goes on after somebody who was to be warned failed', async () => {
    await using server = await backend()
    const { sink } = sinkTo(server.url, {
      onWarning: () => {
        throw new Error('not now')
      },
    })
    const good = other()
    expect(await sink.write([span({ spanId: 'no-hex' }), good], [])).toEqual({ dropped: 1 })
    expect(ids(server.spans)).toEqual(ids([good]))
  })

  it('keeps to the resource that it was given', async () => {
    await using server = await backend()
    const none = JSON.parse('{}')
    const resource: Attributes = { team: 'a', ports: Int32Array.of(1), tags: ['x'], ...none }
    const { sink } = sinkTo(server.url, { resource })
    Object.assign(resource, { team: 1n })
    expect(await sink.write(many(1), [])).toEqual({ dropped: 0 })
    expect(server.spans[0]?.resource.attributes).toMatchObject({ team: 'a', ports: [1], tags: ['x'] })
  })

  it.each([
    ['an unknown vocabulary', { vocabulary: 'openinfernce' }, /"vocabulary".*agentlightning.*openinference/],
    ['a vocabulary that objects inherit', { vocabulary: 'constructor' }, /"vocabulary"/],
    ['no vocabulary', { vocabulary: null }, /"vocabulary"/],
    ['an unknown protocol', { protocol: 'grpc' }, /"protocol".*protobuf, json/],
    ['an unknown compression', { compression: 'br' }, /"compression".*none, gzip, deflate/],
    ['a resource with a BigInt', { resource: { build: 1n } }, /"build"/],
    ['a resource with a date', { resource: { built: new Date() } }, /"built"/],
    ['a resource with a mixed list', { resource: { tags: [1, 'a'] } }, /"tags"/],
    ['a resource that is none', { resource: 'team' }, /"resource"/],
    ['a time-out that is no time', { timeout: Number.NaN }, /"timeout"/],
    ['a size that is none', { maxBytes: '4 MB' }, /"maxBytes"/],
  ])('refuses %s', (_, options, message) => {
    const attempt = (): unknown =>
      Reflect.apply(otlpSink, undefined, [{ url: 'http://127.0.0.1/', ...options }])
    expect(attempt).toThrow(message)
    expect(attempt).toThrow(expect.objectContaining({ code: 'config_invalid' }))
  })

  it.each<[string, () => unknown]>([
    [
      'throws',
      () => {
        throw new RangeError(`the vault refuses ${KEY}`)
      },
    ],
    ['rejects with a text', () => Promise.reject(KEY)],
    [
      'throws what has a name of its own',
      () => {
        throw Object.assign(new Error('x'), { name: KEY })
      },
    ],
    ['gives nothing', () => null],
    ['gives a header that is none', () => ({ 'x-key': null, 'x-other': `${KEY}\n` })],
    ['gives a text', () => KEY],
  ])('waits while the function for headers %s, and does not show what it said', async (_, headers) => {
    await using server = await backend()
    const { sink } = withHeaders(server.url, headers)
    const outcome = await Promise.resolve(sink.write(many(1), [])).catch((error: unknown) => error)
    expect(outcome).toMatchObject({ code: 'sink_failed', message: expect.stringContaining('header') })
    expect(inspect(outcome)).not.toContain(KEY)
    expect(server.got).toEqual([])
  })

  it('waits for headers no longer than for a server', async () => {
    await using server = await backend()
    const answers = [new Promise<never>(() => {}), { 'x-key': KEY }]
    const { sink } = withHeaders(server.url, () => answers.shift(), { timeout: 50 })
    const spans = many(1)
    await expect(sink.write(spans, [])).rejects.toThrow('"headers" has not given them within 50 ms')
    expect(await sink.write(spans, [])).toEqual({ dropped: 0 })
    expect(server.got).toMatchObject([{ headers: { 'x-key': KEY } }])
  })

  it('lets go of headers that never come when it is closed', async () => {
    await using server = await backend()
    const asked = vi.fn<() => Promise<never>>(() => new Promise(() => {}))
    const { sink } = withHeaders(server.url, asked, { timeout: 60_000 })
    const written = Promise.resolve(sink.write(many(1), [])).catch((error: unknown) => String(error))
    await vi.waitFor(() => expect(asked).toHaveBeenCalledOnce())
    await sink.close?.()
    expect(await written).toContain('the sink was closed')
  })

  it('refuses addresses and headers that cannot be, without showing what is secret in them', () => {
    const attempt = (options: OtlpSinkOptions) => () => otlpSink(options)
    expect(attempt({ url: 'nowhere' })).toThrow(/http\(s\) address/)
    expect(attempt({ url: 'grpc://127.0.0.1:4317' })).toThrow(/http\(s\) address/)
    expect(attempt({ url: `http://me:${KEY}@127.0.0.1/` })).toThrow(/password into "headers"/)
    const broken = attempt({ url: 'http://127.0.0.1/', headers: { 'x-key': `${KEY}\nx` } })
    expect(broken).toThrow(/header "x-key" cannot be sent/)
    expect(broken).not.toThrow(KEY)
  })

  it('counts as dropped, and says, what is left when the process exits', async () => {
    const program = fileURLToPath(new URL('fixtures/exits.ts', import.meta.url))
    const child = spawn(process.execPath, ['--conditions=@agl/source', program])
    let [output, problems] = ['', '']
    child.stdout.on('data', (text: Buffer) => (output += text.toString()))
    child.stderr.on('data', (text: Buffer) => (problems += text.toString()))
    await once(child, 'close')
    expect(JSON.parse(output)).toEqual({ written: 0, dropped: 1 })
    expect(problems).toContain('OTLP goes over HTTP')
  })

  it('does not keep a finished program alive because its server is away', async () => {
    await using server = await serve((_, response) => void response.writeHead(503).end())
    const program = fileURLToPath(new URL('fixtures/finishes.ts', import.meta.url))
    const child = spawn(process.execPath, ['--conditions=@agl/source', program, server.url], {
      stdio: 'ignore',
    })
    const ended = await Promise.race([once(child, 'exit'), sleep(20_000, ['still running'])])
    child.kill()
    expect(ended[0]).toBe(0)
  })
})
