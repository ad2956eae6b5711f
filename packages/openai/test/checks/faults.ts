import { ask, collect, settled, type Check } from './check.ts'

const OK = 'chat.completion OK 200 stop "forty two"'
const streamed = { ...ask, stream: true as const }

const STATUSES: readonly [number, string][] = [
  [400, 'BadRequestError'],
  [401, 'AuthenticationError'],
  [403, 'PermissionDeniedError'],
  [404, 'NotFoundError'],
  [409, 'ConflictError'],
  [422, 'UnprocessableEntityError'],
  [429, 'RateLimitError'],
  [500, 'InternalServerError'],
  [503, 'InternalServerError'],
]

const statuses = STATUSES.map(([status, type]): Check => ({
  name: `HTTP ${status}`,
  server: { fault: () => ({ status }) },
  run: async ({ client }) => [
    await settled(() => client.chat.completions.create(ask)),
    await settled(() => client.chat.completions.create(streamed)),
    await settled(() => client.chat.completions.create(ask).withResponse()),
    await settled(() => client.chat.completions.create(ask).asResponse()),
    await settled(() => client.chat.completions.parse(ask)),
    await settled(() => client.chat.completions.stream(ask).finalContent()),
    await settled(() => client.responses.create({ model: 'm', input: 'q' })),
  ],
  spans: [
    ...Array.from({ length: 6 }, () => `chat.completion ERROR ${status} ${type}`),
    `response ERROR ${status} ${type}`,
  ],
}))

/** What goes wrong, and how the client says so. */
export const faults: readonly Check[] = [
  ...statuses,
  {
    name: 'a wrong key, with a bare string as the error',
    server: { flavor: 'vllm', apiKey: 'another' },
    run: ({ client }) => client.chat.completions.create(ask),
    spans: ['chat.completion ERROR 401 AuthenticationError'],
  },
  {
    name: 'an error without a body, and one that is no JSON',
    server: {
      faults: [
        { status: 500, body: '' },
        { status: 502, body: '<html>' },
      ],
    },
    run: async ({ client }) => [
      await settled(() => client.chat.completions.create(ask)),
      await settled(() => client.chat.completions.create(ask)),
    ],
    spans: ['chat.completion ERROR 500 InternalServerError', 'chat.completion ERROR 502 InternalServerError'],
  },
  {
    name: 'retries after 429 and 500 until it goes well',
    server: {
      faults: [
        { status: 429, retryAfter: 0 },
        { status: 500, headers: { 'retry-after-ms': '1' } },
      ],
    },
    client: { maxRetries: 3 },
    run: ({ client }) => client.chat.completions.create(ask),
    spans: [OK],
  },
  {
    name: 'retries that are used up',
    server: { fault: () => ({ status: 429, headers: { 'retry-after-ms': '1' } }) },
    client: { maxRetries: 2 },
    run: ({ client }) => client.chat.completions.create(ask),
    spans: ['chat.completion ERROR 429 RateLimitError'],
  },
  {
    name: 'a timeout',
    server: { fault: () => ({ stall: 'before-headers' }) },
    client: { timeout: 500 },
    run: ({ client }) => client.chat.completions.create(ask),
    spans: ['chat.completion ERROR APIConnectionTimeoutError'],
  },
  {
    name: 'a dead server',
    run: async ({ client, server }) => {
      await server.close()
      return client.chat.completions.create(ask)
    },
    spans: ['chat.completion ERROR APIConnectionError'],
  },
  {
    name: 'a socket cut before the headers',
    server: { fault: () => ({ cut: 'before-headers' }) },
    run: ({ client }) => client.chat.completions.create(ask),
    spans: ['chat.completion ERROR APIConnectionError'],
  },
  {
    name: 'a socket cut in the middle of the body',
    server: { fault: () => ({ cut: 'mid-body' }) },
    run: ({ client }) => client.chat.completions.create(ask),
    spans: ['chat.completion ERROR 200 TypeError'],
  },
  {
    name: 'a socket cut in the middle of a stream',
    server: { fault: () => ({ cut: 'mid-stream' }) },
    run: async ({ client }) => {
      const stream = await client.chat.completions.create(streamed)
      const seen: unknown[] = []
      const end = await settled(async () => {
        for await (const chunk of stream) seen.push(chunk)
      })
      return { seen, end }
    },
    spans: ['chat.completion ERROR 200 TypeError "fort"'],
  },
  ...(['data', 'event', 'flat'] as const).map((error): Check => ({
    name: `an error in the middle of a stream, as ${error}`,
    server: { flavor: 'vllm', fault: ({ body }) => (body['stream'] === true ? { error } : undefined) },
    run: async ({ client }) => [
      await settled(async () => collect(await client.chat.completions.create(streamed))),
      await settled(() => client.chat.completions.stream(ask).finalContent()),
    ],
    spans: (major) => {
      const thrown = error === 'data' || (error === 'event' && major >= 7)
      const line = `chat.completion ERROR 200 ${thrown ? 'APIError' : 'InternalServerError'} "fort"`
      return [line, line]
    },
  })),
  {
    name: 'a frame that is broken off',
    server: { fault: () => ({ malformed: true }) },
    run: async ({ client }) => collect(await client.chat.completions.create(streamed)),
    spans: ['chat.completion ERROR 200 SyntaxError "fort"'],
  },
  {
    name: 'an answer that is no JSON',
    server: { reply: () => ({ body: '{"id":', headers: { 'content-type': 'application/json' } }) },
    run: ({ client }) => client.chat.completions.create(ask),
    spans: ['chat.completion ERROR 200 SyntaxError'],
  },
  {
    name: 'an answer that is a page of text',
    server: { reply: () => ({ body: 'hello', headers: { 'content-type': 'text/html' } }) },
    run: ({ client }) => client.chat.completions.create(ask),
    spans: ['chat.completion OK 200'],
  },
  {
    name: 'an empty answer',
    server: { reply: () => ({ body: '', status: 204 }) },
    run: ({ client }) => client.chat.completions.create(ask),
    spans: ['chat.completion OK 204'],
  },
  ...[
    { done: false },
    { newline: '\r\n' },
    { comments: true },
    { splitUtf8: true },
    { finalBlankLine: false },
  ].map((sse): Check => ({
    name: `a stream with ${JSON.stringify(sse)}`,
    server: { reply: () => 'zwölf 👩‍🚀', fault: () => ({ sse: Object(sse) }) },
    run: async ({ client }) => collect(await client.chat.completions.create(streamed)),
    spans: ['chat.completion OK 200 stop "zwölf 👩‍🚀"'],
  })),
  {
    name: 'a stream that is empty',
    server: { reply: () => ({ frames: [] }) },
    run: async ({ client }) => collect(await client.chat.completions.create(streamed)),
    spans: ['chat.completion OK 200'],
  },
]
