import { record, start, type Span } from '@agl/core'
import { instrument, openai } from '@agl/openai'
import { startModelServer } from '@agl/testkit'
import OpenAI from 'openai'
import { describe, expect, it, vi } from 'vitest'
import { collect } from './checks/check.ts'
import { ask, only, parsed, running, spansOf } from './support.ts'

describe('the record of an answer', () => {
  running()

  it('stays as it was when the program changes the lists of the answer', async () => {
    const logprobs = [-3, -1, -2]
    const recorded = async (spoil: boolean): Promise<unknown[]> => {
      const spans = await spansOf(
        [
          { text: 'forty two', logprobs },
          { text: 'forty two', logprobs },
        ],
        async ({ client }) => {
          const answer = await client.chat.completions.create({ ...ask, logprobs: true })
          const list = answer.choices[0]?.logprobs?.content ?? []
          if (spoil) list.sort((a, b) => b.logprob - a.logprob).length = 1
          const completion = await client.completions.create({ model: 'm', prompt: 'q', logprobs: 1 })
          if (spoil) completion.choices[0]?.logprobs?.token_logprobs?.reverse()
        },
      )
      return ['openai.chat.completion', 'openai.completion'].map((name) =>
        parsed(only(spans, name)['logprobs.content']),
      )
    }
    expect(await recorded(true)).toEqual(await recorded(false))
  })

  it('has the request id whatever class of headers the program’s own fetch brings', async () => {
    await using server = await startModelServer({ reply: () => 'hi' })
    class OwnHeaders {
      readonly #headers: Headers
      constructor(headers: Headers) {
        this.#headers = headers
      }
      get(name: string): string | null {
        return this.#headers.get(name)
      }
      entries(): IterableIterator<[string, string]> {
        return this.#headers.entries()
      }
      [Symbol.iterator](): IterableIterator<[string, string]> {
        return this.#headers.entries()
      }
    }
    const client = new OpenAI({
      apiKey: 'k',
      baseURL: server.baseURL,
      fetch: async (url, init) => {
        const response = await fetch(url, init)
        Object.defineProperty(response, 'headers', { value: new OwnHeaders(response.headers) })
        return response
      },
    })
    const { spans } = await record('test', () => client.chat.completions.create(ask))
    expect(only(spans)['agl.request_id']).toMatch(/^req_/)
  })

  it('has the id of the request that was answered, where the client asked again while it read', async () => {
    const body = JSON.stringify({
      id: 'a',
      choices: [{ index: 0, message: { role: 'assistant', content: 'hi' } }],
    })
    let requests = 0
    const client = new OpenAI({
      apiKey: 'k',
      baseURL: 'http://127.0.0.1:9/v1',
      maxRetries: 1,
      timeout: 200,
      fetch: async () => {
        requests++
        const headers = { 'content-type': 'application/json', 'x-request-id': `req-${requests}` }
        // The first answer never comes to its end.
        return new Response(requests === 1 ? new ReadableStream() : body, { headers })
      },
    })
    const { spans, result } = await record('test', () => client.chat.completions.create(ask).withResponse())
    expect(result?.request_id).toBe('req-2')
    expect(only(spans)['agl.request_id']).toBe('req-2')
  })

  it('ends under the fake timers of a test as well', async () => {
    await using server = await startModelServer({ reply: () => 'hi' })
    const client = new OpenAI({ apiKey: 'k', baseURL: server.baseURL, maxRetries: 0 })
    const { spans } = await record('test', async () => {
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
      const response = await client.chat.completions.create(ask).asResponse()
      vi.useRealTimers()
      await response.text()
    })
    expect(only(spans)['agl.finish']).toBe('raw')
  })

  it('has no credentials that a request carries for a proxy or a search', async () => {
    const carried = {
      api_key: 'hidden',
      extra_headers: { authorization: 'hidden' },
      data_sources: [{ parameters: { authentication: { key: 'hidden' } } }],
      fallbacks: [{ model: 'm', api_key: 'hidden' }],
      client_secret: 'hidden',
      prompt_cache_key: 'shown',
    }
    const spans = await spansOf('hi', ({ client }) => client.chat.completions.create({ ...ask, ...carried }))
    expect(JSON.stringify(spans)).not.toContain('hidden')
    expect(only(spans)['gen_ai.request.prompt_cache_key']).toBe('shown')
  })
})

describe('a response that tells of its failure instead of failing', () => {
  running()
  const failed = {
    id: 'resp_1',
    object: 'response',
    status: 'failed',
    model: 'm',
    error: { code: 'server_error', message: 'out of order' },
    output: [],
  }

  it.each([
    ['whole', { body: JSON.stringify(failed), headers: { 'content-type': 'application/json' } }],
    ['streamed', { frames: [{ data: JSON.stringify({ type: 'response.failed', response: failed }) }] }],
  ])('is recorded as failed, and handed on: %s', async (name, reply) => {
    const { spans, seen } = await responded(reply, name === 'streamed')
    expect(seen).toBe('failed')
    const [span] = spans
    expect(span?.status.statusCode).toBe('ERROR')
    expect(span?.attributes).toMatchObject({
      'gen_ai.response.id': 'resp_1',
      'error.type': 'server_error',
      'exception.message': 'out of order',
    })
  })

  it('has no finish reason where its stream just ends', async () => {
    const { status: _, error: __, ...begun } = failed
    const frames = [
      { type: 'response.created', response: { ...begun, status: 'in_progress' } },
      { type: 'response.output_text.delta', delta: 'for' },
    ]
    const { spans } = await responded(
      { frames: frames.map((data) => ({ data: JSON.stringify(data) })) },
      true,
    )
    const attributes = only(spans, 'openai.response')
    expect(attributes['gen_ai.completion.0.content']).toBe('for')
    expect(attributes).not.toHaveProperty('gen_ai.completion.0.finish_reason')
  })

  async function responded(
    reply: Parameters<typeof spansOf>[0],
    streamed: boolean,
  ): Promise<{ spans: Span[]; seen: unknown }> {
    let seen: unknown
    const spans = await spansOf(reply, async ({ client }) => {
      const body = { model: 'm', input: 'q' }
      if (!streamed) seen = (await client.responses.create(body)).status
      else
        for (const event of await collect(await client.responses.create({ ...body, stream: true })))
          if ('response' in event) seen = event.response.status
    })
    return { spans, seen }
  }
})

describe('instrument', () => {
  it('takes plain objects that act as clients, each by itself', async () => {
    await using server = await startModelServer({ reply: () => 'hi' })
    await using _lightning = await start({ plugins: [openai()], log: 'silent' })
    const make = (name: string) => {
      const create = async (body: object): Promise<unknown> => {
        const response = await fetch(`${server.baseURL}/chat/completions`, {
          method: 'POST',
          body: JSON.stringify({ ...body, user: name }),
        })
        return response.json()
      }
      return { chat: { completions: { create } } }
    }
    const clients = [instrument(make('a')), instrument(make('b'))]
    const { spans } = await record('test', async () => {
      for (const { chat } of clients) await chat.completions.create(ask)
    })
    expect(spans.slice(0, -1).map(({ name }) => name)).toEqual([
      'openai.chat.completion',
      'openai.chat.completion',
    ])
  })

  it('refuses what is no client, in one sentence', () => {
    for (const value of [{}, { chat: {} }, class Other {}])
      expect(() => instrument(value)).toThrow(/no openai client; pass/)
  })
})
