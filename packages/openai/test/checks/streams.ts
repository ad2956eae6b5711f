import { ask, collect, pause, settled, shapeOf, type Check } from './check.ts'

const OK = 'chat.completion OK 200 stop "forty two"'
const CUT = 'chat.completion UNSET 200 cancelled "fort"'
const ABORTED = 'chat.completion UNSET 200 aborted "fort"'
const streamed = { ...ask, stream: true as const }
/** Falls silent after the role and the first token, and stays connected until the client goes away. */
const silent = { fault: () => ({ stall: 'mid-stream' as const, after: 2 }) }
const ADD = [
  { id: 'call_a', name: 'add', arguments: { a: 1, b: 2 } },
  { id: 'call_b', name: 'add', arguments: { a: 3, b: 4 } },
]
const tool = {
  type: 'function' as const,
  function: {
    name: 'add',
    description: 'Adds',
    parameters: { type: 'object', properties: {} },
    parse: (text: string): { a: number; b: number } => JSON.parse(text),
    function: ({ a, b }: { a: number; b: number }) => String(a + b),
  },
}

/** Streamed chat completions, consumed in every way that there is. */
export const streams: readonly Check[] = [
  {
    name: 'a stream to its end',
    run: async ({ client }) => collect(await client.chat.completions.create(streamed)),
    spans: [OK],
  },
  {
    name: 'the shape of a stream',
    run: async ({ client }) => {
      const stream = await client.chat.completions.create(streamed)
      const shape = {
        ...Object(shapeOf(stream)),
        controller: stream.controller instanceof AbortController,
        tee: typeof stream.tee,
        readable: typeof stream.toReadableStream,
        own: Object.getOwnPropertySymbols(stream).map(String),
      }
      await collect(stream)
      return shape
    },
    spans: [OK],
  },
  {
    name: 'the shape of an iterator',
    run: async ({ client }) => {
      const stream = await client.chat.completions.create(streamed)
      const iterator = stream[Symbol.asyncIterator]()
      const { value, done } = await iterator.next()
      const keys = Object.keys(iterator)
      const methods = [iterator.next, iterator.return, iterator.throw].map((method) => typeof method)
      return { value, done, keys, methods, end: await iterator.return?.(), after: await iterator.next() }
    },
    spans: ['chat.completion UNSET 200 cancelled ""'],
  },
  {
    name: 'a stream withResponse',
    run: async ({ client }) => {
      const { data, response, request_id: id } = await client.chat.completions.create(streamed).withResponse()
      return { chunks: await collect(data), id, status: response.status }
    },
    spans: [OK],
  },
  {
    name: 'asResponse of a stream',
    run: async ({ client }) => (await client.chat.completions.create(streamed).asResponse()).text(),
    spans: ['chat.completion OK 200 raw'],
  },
  {
    name: 'break',
    server: silent,
    run: async ({ client, server }) => {
      const stream = await client.chat.completions.create(streamed)
      for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break
      await server.idle()
      return { aborted: server.requests[0]?.aborted, signal: stream.controller.signal.aborted }
    },
    spans: [CUT],
  },
  {
    name: 'an error in the body of the loop',
    server: silent,
    run: async ({ client }) => {
      const stream = await client.chat.completions.create(streamed)
      for await (const chunk of stream) {
        if (chunk.choices[0]?.delta.content) throw new RangeError('of the program itself')
      }
    },
    spans: [CUT],
  },
  {
    name: 'controller.abort in the middle',
    server: silent,
    run: async ({ client }) => {
      const stream = await client.chat.completions.create(streamed)
      const seen: unknown[] = []
      for await (const chunk of stream) {
        seen.push(chunk.choices[0]?.delta)
        if (chunk.choices[0]?.delta.content) stream.controller.abort()
      }
      return seen
    },
    spans: [ABORTED],
  },
  {
    name: 'a signal in the middle',
    server: silent,
    run: async ({ client }) => {
      const controller = new AbortController()
      const stream = await client.chat.completions.create(streamed, { signal: controller.signal })
      const seen: unknown[] = []
      for await (const chunk of stream) {
        seen.push(chunk.choices[0]?.delta)
        if (chunk.choices[0]?.delta.content) controller.abort()
      }
      return seen
    },
    spans: [ABORTED],
  },
  {
    name: 'a signal before the headers',
    server: { fault: () => ({ stall: 'before-headers' }) },
    run: async ({ client, server }) => {
      const controller = new AbortController()
      const promise = client.chat.completions.create(streamed, { signal: controller.signal })
      while (server.requests.length === 0) await pause(5)
      controller.abort()
      return promise
    },
    spans: ['chat.completion UNSET aborted'],
  },
  {
    name: 'a signal that was given before',
    run: ({ client }) => client.chat.completions.create(streamed, { signal: AbortSignal.abort() }),
    spans: ['chat.completion UNSET aborted'],
  },
  {
    name: 'created and never iterated',
    run: async ({ client }) => {
      await client.chat.completions.create(streamed)
      await pause(20)
      return 'went on'
    },
    spans: ['chat.completion ERROR abandoned AglError'],
  },
  {
    name: 'never iterated and aborted',
    server: silent,
    run: async ({ client, server }) => {
      const stream = await client.chat.completions.create(streamed)
      stream.controller.abort()
      await server.idle()
      return settled(() => collect(stream))
    },
    spans: ['chat.completion UNSET 200 aborted'],
  },
  {
    name: 'iterated twice',
    run: async ({ client }) => {
      const stream = await client.chat.completions.create(streamed)
      return [await collect(stream), await settled(() => collect(stream))]
    },
    spans: [OK],
  },
  {
    name: 'iterated twice at once',
    run: async ({ client }) => {
      const stream = await client.chat.completions.create(streamed)
      const results = await Promise.all([settled(() => collect(stream)), settled(() => collect(stream))])
      return results
    },
    spans: [OK],
  },
  {
    name: 'an iterator that is taken and left, before another one reads',
    run: async ({ client }) => {
      const stream = await client.chat.completions.create(streamed)
      stream[Symbol.asyncIterator]()
      return collect(stream)
    },
    spans: [OK],
  },
  {
    name: 'an iterator that outlives its stream',
    run: async ({ client }) => {
      const iterator = (await client.chat.completions.create(streamed))[Symbol.asyncIterator]()
      await pause(20)
      return collect({ [Symbol.asyncIterator]: () => iterator })
    },
    spans: [OK],
  },
  {
    name: 'next called ahead',
    run: async ({ client }) => {
      const stream = await client.chat.completions.create(streamed)
      const iterator = stream[Symbol.asyncIterator]()
      return Promise.all(Array.from({ length: 8 }, () => iterator.next()))
    },
    spans: [OK],
  },
  {
    name: 'an error thrown into the iterator',
    server: silent,
    run: async ({ client }) => {
      const stream = await client.chat.completions.create(streamed)
      const iterator = stream[Symbol.asyncIterator]()
      await iterator.next()
      await iterator.next()
      return iterator.throw?.(new RangeError('thrown in'))
    },
    spans: [CUT],
  },
  {
    name: 'both branches of tee',
    run: async ({ client }) => {
      const [left, right] = (await client.chat.completions.create(streamed)).tee()
      const first = await collect(left)
      return [first, await collect(right)]
    },
    spans: [OK],
  },
  {
    name: 'both branches of tee at once',
    run: async ({ client }) => {
      const [left, right] = (await client.chat.completions.create(streamed)).tee()
      return Promise.all([collect(left), collect(right)])
    },
    spans: [OK],
  },
  {
    name: 'toReadableStream',
    run: async ({ client }) => {
      const stream = await client.chat.completions.create(streamed)
      const lines: string[] = []
      for await (const bytes of stream.toReadableStream()) lines.push(new TextDecoder().decode(bytes))
      return lines
    },
    spans: [OK],
  },
  {
    name: 'toReadableStream, cancelled',
    server: silent,
    run: async ({ client }) => {
      const stream = await client.chat.completions.create(streamed)
      const reader = stream.toReadableStream().getReader()
      await reader.read()
      await reader.read()
      await reader.cancel()
      return 'cancelled'
    },
    spans: [CUT],
  },
  {
    name: 'the stream helper: finalContent',
    run: ({ client }) => client.chat.completions.stream(ask).finalContent(),
    spans: [OK],
  },
  {
    name: 'the stream helper: its events',
    run: async ({ client }) => {
      const seen: unknown[] = []
      const runner = client.chat.completions.stream(ask)
      runner.on('connect', () => seen.push('connect'))
      runner.on('content', (delta, snapshot) => seen.push([delta, snapshot]))
      runner.on('finalMessage', (message) => seen.push(message))
      runner.on('end', () => seen.push('end'))
      await runner.done()
      return { seen, chat: await runner.finalChatCompletion(), usage: await runner.totalUsage() }
    },
    spans: [OK],
  },
  {
    name: 'the stream helper: for await',
    run: ({ client }) => collect(client.chat.completions.stream(ask)),
    spans: [OK],
  },
  {
    name: 'the stream helper: break',
    server: silent,
    run: async ({ client }) => {
      const runner = client.chat.completions.stream(ask)
      for await (const chunk of runner) if (chunk.choices[0]?.delta.content) break
      return runner.aborted
    },
    spans: [ABORTED],
  },
  {
    name: 'the stream helper: abort',
    server: silent,
    run: async ({ client }) => {
      const runner = client.chat.completions.stream(ask)
      runner.on('content', () => runner.abort())
      return runner.finalContent()
    },
    spans: [ABORTED],
  },
  {
    name: 'the stream helper: toReadableStream',
    run: async ({ client }) => {
      const lines: string[] = []
      for await (const bytes of client.chat.completions.stream(ask).toReadableStream())
        lines.push(new TextDecoder().decode(bytes))
      return lines
    },
    spans: [OK],
  },
  {
    name: 'the stream helper: a zod schema',
    server: { reply: () => '{"answer": 42}' },
    run: async ({ client, copy }) => {
      const runner = client.chat.completions.stream({ ...ask, response_format: copy.format() })
      const parsed: unknown[] = []
      runner.on('content.done', (event) => parsed.push(event.parsed))
      return { parsed, final: await runner.finalMessage() }
    },
    spans: ['chat.completion OK 200 stop "{\\"answer\\": 42}"'],
  },
  {
    name: 'runTools',
    server: { replies: [{ toolCalls: ADD }] },
    run: async ({ client }) => {
      const runner = client.chat.completions.runTools({ ...ask, tools: [tool] })
      return { final: await runner.finalContent(), messages: runner.messages }
    },
    spans: ['tool_call.add OK', 'tool_call.add OK', 'chat.completion OK 200 tool_calls', OK],
  },
  {
    name: 'runTools, streamed',
    server: { replies: [{ toolCalls: ADD, interleaveToolCalls: true }] },
    run: async ({ client }) => {
      const runner = client.chat.completions.runTools({ ...ask, stream: true, tools: [tool] })
      return { final: await runner.finalContent(), messages: runner.messages }
    },
    spans: ['tool_call.add OK', 'tool_call.add OK', 'chat.completion OK 200 tool_calls ""', OK],
  },
  {
    name: 'include_usage',
    run: async ({ client }) =>
      collect(await client.chat.completions.create({ ...streamed, stream_options: { include_usage: true } })),
    spans: [OK],
    look: ([span]) => {
      if (typeof span?.attributes['gen_ai.usage.completion_tokens'] !== 'number') throw new Error('No usage.')
    },
  },
  {
    name: 'parallel tool calls, interleaved',
    server: { reply: () => ({ toolCalls: ADD, interleaveToolCalls: true }) },
    run: async ({ client }) => collect(await client.chat.completions.create(streamed)),
    spans: ['tool_call.add OK', 'tool_call.add OK', 'chat.completion OK 200 tool_calls ""'],
    look: (spans) => {
      const chat = spans.find(({ name }) => name === 'openai.chat.completion')?.attributes ?? {}
      const recorded = [0, 1].map((i) => [
        chat[`gen_ai.completion.0.tool_calls.${i}.id`],
        chat[`gen_ai.completion.0.tool_calls.${i}.arguments`],
      ])
      const expected = ADD.map(({ id, arguments: given }) => [id, JSON.stringify(given)])
      if (JSON.stringify(recorded) !== JSON.stringify(expected)) throw new Error(JSON.stringify(recorded))
    },
  },
  {
    name: 'token ids and log probabilities that the program asked for',
    server: { flavor: 'vllm' },
    run: async ({ client }) => {
      const body = { ...ask, logprobs: true, return_token_ids: true }
      const whole = await client.chat.completions.create(body)
      return [whole, await collect(await client.chat.completions.create({ ...body, stream: true }))]
    },
    spans: [OK, OK],
    look: (spans) => {
      const [whole, stream] = spans.map(({ attributes }) => attributes['logprobs.content'])
      if (typeof whole !== 'string' || whole !== stream) throw new Error('Log probabilities differ.')
    },
  },
]
