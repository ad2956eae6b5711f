import { record, start, type Config, type Span } from '@agl/core'
import { startModelServer, type AnyReply, type ModelServer, type ModelServerOptions } from '@agl/testkit'
import { vllm, type VllmOptions } from '@agl/vllm'
import OpenAI7 from 'openai'
import OpenAI5 from 'openai5'
import { ask, collect, tokens } from '../support.ts'

export { ask, collect }

/** The clients that every case is tried with. All are loaded before the plugin starts, as in a program. */
export const CLIENTS: readonly (readonly [name: string, make: (options: object) => OpenAI7])[] = [
  ['openai 7', (options) => new OpenAI7(options)],
  ['openai 5', (options) => asClient(new OpenAI5(options))],
]
export type MakeClient = (typeof CLIENTS)[number][1]

/** Version 5 has the same methods; only its types differ. */
function asClient(client: object): OpenAI7 {
  if (!isClient(client)) throw new Error('This is no client.')
  return client
}

function isClient(client: object): client is OpenAI7 {
  return 'chat' in client && 'completions' in client && 'responses' in client
}

export interface Context {
  client: OpenAI7
  server: ModelServer
}

export interface Told {
  /** What the program returned; an error as `{ thrown }`. */
  result: unknown
  /** Without the root. */
  spans: Span[]
  /** What is recorded about token ids by the first call. */
  tokens: Record<string, unknown>
  attributes: Span['attributes']
  status: Span['status'] | undefined
}

export interface Setting {
  server: ModelServerOptions
  options?: VllmOptions
  config?: Config
  client?: object
}

/** Runs a program against a server, under the plugin, and tells what was recorded. */
export async function tell(
  make: MakeClient,
  { server: settings, options = {}, config = {}, client: more = {} }: Setting,
  program: (context: Context) => unknown,
): Promise<Told> {
  await using server = await startModelServer({ deterministic: true, ...settings })
  await using _ = await start({ plugins: [vllm(options)], log: 'silent', drain: 100, ...config })
  const client = make({ apiKey: 'k', baseURL: server.baseURL, maxRetries: 0, logLevel: 'off', ...more })
  const { result, spans } = await record('test', () => settled(() => program({ client, server })))
  const [first] = spans
  if (first === undefined) throw new Error('Nothing was recorded.')
  return {
    result,
    spans: spans.slice(0, -1),
    tokens: tokens(first),
    attributes: first.attributes,
    status: first.status,
  }
}

/** What the same program does without us, on the same server. */
export async function without(
  make: MakeClient,
  { server: settings, client: more = {} }: Setting,
  program: (context: Context) => unknown,
): Promise<unknown> {
  await using server = await startModelServer({ deterministic: true, ...settings })
  const client = make({ apiKey: 'k', baseURL: server.baseURL, maxRetries: 0, logLevel: 'off', ...more })
  return await settled(() => program({ client, server }))
}

async function settled(fn: () => unknown): Promise<unknown> {
  try {
    return await fn()
  } catch (error) {
    if (!(error instanceof Error)) return { thrown: error }
    const { name, message, constructor, ...own } = error
    return { thrown: { class: constructor.name, name, message, own: { ...own, headers: undefined } } }
  }
}

/** A stream of exactly these chunks, and its end mark. */
export function sse(...chunks: readonly object[]): AnyReply {
  return { frames: [...chunks.map((chunk) => ({ data: { id: 'c', model: 'm', ...chunk } })), '[DONE]'] }
}

/** A whole answer, as it is. */
export function whole(body: object): AnyReply {
  return { body: { id: 'c', model: 'm', ...body } }
}

/** The first chunk of a choice. */
export function role(prompt?: unknown, index = 0): object {
  const ids = prompt === undefined ? {} : { prompt_token_ids: prompt }
  return { choices: [{ index, delta: { role: 'assistant', content: '' }, logprobs: null }], ...ids }
}

/** A chunk with one choice. */
export function piece(index: number, delta: object, ids: unknown, more: object = {}): object {
  return { choices: [{ index, delta, finish_reason: null, token_ids: ids, ...more }] }
}

export function usage(prompt: number, completion: number): object {
  return { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion }
}

export const STOP = { finish_reason: 'stop' }

/** A program that reads one streamed chat. */
export function streamed(more: object = {}): (context: Context) => Promise<unknown[]> {
  return async ({ client }) =>
    collect(await client.chat.completions.create({ ...ask, ...more, stream: true }))
}

/** A program that makes one chat. */
export function asked(more: object = {}): (context: Context) => Promise<unknown> {
  return async ({ client }) => client.chat.completions.create({ ...ask, ...more })
}

export function completed(more: object = {}): (context: Context) => Promise<unknown> {
  return async ({ client }) => client.completions.create({ model: 'm', prompt: 'six', ...more })
}

export function parsed(value: unknown): unknown {
  return JSON.parse(String(value))
}

export const WITH_USAGE = { stream_options: { include_usage: true } }
