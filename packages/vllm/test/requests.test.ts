import { record, start } from '@agl/core'
import { startModelServer } from '@agl/testkit'
import { isLocalServer, vllm } from '@agl/vllm'
import OpenAI from 'openai'
import { describe, expect, it } from 'vitest'
import { ask, collect, run } from './support.ts'

describe('the request', () => {
  it('asks for token ids in chat and completions, streamed or not, and is otherwise as it was', async () => {
    const { bodies } = await run({}, async ({ client }) => {
      await client.chat.completions.create({ ...ask, temperature: 0 })
      await collect(await client.chat.completions.create({ ...ask, stream: true }))
      await client.completions.create({ model: 'm', prompt: 'six' })
      return client.chat.completions.stream(ask).finalContent()
    })
    expect(bodies).toEqual([
      { ...ask, temperature: 0, return_token_ids: true },
      { ...ask, stream: true, return_token_ids: true },
      { model: 'm', prompt: 'six', return_token_ids: true },
      { ...ask, stream: true, return_token_ids: true },
    ])
  })

  it('asks the Responses API for its raw messages, unless it answers in the background', async () => {
    const { bodies } = await run({}, async ({ client }) => {
      await client.responses.create({ model: 'm', input: 'q' })
      await client.responses.create({ model: 'm', input: 'q', background: true })
      const body = { model: 'm', input: 'q', enable_response_messages: false }
      return client.responses.create(body)
    })
    expect(bodies).toEqual([
      { model: 'm', input: 'q', enable_response_messages: true },
      { model: 'm', input: 'q', background: true },
      { model: 'm', input: 'q', enable_response_messages: false },
    ])
  })

  it('leaves embeddings alone, and completions that repeat the prompt, byte by byte', async () => {
    const program = async (client: OpenAI): Promise<void> => {
      await client.embeddings.create({ model: 'm', input: 'q' })
      await client.completions.create({ model: 'm', prompt: 'q', echo: true })
    }
    await using server = await startModelServer({ flavor: 'vllm' })
    await program(new OpenAI({ apiKey: 'k', baseURL: server.baseURL }))
    const plain = server.requests.map(({ rawBody }) => rawBody)
    const { result } = await run({}, async ({ client, server: watched }) => {
      await program(client)
      return watched.requests.map(({ rawBody }) => rawBody)
    })
    expect(result).toEqual(plain)
  })

  it('asks for log probabilities only by option, and keeps what the program set itself', async () => {
    const completion = { model: 'm', prompt: 'six' }
    const { bodies } = await run(
      {},
      async ({ client }) => {
        await client.chat.completions.create(ask)
        await client.chat.completions.create({ ...ask, logprobs: false })
        await client.chat.completions.create({ ...ask, logprobs: true, top_logprobs: 3 })
        await client.completions.create(completion)
        await client.completions.create({ ...completion, logprobs: 0 })
        await client.responses.create({ model: 'm', input: 'q' })
        await client.responses.create({ model: 'm', input: 'q', include: ['reasoning.encrypted_content'] })
        await client.responses.create({ model: 'm', input: 'q', include: ['message.output_text.logprobs'] })
        const body = { ...ask, return_token_ids: false }
        return client.chat.completions.create(body)
      },
      { logprobs: true },
    )
    const ids = { return_token_ids: true }
    const response = { model: 'm', input: 'q', enable_response_messages: true }
    const logprobs = 'message.output_text.logprobs'
    expect(bodies).toEqual([
      { ...ask, ...ids, logprobs: true },
      { ...ask, ...ids, logprobs: false },
      { ...ask, ...ids, logprobs: true, top_logprobs: 3 },
      { ...completion, ...ids, logprobs: 1 },
      { ...completion, ...ids, logprobs: 0 },
      { ...response, include: [logprobs] },
      { ...response, include: ['reasoning.encrypted_content', logprobs] },
      { ...response, include: [logprobs] },
      { ...ask, return_token_ids: false, logprobs: true },
    ])
  })

  it('asks for nothing with both options off', async () => {
    const { bodies, spans } = await run({}, ({ client }) => client.chat.completions.create(ask), {
      tokenIds: false,
    })
    expect(bodies).toEqual([ask])
    expect(spans[0]?.attributes).not.toHaveProperty('prompt_token_ids')
  })

  it("does not touch the program's own objects", async () => {
    const body = Object.freeze({ ...ask, metadata: Object.freeze({ a: 'b' }) })
    const before = JSON.stringify(body)
    await run({}, ({ client }) => client.chat.completions.create(body))
    expect(JSON.stringify(body)).toBe(before)
  })

  it("keeps the call's options: headers, query and signal", async () => {
    const { result } = await run({}, async ({ client, server }) => {
      await client.chat.completions.create(ask, { headers: { 'x-own': 'yes' }, query: { q: '1' } })
      const aborted = client.chat.completions.create(ask, { signal: AbortSignal.abort() })
      const reason = await aborted.then(String, String)
      return { reason, requests: server.requests.map(({ path, headers }) => [path, headers['x-own']]) }
    })
    expect(result.reason).toContain('aborted')
    expect(result.requests).toEqual([['/v1/chat/completions?q=1', 'yes']])
  })

  it('is as it was for servers that do not match, and for all once the plugin is stopped', async () => {
    const matched: string[] = []
    const match = (baseURL: string): boolean => {
      matched.push(baseURL)
      return false
    }
    const { bodies } = await run({}, ({ client }) => client.chat.completions.create(ask), { match })
    expect(bodies).toEqual([ask])
    expect(matched).toEqual([expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/v1$/)])

    await using server = await startModelServer({ flavor: 'vllm' })
    await using lightning = await start({ plugins: [vllm()], log: 'silent' })
    const client = new OpenAI({ apiKey: 'k', baseURL: server.baseURL })
    await lightning.stop('vllm')
    await record('stopped', () => client.chat.completions.create(ask))
    await lightning.resume('vllm')
    await record('resumed', () => client.chat.completions.create(ask))
    expect(server.requests.map(({ body }) => body)).toEqual([ask, { ...ask, return_token_ids: true }])
  })

  it('goes out unchanged where the option "match" throws', async () => {
    const match = (): boolean => {
      throw new Error('match is broken')
    }
    const { bodies } = await run({}, ({ client }) => client.chat.completions.create(ask), { match })
    expect(bodies).toEqual([ask])
  })

  it('never reaches a hosted API with fields that it refuses, which the status tells', async () => {
    const seen: unknown[] = []
    await using lightning = await start({ plugins: [vllm()], log: 'silent' })
    const client = new OpenAI({
      apiKey: 'k',
      fetch: (_url, init) => {
        seen.push(typeof init?.body === 'string' ? JSON.parse(init.body) : init?.body)
        return Promise.resolve(Response.json({ id: 'a', choices: [] }))
      },
    })
    const { spans } = await record('test', async () => {
      await client.chat.completions.create(ask)
      await client.chat.completions.create(ask)
    })
    expect(seen).toEqual([ask, ask])
    expect(spans).toHaveLength(3)
    expect(lightning.status().find(({ name }) => name === 'vllm')).toMatchObject({
      state: 'active',
      notes: [expect.stringContaining('https://api.openai.com/v1 was not taken for a vLLM server')],
    })
  })
})

