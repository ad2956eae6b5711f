import { record, start, type Config, type Span } from '@agl/core'
import { startModelServer, type ModelServer, type ModelServerOptions } from '@agl/testkit'
import { vllm, type VllmOptions } from '@agl/vllm'
import OpenAI from 'openai'

export const ask: { model: string; messages: { role: 'user'; content: string }[] } = {
  model: 'm',
  messages: [{ role: 'user', content: 'What is six times seven?' }],
}

interface Run {
  client: OpenAI
  server: ModelServer
}

interface Outcome<T> {
  result: T
  /** Without the root. */
  spans: Span[]
  /** Parsed bodies of the requests. */
  bodies: unknown[]
}

/** Runs a program under the plugin, against a server of vLLM's kind. */
export async function run<T>(
  server: ModelServerOptions,
  program: (given: Run) => Promise<T>,
  options: VllmOptions = {},
  config: Config = {},
): Promise<Outcome<T>> {
  await using model = await startModelServer({ flavor: 'vllm', ...server })
  await using _ = await start({ plugins: [vllm(options)], log: 'silent', ...config })
  const client = new OpenAI({ apiKey: 'k', baseURL: model.baseURL, maxRetries: 0, logLevel: 'off' })
  const { result, error, spans } = await record('test', () => program({ client, server: model }))
  if (error !== undefined || result === undefined) throw error ?? new Error('no result')
  return { result, spans: spans.slice(0, -1), bodies: model.requests.map(({ body }) => body) }
}

export async function collect<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = []
  for await (const item of stream) items.push(item)
  return items
}

/** All ids under `key` in what the server sent, for a choice, in order: an independent reading. */
export function sent(chunks: readonly unknown[], key: string, index?: number): number[] {
  const ids: number[] = []
  for (const chunk of chunks) {
    const holders: unknown[] = index === undefined ? [chunk] : Object(chunk).choices
    for (const holder of holders) {
      const list: unknown = Object(holder)[key]
      if ((index === undefined || Object(holder).index === index) && Array.isArray(list)) ids.push(...list)
    }
  }
  return ids
}

/** What is recorded about token ids, as plain lists. */
export function tokens(span: Span | undefined): Record<string, unknown> {
  const found: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(span?.attributes ?? {})) {
    if (/(^|\.)(prompt|response)_token_ids$|^agl\.tokens\./.test(key))
      found[key] = value instanceof Int32Array ? [...value] : value
  }
  return found
}
