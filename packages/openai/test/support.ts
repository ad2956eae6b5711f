import { record, start, type Lightning, type Span } from '@agl/core'
import { openai } from '@agl/openai'
import { startModelServer, type AnyReply, type ModelServer, type ModelServerOptions } from '@agl/testkit'
import OpenAI from 'openai'
import { afterAll, beforeAll } from 'vitest'

export const ask: { model: string; messages: { role: 'user'; content: string }[] } = {
  model: 'gpt-4o',
  messages: [{ role: 'user', content: 'What is six times seven?' }],
}

interface Run {
  client: OpenAI
  server: ModelServer
}

/** Keeps the plugin running for the tests of a file. */
export function running(): { readonly lightning: Lightning } {
  const held: { lightning?: Lightning } = {}
  beforeAll(async () => {
    held.lightning = await start({ plugins: [openai()], drain: 200, log: 'silent' })
  })
  afterAll(async () => void (await held.lightning?.shutdown()))
  return {
    get lightning() {
      if (held.lightning === undefined) throw new Error('not started')
      return held.lightning
    },
  }
}

/** The spans that `run` makes against a server with these replies; the trace's root is left out. */
export async function spansOf(
  replies: AnyReply | readonly AnyReply[],
  run: (given: Run) => unknown,
  options: ModelServerOptions = {},
): Promise<Span[]> {
  await using server = await startModelServer({ replies: isList(replies) ? replies : [replies], ...options })
  const client = new OpenAI({ apiKey: 'k', baseURL: server.baseURL, maxRetries: 0, logLevel: 'off' })
  const { spans, error } = await record('test', async () => void (await run({ client, server })))
  if (error !== undefined) throw error
  return spans.slice(0, -1)
}

function isList(value: AnyReply | readonly AnyReply[]): value is readonly AnyReply[] {
  return Array.isArray(value)
}

/** The attributes of the only span of that name. */
export function only(spans: readonly Span[], name = 'openai.chat.completion'): Span['attributes'] {
  const [span, ...more] = spans.filter((item) => item.name === name)
  if (span === undefined || more.length > 0)
    throw new Error(`There is not one ${name} among: ${spans.map((item) => item.name).join(', ')}`)
  return span.attributes
}

export async function drain(stream: AsyncIterable<unknown>): Promise<number> {
  let count = 0
  for await (const _ of stream) count++
  return count
}

export function parsed(value: unknown): unknown {
  return JSON.parse(String(value))
}
