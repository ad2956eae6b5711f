import { createContextKey, context } from '@opentelemetry/api'
import { AsyncLocalStorage } from 'node:async_hooks'
import { ask, collect, pause, settled, shapeOf, type Check } from './check.ts'

const OK = 'chat.completion OK 200 stop "forty two"'

/** The key by which OpenTelemetry's SDK marks "no tracing here". */
const SUPPRESS_TRACING = createContextKey('OpenTelemetry SDK Context Key SUPPRESS_TRACING')

/** Calls that are not streamed. */
export const calls: readonly Check[] = [
  {
    name: 'create',
    run: ({ client }) => client.chat.completions.create(ask),
    spans: [OK],
  },
  {
    name: 'withResponse',
    run: async ({ client }) => {
      const { data, response, request_id: id } = await client.chat.completions.create(ask).withResponse()
      return { data, id, status: response.status, used: response.bodyUsed, url: response.url }
    },
    spans: [OK],
  },
  {
    name: 'asResponse',
    run: async ({ client }) => {
      const response = await client.chat.completions.create(ask).asResponse()
      const unread = response.bodyUsed
      return { unread, status: response.status, text: await response.text() }
    },
    spans: ['chat.completion OK 200 raw'],
  },
  {
    name: 'asResponse beside the parsed answer',
    run: async ({ client }) => {
      const promise = client.chat.completions.create(ask)
      const [answer, response] = await Promise.all([promise, promise.asResponse()])
      return { answer, used: response.bodyUsed }
    },
    spans: [OK],
  },
  {
    name: 'asResponse and then the parsed answer',
    run: async ({ client }) => {
      const promise = client.chat.completions.create(ask)
      const response = await promise.asResponse()
      const before = response.bodyUsed
      return { before, answer: await promise, after: response.bodyUsed }
    },
    spans: [OK],
  },
  {
    name: 'a body that the program reads itself, and then the parsed answer',
    run: async ({ client }) => {
      const promise = client.chat.completions.create(ask)
      const response = await promise.asResponse()
      const text = await response.text()
      await pause(20)
      return { text, after: await settled(() => promise) }
    },
    spans: ['chat.completion OK 200 raw'],
  },
  {
    name: 'asResponse of parse',
    run: async ({ client }) => (await client.chat.completions.parse(ask).asResponse()).text(),
    spans: ['chat.completion OK 200 raw'],
  },
  {
    name: 'parse with a zod schema',
    server: { reply: () => '{"answer": 42}' },
    run: async ({ client, copy }) => {
      const answer = await client.chat.completions.parse({ ...ask, response_format: copy.format() })
      return { answer, parsed: answer.choices[0]?.message.parsed }
    },
    spans: ['chat.completion OK 200 stop "{\\"answer\\": 42}"'],
  },
  {
    name: 'parse with a zod schema that the answer does not fit',
    server: { reply: () => '{"answer": "many"}' },
    run: ({ client, copy }) => client.chat.completions.parse({ ...ask, response_format: copy.format() }),
    spans: ['chat.completion OK 200 stop "{\\"answer\\": \\"many\\"}"'],
  },
  {
    name: 'parse withResponse',
    server: { reply: () => '{"answer": 42}' },
    run: async ({ client, copy }) => {
      const call = client.chat.completions.parse({ ...ask, response_format: copy.format() })
      const { data, request_id: id } = await call.withResponse()
      return { id, parsed: data.choices[0]?.message.parsed }
    },
    spans: ['chat.completion OK 200 stop "{\\"answer\\": 42}"'],
  },
  {
    name: 'nothing is parsed before somebody waits for it',
    run: async ({ client, server }) => {
      const promise = client.chat.completions.create(ask)
      await server.idle()
      await pause(20)
      const response = await promise.asResponse()
      const used = response.bodyUsed
      return { used, sent: server.requests.length, answer: await promise }
    },
    spans: [OK],
  },
  {
    name: 'one promise awaited in many ways gives one object',
    run: async ({ client }) => {
      const promise = client.chat.completions.create(ask)
      const first = await promise
      const [second, third] = await Promise.all([promise, promise.then((value) => value)])
      const finals: string[] = []
      await promise.finally(() => finals.push('finally'))
      await promise.catch(() => finals.push('catch'))
      const same = [second, third, (await promise.withResponse()).data].map((value) => value === first)
      return { same, finals, keys: Object.keys(first), id: first._request_id }
    },
    spans: [OK],
  },
  {
    name: 'the shape of the promise',
    run: async ({ client, copy }) => {
      const promise = client.chat.completions.create(ask)
      const shape = { ...Object(shapeOf(promise)), isPromise: promise instanceof Promise }
      const own = ['then', 'catch', 'finally', 'withResponse'].filter((key) => Object.hasOwn(promise, key))
      const plain = client.models.list()
      const sameClass = copy.major === 7 || promise.constructor === Object.getPrototypeOf(plain).constructor
      await Promise.all([promise, settled(() => plain)])
      return { shape, own, sameClass, json: JSON.stringify(promise).length > 0 }
    },
    spans: [OK],
  },
  {
    name: 'never awaited',
    run: async ({ client, server }) => {
      void client.chat.completions.create(ask)
      while (server.requests.length === 0) await pause(5)
      await server.idle()
      await pause(20)
      return 'went on'
    },
    // Once the trace is over, it gives up what nobody waits for.
    spans: ['chat.completion ERROR abandoned AglError'],
  },
  {
    name: 'several at once',
    server: { reply: ({ text }) => `re: ${text}` },
    run: ({ client }) =>
      Promise.all(
        ['a', 'b', 'c', 'd'].map(async (content) => {
          const answer = await client.chat.completions.create({
            model: 'm',
            messages: [{ role: 'user', content }],
          })
          return answer.choices[0]?.message.content
        }),
      ).then((answers) => answers.toSorted((a, b) => String(a).localeCompare(String(b)))),
    spans: ['a', 'b', 'c', 'd'].map((text) => `chat.completion OK 200 stop "re: ${text}"`),
  },
  {
    name: 'what the caller passed in stays as it was',
    run: async ({ client }) => {
      const body = Object.freeze({ ...ask, messages: Object.freeze([...ask.messages]) })
      const options = Object.freeze({ headers: Object.freeze({ 'x-own': 'yes' }), timeout: 5000 })
      const answer = await client.chat.completions.create(
        { ...body, messages: [...body.messages] },
        { ...options },
      )
      return { body, options, answer }
    },
    spans: [OK],
  },
  {
    name: 'fields and options that nobody knows reach the server',
    run: async ({ client }) => {
      const body = { ...ask, temperature: 0, seed: 0, stop: '', unknown: { deep: [1] }, metadata: { a: 'b' } }
      return client.chat.completions.create(body, {
        headers: { 'x-own': 'yes' },
        query: { q: '1' },
        idempotencyKey: 'key-1',
      })
    },
    spans: [OK],
    look: ([span]) => {
      const at = span?.attributes ?? {}
      if (at['gen_ai.request.temperature'] !== 0) throw new Error('The temperature is lost.')
    },
  },
  {
    name: 'a getter in the request is read as often as before',
    run: async ({ client }) => {
      let reads = 0
      class Request {
        model = 'gpt-4o'
        messages = ask.messages
        toJSON(): object {
          reads++
          return { model: this.model, messages: this.messages, own: true }
        }
      }
      await client.chat.completions.create(new Request())
      return reads
    },
    spans: [OK],
  },
  {
    name: 'no arguments at all',
    run: ({ client }) =>
      Promise.resolve(Reflect.apply(client.chat.completions.create, client.chat.completions, [])),
    spans: (major) => [major === 7 ? 'chat.completion ERROR TypeError' : 'chat.completion ERROR TypeError'],
  },
  {
    name: 'identity of client, classes and methods',
    run: async ({ client, copy }) => {
      const { create } = client.chat.completions
      const other = client.withOptions({ timeout: 1000 })
      return {
        instance: client instanceof copy.OpenAI,
        other: other instanceof copy.OpenAI,
        otherAnswer: (await other.chat.completions.create(ask)).choices[0]?.message.content,
        chat: client.chat === client.chat,
        completions: client.chat.completions === client.chat.completions,
        shared: other.chat.completions.create === create,
        own: Object.hasOwn(client.chat.completions, 'create'),
        keys: [Object.keys(client.chat.completions), Object.keys(client).length],
        name: create.name,
        length: create.length,
        descriptor: {
          ...Object.getOwnPropertyDescriptor(Object.getPrototypeOf(client.chat.completions), 'create'),
          value: undefined,
        },
        members: Object.getOwnPropertyNames(Object.getPrototypeOf(client.chat.completions)),
        statics: Object.keys(copy.OpenAI).length,
      }
    },
    spans: [OK],
  },
  {
    name: 'a client of a subclass, and methods taken from their object',
    run: async ({ copy, server }) => {
      class Own extends copy.OpenAI {}
      const client = new Own({ apiKey: 'k', baseURL: server.baseURL })
      const create = client.chat.completions.create.bind(client.chat.completions)
      const { choices } = await create(ask)
      return { choices, own: client instanceof Own }
    },
    spans: [OK],
  },
  {
    name: 'under suppressTracing',
    run: ({ client }) =>
      context.with(context.active().setValue(SUPPRESS_TRACING, true), () =>
        client.chat.completions.create(ask),
      ),
    spans: [],
  },
  {
    name: "the program's own async context, in its own fetch",
    run: async ({ copy, server }) => {
      const storage = new AsyncLocalStorage<string>()
      const seen: unknown[] = []
      const client = new copy.OpenAI({
        apiKey: 'k',
        baseURL: server.baseURL,
        fetch: (url, init) => {
          seen.push(
            storage.getStore(),
            url instanceof Request ? url.url : url,
            Object.keys(init ?? {}).toSorted(),
          )
          return fetch(url, init)
        },
      })
      const answer = await storage.run('mine', async () => {
        const { id } = await client.chat.completions.create(ask)
        return [id, storage.getStore()]
      })
      return { answer, seen }
    },
    spans: [OK],
  },
  {
    name: 'Azure',
    run: async ({ copy, server }) => {
      const client = new copy.AzureOpenAI({
        apiKey: 'k',
        endpoint: server.url,
        apiVersion: '2024-10-21',
        deployment: 'mine',
      })
      const stream = await client.chat.completions.create({ ...ask, stream: true })
      return [await client.chat.completions.create(ask), await collect(stream)]
    },
    spans: [OK, OK],
  },
  {
    name: 'completions',
    run: async ({ client }) => {
      const body = { model: 'gpt-3.5-turbo-instruct', prompt: 'six times seven is' }
      const stream = await client.completions.create({ ...body, stream: true })
      return [await client.completions.create(body), await collect(stream)]
    },
    spans: ['completion OK 200 stop "forty two"', 'completion OK 200 stop "forty two"'],
  },
  {
    name: 'embeddings, in both encodings',
    run: async ({ client }) => {
      const body = { model: 'text-embedding-3-small', input: ['red', 'green'] }
      const first = await client.embeddings.create({ ...body, encoding_format: 'float' })
      const { data, request_id: id } = await client.embeddings.create(body).withResponse()
      return { first, lengths: data.data.map(({ embedding }) => embedding.length), usage: data.usage, id }
    },
    spans: ['embedding OK 200', 'embedding OK 200'],
  },
  {
    name: 'embeddings that fail, and raw ones',
    server: { faults: [{ status: 400 }] },
    run: async ({ client }) => {
      const body = { model: 'text-embedding-3-small', input: 'red', encoding_format: 'float' as const }
      const failed = await settled(() => client.embeddings.create(body))
      const response = await client.embeddings.create(body).asResponse()
      return { failed, text: await response.text() }
    },
    spans: ['embedding ERROR 400 BadRequestError', 'embedding OK 200 raw'],
  },
  {
    name: 'the Responses API',
    run: async ({ client }) => {
      const body = { model: 'gpt-4o', input: 'six times seven?' }
      const first = await client.responses.create(body)
      const { data } = await client.responses.create(body).withResponse()
      const events = await collect(await client.responses.create({ ...body, stream: true }))
      const final = await client.responses.stream(body).finalResponse()
      return { text: first.output_text, first, data, events, final }
    },
    spans: Array.from({ length: 4 }, () => 'response OK 200 completed "forty two"'),
  },
  {
    name: 'a stream of the Responses API, left and aborted',
    server: { fault: () => ({ stall: 'mid-stream', after: 5 }) },
    run: async ({ client, server }) => {
      const body = { model: 'gpt-4o', input: 'q', stream: true as const }
      const left: string[] = []
      for await (const { type } of await client.responses.create(body)) {
        left.push(type)
        if (left.length === 4) break
      }
      const stream = await client.responses.create(body)
      const aborted: string[] = []
      for await (const { type } of stream) {
        aborted.push(type)
        if (aborted.length === 4) stream.controller.abort()
      }
      await server.idle()
      return { left, aborted, seen: server.requests.map((request) => request.aborted) }
    },
    // Before 7, what had been received already is still handed out.
    spans: (major) => [
      'response UNSET 200 cancelled',
      `response UNSET 200 aborted${major === 7 ? '' : ' "fort"'}`,
    ],
  },
  {
    name: 'a stream of completions, left',
    server: { fault: () => ({ stall: 'mid-stream', after: 1 }) },
    run: async ({ client }) => {
      const stream = await client.completions.create({ model: 'm', prompt: 'q', stream: true })
      for await (const chunk of stream) return chunk
      return undefined
    },
    spans: ['completion UNSET 200 cancelled "fort"'],
  },
  {
    name: 'parse of the Responses API',
    server: { reply: () => '{"answer": 42}' },
    run: async ({ client, copy }) => {
      const { json_schema: schema, ...rest } = copy.format()
      const format = {
        type: 'json_schema' as const,
        name: 'answer',
        strict: true,
        schema: schema.schema ?? {},
      }
      const answer = await client.responses.parse({ model: 'gpt-4o', input: 'q', text: { format } })
      return { rest, parsed: answer.output_parsed, text: answer.output_text }
    },
    spans: ['response OK 200 completed "{\\"answer\\": 42}"'],
  },
  {
    name: 'calls that are not watched',
    run: async ({ client }) => (await collect(await client.models.list())).length,
    spans: [],
  },
]
