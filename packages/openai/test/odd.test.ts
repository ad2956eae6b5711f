import { record, start, type Span } from '@agl/core'
import { instrument, openai } from '@agl/openai'
import { startModelServer, type AnyReply } from '@agl/testkit'
import { build } from 'esbuild'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import OpenAI from 'openai'
import { afterEach, describe, expect, it } from 'vitest'
import { collect, settled } from './checks/check.ts'
import { ask, only } from './support.ts'

const streamed = { ...ask, stream: true as const }
const cleanUp: (() => unknown)[] = []
afterEach(async () => {
  for (const undo of cleanUp.splice(0).reverse()) await undo()
})

async function begin(): Promise<void> {
  const lightning = await start({ plugins: [openai()], drain: 100, log: 'silent' })
  cleanUp.push(() => lightning.shutdown())
}

const BODIES: readonly unknown[] = [
  null,
  [],
  42,
  'text',
  {},
  { choices: null },
  { choices: {} },
  { choices: [null, 5, 'x', []] },
  { choices: [{ index: 'x', message: null, delta: 7 }] },
  { choices: [{ index: -1, message: { content: { deep: true }, tool_calls: 'no' } }] },
  { choices: [{ index: 1e9, delta: { content: 'a', tool_calls: [null, {}, { index: 1e9 }] } }] },
  { choices: [{ index: 0, message: { tool_calls: [null, {}, { function: { name: 5, arguments: {} } }] } }] },
  { choices: [{ logprobs: { content: 'x', refusal: 3 }, delta: { role: 5, content: 5, refusal: {} } }] },
  { usage: 'many', choices: [{ delta: {} }] },
  { usage: { prompt_tokens: '5', completion_tokens: null }, id: 5, model: [], created: 'now', choices: [] },
  { object: 'error', message: 5, type: null },
  JSON.parse('{"__proto__": {"polluted": true}, "choices": [{"delta": {"__proto__": {"a": 1}}}]}'),
]

describe('answers of any shape', () => {
  /** What a program gets from all four APIs, whole and streamed, with `body` as the answer. */
  const observe = async (body: unknown): Promise<unknown> => {
    const reply: AnyReply = { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }
    const frames: AnyReply = { frames: [{ data: JSON.stringify(body) }, '[DONE]'] }
    const stream = (request: { body: Record<string, unknown> }): boolean => request.body['stream'] === true
    await using server = await startModelServer({ reply: (request) => (stream(request) ? frames : reply) })
    const client = new OpenAI({ apiKey: 'k', baseURL: server.baseURL, maxRetries: 0, logLevel: 'off' })
    return Promise.all([
      settled(() => client.chat.completions.create(ask)),
      settled(async () => collect(await client.chat.completions.create(streamed))),
      settled(() => client.completions.create({ model: 'm', prompt: 'q' })),
      settled(async () =>
        collect(await client.completions.create({ model: 'm', prompt: 'q', stream: true })),
      ),
      settled(() => client.responses.create({ model: 'm', input: 'q' })),
      settled(async () => collect(await client.responses.create({ model: 'm', input: 'q', stream: true }))),
      settled(() => client.embeddings.create({ model: 'm', input: 'q', encoding_format: 'float' })),
    ])
  }

  it.each(BODIES.map((body) => [JSON.stringify(body), body]))('do no harm: %s', async (_, body) => {
    const expected = await observe(body)
    await begin()
    const { result, spans } = await record('test', () => observe(body))
    expect(result).toEqual(expected)
    expect(spans).toHaveLength(8)
    expect(spans.filter(({ attributes }) => attributes['agl.finish'] === 'abandoned')).toEqual([])
    expect(Object.prototype).not.toHaveProperty('polluted')
  })
})

describe('requests of any shape', () => {
  it.each<[string, () => unknown]>([
    ['undefined', () => undefined],
    ['null', () => null],
    ['a number', () => 5],
    ['messages that are no list', () => ({ model: 'm', messages: 'x' })],
    [
      'odd messages',
      () => ({ model: 'm', messages: [null, 5, { role: 7, content: [null], tool_calls: [null] }] }),
    ],
    ['odd tools', () => ({ ...ask, tools: [null, 5, { function: 5 }, {}] })],
    ['a bigint', () => ({ ...ask, seed: 5n })],
    [
      'a cycle',
      () => {
        const body: Record<string, unknown> = { ...ask }
        body['metadata'] = body
        return body
      },
    ],
    [
      'a getter that throws',
      () => ({
        ...ask,
        get temperature() {
          throw new RangeError('not readable')
        },
      }),
    ],
  ])('do no harm: %s', async (_, make) => {
    const observe = async (): Promise<unknown> => {
      await using server = await startModelServer({ reply: () => 'hi', deterministic: true })
      const client = new OpenAI({ apiKey: 'k', baseURL: server.baseURL, maxRetries: 0, logLevel: 'off' })
      const { completions } = client.chat
      const outcome = await settled(() => Reflect.apply(completions.create, completions, [make()]))
      return { outcome, sent: server.requests.map(({ rawBody }) => rawBody) }
    }
    const expected = await observe()
    await begin()
    const { result } = await record('test', observe)
    expect(result).toEqual(expected)
  })
})

