import { afterEach, expect, it } from 'vitest'
import { startModelServer, type Fault, type Flavor, type ModelServer } from '../src/index.ts'
import { HELLO, send } from './support.ts'

const PATH = '/v1/chat/completions'
const TEXT = 'one two three'

let server: ModelServer
async function faulty(flavor: Flavor, ...faults: Fault[]): Promise<void> {
  server = await startModelServer({ flavor, deterministic: true, faults, reply: () => TEXT })
}
afterEach(() => server.close())

const ask = (): Promise<Response> => send(server, PATH, { model: 'm', messages: HELLO })
const askStream = (): Promise<Response> => send(server, PATH, { model: 'm', messages: HELLO, stream: true })

/** The data lines of a stream, as text. */
function dataOf(text: string): string[] {
  return text.split('\n').flatMap((line) => (line.startsWith('data: ') ? [line.slice('data: '.length)] : []))
}

it.each<[string, Flavor, Fault, number, string]>([
  ['401 of vLLM, whose error is a string', 'vllm', { status: 401 }, 401, '{"error":"Unauthorized"}'],
  [
    '401 of OpenAI',
    'openai',
    { status: 401 },
    401,
    '{"error":{"message":"Incorrect API key provided.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}',
  ],
  [
    '400 of vLLM, whose code is the status',
    'vllm',
    { status: 400 },
    400,
    '{"error":{"message":"The request is not valid.","type":"BadRequestError","param":null,"code":400}}',
  ],
  ['500 of vLLM, without a body', 'vllm', { status: 500 }, 500, ''],
  [
    '500 of OpenAI',
    'openai',
    { status: 500 },
    500,
    '{"error":{"message":"The server had an error while processing your request.","type":"server_error","param":null,"code":null}}',
  ],
  [
    '503 with a body of its own',
    'vllm',
    { status: 503, body: { object: 'error', code: 503 } },
    503,
    '{"object":"error","code":503}',
  ],
  ['502 with a page', 'openai', { status: 502, body: '<html>' }, 502, '<html>'],
])('answers a %s', async (_, flavor, fault, status, body) => {
  await faulty(flavor, fault)
  const response = await ask()
  expect([response.status, await response.text()]).toEqual([status, body])
})

it('answers 429 with retry-after, and lets the next request pass', async () => {
  await faulty('openai', { status: 429, retryAfter: 3 })
  const limited = await ask()
  expect([limited.status, limited.headers.get('retry-after')]).toEqual([429, '3'])
  expect(await limited.json()).toMatchObject({ error: { code: 'rate_limit_exceeded' } })
  expect((await ask()).status).toBe(200)
})

it('uses up no reply for a request that a fault answers', async () => {
  server = await startModelServer({
    replies: ['first', 'second'],
    faults: [{ status: 500 }, null, { cut: 'before-headers' }],
  })
  expect((await ask()).status).toBe(500)
  expect(await (await ask()).text()).toContain('first')
  await expect(ask()).rejects.toThrow('fetch failed')
  expect(await (await ask()).text()).toContain('second')
})

it('cuts the socket before the headers, in the body, or in the stream', async () => {
  await faulty('openai', { cut: 'before-headers' }, { cut: 'mid-body' }, { cut: 'mid-stream', after: 3 })
  await expect(ask()).rejects.toThrow('fetch failed')

  const body = await ask()
  expect(body.status).toBe(200)
  await expect(body.text()).rejects.toThrow('terminated')

  const cut = await askStream()
  let got = ''
  const reading = async (): Promise<void> => {
    const decoder = new TextDecoder()
    for await (const bytes of cut.body ?? []) got += decoder.decode(bytes, { stream: true })
  }
  await expect(reading()).rejects.toThrow('terminated')
  expect(dataOf(got)).toHaveLength(3)
  await server.idle()
  expect(server.requests.map(({ status, aborted }) => [status, aborted])).toEqual([
    [undefined, false],
    [200, false],
    [200, false],
  ])
})

it('falls silent before the headers or in the stream, until the client goes away', async () => {
  await faulty('vllm', { stall: 'before-headers' }, { stall: 'mid-stream', after: 2 })
  const early = new AbortController()
  const waiting = send(server, PATH, { messages: HELLO }, { signal: early.signal })
  const failure = waiting.catch((error: unknown) => error)
  await until(() => server.requests.length === 1)
  early.abort()
  expect(await failure).toMatchObject({ name: 'AbortError' })

  const late = new AbortController()
  const response = await send(server, PATH, { messages: HELLO, stream: true }, { signal: late.signal })
  const reader = response.body?.getReader()
  const decoder = new TextDecoder()
  let got = ''
  while (dataOf(got).length < 2) got += decoder.decode((await reader?.read())?.value)
  late.abort()
  await server.idle()
  expect(server.requests.map(({ status, aborted }) => [status, aborted])).toEqual([
    [undefined, true],
    [200, true],
  ])
})

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1))
}

