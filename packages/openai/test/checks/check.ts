import { setTimeout as sleep } from 'node:timers/promises'
import type { Span } from '@agl/core'
import { startModelServer, type ModelServer, type ModelServerOptions } from '@agl/testkit'
import type { Client, Copy } from '../copies.ts'

interface Context {
  client: Client
  server: ModelServer
  copy: Copy
}

/** Something that a program may do with the client, told as plain data. */
export interface Check {
  name: string
  server?: ModelServerOptions
  client?: { apiKey?: string; maxRetries?: number; timeout?: number }
  run(context: Context): Promise<unknown>
  /** The spans that it makes, by `lineOf`; the order is that of their ends. */
  spans: readonly string[] | ((major: number) => readonly string[])
  /** Further looks at the spans. Throws where something is wrong. */
  look?(spans: readonly Span[]): void
}

export { ask } from '../support.ts'

/** Runs a check against a server of its own. What it returns must not depend on the tracer's presence. */
export async function observe(
  copy: Copy,
  check: Check,
  around: (fn: () => Promise<unknown>) => Promise<unknown> = (fn) => fn(),
): Promise<unknown> {
  const options = { reply: () => 'forty two', deterministic: true, ...check.server }
  await using server = await startModelServer(options)
  const client = new copy.OpenAI({
    apiKey: 'test-key',
    baseURL: server.baseURL,
    maxRetries: 0,
    logLevel: 'off',
    ...check.client,
  })
  const outcome = await around(async () => {
    const result = await settled(() => check.run({ client, server, copy }))
    await server.idle()
    return result
  })
  const requests = server.requests.map(({ method, path, headers, rawBody, status, aborted }) => {
    return { method, path, headers, rawBody, status, aborted }
  })
  return JSON.parse(JSON.stringify({ outcome, requests }).replaceAll(String(server.port), 'PORT'))
}

/** The result, or what was thrown, in a form that can be compared. */
export async function settled(fn: () => unknown): Promise<unknown> {
  try {
    return { returned: (await fn()) ?? null }
  } catch (error) {
    return { thrown: describeError(error) }
  }
}

function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return { type: typeof error, text: String(error) }
  const { cause } = error
  const own: Record<string, unknown> = Object.fromEntries(Object.entries(error))
  delete own['headers']
  delete own['cause']
  return {
    class: error.constructor.name,
    name: error.name,
    message: error.message,
    text: String(error),
    own,
    keys: Object.keys(error),
    ...(cause instanceof Error ? { cause: { name: cause.name, message: cause.message } } : {}),
  }
}

/** A span in one line: name, status, HTTP status, how it was cut, its error, finish reason and text. */
export function lineOf({ name, status, attributes }: Span): string {
  const said = attributes['gen_ai.completion.0.content']
  return [
    name.replace(/^openai\./, ''),
    status.statusCode,
    attributes['http.response.status_code'],
    attributes['agl.finish'],
    attributes['error.type'],
    attributes['gen_ai.completion.0.finish_reason'],
    said === undefined ? undefined : JSON.stringify(said),
  ]
    .filter((part) => part !== undefined)
    .join(' ')
}

export async function collect<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = []
  for await (const item of stream) items.push(item)
  return items
}

export function pause(ms: number): Promise<void> {
  return sleep(ms)
}

/** Property names with what tells one kind of property from another. */
export function shapeOf(value: object): unknown {
  const keys = Object.keys(value)
  const inherited = Object.getPrototypeOf(value)
  return {
    keys,
    spread: Object.keys({ ...value }),
    class: value.constructor.name,
    prototype: Object.getOwnPropertyNames(inherited).toSorted(),
  }
}
