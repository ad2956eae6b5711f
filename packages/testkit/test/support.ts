import type { ModelServer } from '../src/index.ts'

export type Body = Record<string, unknown>

export const HELLO: readonly Body[] = [{ role: 'user', content: 'hello there' }]

export function send(
  server: ModelServer,
  path: string,
  body: unknown,
  { headers = {}, signal }: { headers?: Record<string, string>; signal?: AbortSignal } = {},
): Promise<Response> {
  return fetch(server.url + path, {
    method: 'POST',
    body: typeof body === 'string' ? body : JSON.stringify(body),
    headers: { 'content-type': 'application/json', ...headers },
    ...(signal === undefined ? {} : { signal }),
  })
}

/** Sends a request and reads the JSON of the answer. */
export async function ask(server: ModelServer, path: string, body: unknown): Promise<Body> {
  const response = await send(server, path, body)
  return JSON.parse(await response.text())
}

/** A chat request with one message, and whatever else a test needs. */
export function chat(server: ModelServer, more: Body = {}): Promise<Body> {
  return ask(server, '/v1/chat/completions', { model: 'm', messages: HELLO, ...more })
}

/** The `data:` of each event of a streamed answer, parsed; `[DONE]` stays text. */
export async function stream(server: ModelServer, path: string, body: Body): Promise<unknown[]> {
  const response = await send(server, path, { ...body, stream: true })
  return events(await response.text()).map(({ data }) => data)
}

export async function chatChunks(server: ModelServer, more: Body = {}): Promise<Chunk[]> {
  const data = await stream(server, '/v1/chat/completions', { model: 'm', messages: HELLO, ...more })
  if (data.pop() !== '[DONE]') throw new Error('The stream does not end with [DONE].')
  return data.map(asChunk)
}

export function events(text: string): { event?: string; data: unknown }[] {
  return text
    .split('\n\n')
    .filter((block) => block.trim() !== '')
    .map((block) => {
      const lines = block.trim().split('\n')
      const event = lines.find((line) => line.startsWith('event: '))?.slice('event: '.length)
      const data = lines.find((line) => line.startsWith('data: '))?.slice('data: '.length) ?? ''
      return { ...(event === undefined ? {} : { event }), data: data === '[DONE]' ? data : JSON.parse(data) }
    })
}

/** The parts of a chunk that the tests look at. */
export interface Chunk {
  choices: {
    index: number
    delta: Body
    logprobs: { content: { token: string }[] | null; refusal?: { token: string }[] | null } | null
    finish_reason: string | null
    token_ids?: number[] | null
  }[]
  usage?: Body | null
  prompt_token_ids?: number[] | null
}

function asChunk(value: unknown): Chunk {
  if (isChunk(value)) return value
  throw new Error(`This is no chunk: ${JSON.stringify(value)}`)
}

function isChunk(value: unknown): value is Chunk {
  return typeof value === 'object' && value !== null && 'choices' in value && Array.isArray(value.choices)
}

/** The ids of one choice, put together from all its chunks. */
export function idsOf(chunks: readonly Chunk[], index = 0): number[] {
  return chunks.flatMap(({ choices }) =>
    choices.flatMap((choice) => (choice.index === index ? (choice.token_ids ?? []) : [])),
  )
}

/** A text field of every chunk's first delta, joined or apart. */
export function pieces(chunks: readonly Chunk[], key: string): string[] {
  return chunks.map(({ choices }) => {
    const piece = choices[0]?.delta[key]
    return typeof piece === 'string' ? piece : ''
  })
}