it.each<[string, Fault['error'], string]>([
  [
    'as data',
    'data',
    'data: {"error":{"message":"The generation failed.","type":"InternalServerError","param":null,"code":500}}',
  ],
  [
    'as an error event',
    'event',
    'event: error\ndata: {"message":"The generation failed.","type":"InternalServerError","param":null,"code":500}',
  ],
  [
    'as the flat object of old servers',
    'flat',
    'data: {"object":"error","message":"The generation failed.","type":"InternalServerError","param":null,"code":500}',
  ],
])('ends a stream with an error %s, then [DONE]', async (_, error, expected) => {
  if (error === undefined) return
  await faulty('vllm', { error, after: 1 })
  const blocks = (await (await askStream()).text()).trim().split('\n\n')
  expect(blocks).toHaveLength(3)
  expect(blocks.slice(1)).toEqual([expected, 'data: [DONE]'])
})

it('turns the error of a request without a stream into a 500', async () => {
  await faulty('vllm', { error: 'data' })
  const response = await ask()
  expect([response.status, await response.json()]).toEqual([
    500,
    { error: { message: 'The generation failed.', type: 'InternalServerError', param: null, code: 500 } },
  ])
})

it('breaks off the JSON of one frame and goes on', async () => {
  await faulty('openai', { malformed: true, after: 2 })
  const data = dataOf(await (await askStream()).text())
  expect(data.map(parses)).toEqual([true, true, false, true, true, false])
  expect(data.at(-1)).toBe('[DONE]')
})

function parses(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

it('strikes at the end of a stream that is shorter than the fault expects', async () => {
  await faulty('openai', { error: 'data', after: 99 })
  const data = dataOf(await (await askStream()).text())
  expect(data.at(-2)).toContain('"error"')
  expect(data.at(-1)).toBe('[DONE]')
  expect(data.slice(0, -2).every((line) => line.includes('chunk'))).toBe(true)
})

it('bends the framing: CRLF, comments, no end mark, no final blank line', async () => {
  await faulty(
    'openai',
    { sse: { newline: '\r\n', comments: true } },
    { sse: { done: false, finalBlankLine: false } },
  )
  const crlf = await (await askStream()).text()
  expect(crlf).toMatch(/^: ping\r\n\r\ndata: \{.*\}\r\n\r\n: ping\r\n\r\ndata: /)
  expect(crlf.replaceAll('\r\n', '')).not.toContain('\n')

  const open = await (await askStream()).text()
  expect(open).not.toContain('[DONE]')
  expect(open).toMatch(/[^\n]\n$/)
})

it('splits frames inside a multi-byte character', async () => {
  server = await startModelServer({ replies: [{ text: 'née 日本', fault: { sse: { splitUtf8: true } } }] })
  const response = await askStream()
  const pieces: Uint8Array[] = []
  for await (const bytes of response.body ?? []) pieces.push(bytes)
  const broken = pieces.filter((bytes) => new TextDecoder().decode(bytes).endsWith('\uFFFD'))
  expect(broken.length).toBeGreaterThan(0)
  const text = Buffer.concat(pieces).toString('utf8')
  const said = dataOf(text).flatMap((line) =>
    line === '[DONE]' ? [] : [JSON.parse(line).choices[0].delta.content ?? ''],
  )
  expect(said.join('')).toBe('née 日本')
})

it('waits before the headers, before the first frame, or between frames', async () => {
  const long = 600_000
  await faulty(
    'openai',
    { latency: { headers: long } },
    { latency: { first: long } },
    { latency: { chunk: long } },
  )
  const got: string[] = []
  for (const expected of ['', 'headers ', 'headers data']) {
    const client = new AbortController()
    let seen = ''
    const reading = send(server, PATH, { messages: HELLO, stream: true }, { signal: client.signal }).then(
      async (response) => {
        seen = 'headers '
        for await (const bytes of response.body ?? []) seen += new TextDecoder().decode(bytes).slice(0, 4)
      },
    )
    await until(() => seen === expected && server.requests.length === got.length + 1)
    client.abort()
    await expect(reading).rejects.toThrow('aborted')
    await server.idle()
    got.push(seen)
  }
  expect(got).toEqual(['', 'headers ', 'headers data'])
  expect(server.requests.map(({ status, aborted }) => [status, aborted])).toEqual([
    [undefined, true],
    [200, true],
    [200, true],
  ])
})

it('goes on after short waits', async () => {
  const latency = { headers: 1, first: 1, chunk: 1 }
  await faulty('openai', { latency }, { latency })
  expect(dataOf(await (await askStream()).text()).at(-1)).toBe('[DONE]')
  expect(await (await ask()).json()).toHaveProperty('choices.0.message.content', TEXT)
})

it('takes a fault by request or with a reply', async () => {
  server = await startModelServer({
    fault: ({ text }) => (text === 'no' ? { status: 403 } : undefined),
    replies: [{ text: 'x', fault: { status: 418, body: { short: true } } }, 'fine'],
  })
  expect((await send(server, PATH, { messages: [{ role: 'user', content: 'no' }] })).status).toBe(403)
  expect((await ask()).status).toBe(418)
  expect((await ask()).status).toBe(200)
})