describe('isLocalServer', () => {
  it.each([
    ['http://localhost:8000/v1', true],
    ['http://LOCALHOST/v1', true],
    ['http://gpu.localhost/v1', true],
    ['http://vllm:8000/v1', true],
    ['http://127.0.0.1:8000/v1', true],
    ['http://127.9.9.9/v1', true],
    ['http://0.0.0.0:8000/v1', true],
    ['http://10.1.2.3/v1', true],
    ['http://172.16.0.1/v1', true],
    ['http://172.31.255.255/v1', true],
    ['http://172.32.0.1/v1', false],
    ['http://172.15.0.1/v1', false],
    ['http://192.168.1.1/v1', true],
    ['http://192.169.1.1/v1', false],
    ['http://169.254.1.1/v1', true],
    ['http://8.8.8.8/v1', false],
    ['http://[::1]:8000/v1', true],
    ['http://[fd00::1]/v1', true],
    ['http://[fe80::1]/v1', true],
    ['http://[::ffff:10.0.0.1]/v1', true],
    ['http://[::ffff:8.8.8.8]/v1', false],
    ['http://[2001:db8::1]/v1', false],
    ['https://api.openai.com/v1', false],
    ['https://localhost.example.com/v1', false],
    ['https://10.1.2.3.example.com/v1', false],
    ['https://mine.openai.azure.com/openai', false],
    ['not a url', false],
    ['', false],
  ])('says of %s: %s', (baseURL, expected) => {
    expect(isLocalServer(baseURL)).toBe(expected)
  })
})