describe('a server of its own making', () => {
  const listen = async (answer: (stream: boolean) => [type: string, body: string]): Promise<string> => {
    const server = createServer((request, response) => {
      let text = ''
      request.on('data', (part) => (text += String(part)))
      request.on('end', () => {
        const [type, body] = answer(text.includes('"stream":true'))
        response.writeHead(200, { 'content-type': type, 'x-request-id': 'req-7' }).end(body)
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    cleanUp.push(() => server.close())
    const address = server.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    return `http://127.0.0.1:${address.port}/v1`
  }

  it('gives the same record', async () => {
    await begin()
    const chunk = (more: object): string => `data: ${JSON.stringify({ id: 'a', model: 'm', ...more })}\n\n`
    const choice = (delta: object, finish: string | null = null, logprobs: object | null = null): string =>
      chunk({ choices: [{ index: 0, delta, finish_reason: finish, logprobs }] })
    const baseURL = await listen((stream) =>
      stream
        ? [
            'text/event-stream',
            choice({ role: 'assistant', content: '' }) +
              ': ping\n\n' +
              choice({ content: 'Hel' }, null, { content: [{ token: 'Hel', logprob: -0.5 }] }) +
              choice({ content: 'lo' }, null, { content: [{ token: 'lo', logprob: -0.25 }] }) +
              choice({}, 'stop') +
              chunk({ choices: [], usage: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 } }) +
              'data: [DONE]\n\n',
          ]
        : [
            'application/json',
            JSON.stringify({
              id: 'a',
              model: 'm',
              choices: [
                {
                  index: 0,
                  finish_reason: 'stop',
                  message: { role: 'assistant', content: 'Hello' },
                  logprobs: {
                    content: [
                      { token: 'Hel', logprob: -0.5 },
                      { token: 'lo', logprob: -0.25 },
                    ],
                  },
                },
              ],
              usage: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 },
            }),
          ],
    )
    const client = new OpenAI({ apiKey: 'k', baseURL })
    const { spans } = await record('test', async () => {
      await client.chat.completions.create(ask)
      await collect(await client.chat.completions.create(streamed))
    })
    const told = ({ attributes }: Span): object => {
      const { 'agl.time_to_first_token': _, 'gen_ai.request.streaming': __, ...rest } = attributes
      return rest
    }
    const [whole, stream] = spans
    if (whole === undefined || stream === undefined) throw new Error('not recorded')
    expect(told(stream)).toEqual(told(whole))
    expect(told(whole)).toMatchObject({
      'gen_ai.completion.0.content': 'Hello',
      'gen_ai.usage.total_tokens': 5,
      'logprobs.content': '[{"token":"Hel","logprob":-0.5},{"token":"lo","logprob":-0.25}]',
      'agl.request_id': 'req-7',
    })
  })
})

describe('a client inside a bundle, where no search finds it', () => {
  /** A copy of the client that lives outside every package. */
  const bundle = async (): Promise<typeof OpenAI> => {
    const folder = await mkdtemp(join(tmpdir(), 'agl-openai-'))
    cleanUp.push(() => rm(folder, { recursive: true }))
    const outfile = join(folder, 'bundle.mjs')
    await build({
      stdin: { contents: "export { OpenAI } from 'openai'", resolveDir: import.meta.dirname },
      bundle: true,
      minify: true,
      format: 'esm',
      platform: 'node',
      logLevel: 'silent',
      outfile,
    })
    const module: { OpenAI: typeof OpenAI } = await import(pathToFileURL(outfile).href)
    return module.OpenAI
  }
  const recorded = async (client: OpenAI): Promise<Span[]> => {
    const { spans } = await record('test', () => client.chat.completions.create(ask))
    return spans.slice(0, -1)
  }

  it('is recorded once it was handed over, before or after the start, as a client or as a class', async () => {
    await using server = await startModelServer({ reply: () => 'hi' })
    const [First, Second, Third, Fourth] = await Promise.all([bundle(), bundle(), bundle(), bundle()])
    const options = { apiKey: 'k', baseURL: server.baseURL }
    const early = new First(options)
    expect(instrument(early)).toBe(early)
    const listed = new Third(options)
    const lightning = await start({ plugins: [openai({ clients: [listed] })], log: 'silent' })
    cleanUp.push(() => lightning.shutdown())
    const late = new Second(options)
    expect(await recorded(late)).toEqual([])
    instrument(late)
    instrument(late)
    instrument(Fourth)
    const byClass = new Fourth(options)
    for (const client of [early, late, listed, byClass])
      expect(only(await recorded(client))['gen_ai.completion.0.content']).toBe('hi')
    expect(lightning.status()[0]?.state).toBe('active')

    await lightning.stop('openai')
    for (const client of [early, late, listed, byClass]) expect(await recorded(client)).toEqual([])
    await lightning.resume('openai')
    for (const client of [early, late, listed, byClass]) expect(await recorded(client)).toHaveLength(1)
  }, 60_000)

  it('ends as aborted there too, where classes have lost their names', async () => {
    await using server = await startModelServer({ fault: () => ({ stall: 'before-headers' }) })
    const Bundled = await bundle()
    await begin()
    const client = instrument(new Bundled({ apiKey: 'k', baseURL: server.baseURL }))
    const { spans } = await record('test', async () => {
      const signal = AbortSignal.timeout(50)
      await client.chat.completions.create(ask, { signal }).catch(() => undefined)
    })
    expect(only(spans)['agl.finish']).toBe('aborted')
  })

  it('is not recorded while only handed over', async () => {
    await using server = await startModelServer({ reply: () => 'hi' })
    const Bundled = await bundle()
    const client = instrument(new Bundled({ apiKey: 'k', baseURL: server.baseURL }))
    expect(await recorded(client)).toEqual([])
  })
})
