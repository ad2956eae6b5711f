import { onTestFinished } from 'vitest'
import { type ServeOptions, type Store, type StoreOptions, openStore, serveStore } from '../src/index.ts'

export interface Answer {
  status: number
  body: unknown
  headers: Headers
}

/** A store in memory that is served, and ways to ask it that no client of ours is in. */
export interface Served {
  url: string
  store: Store
  get(path: string, init?: RequestInit): Promise<Answer>
  post(path: string, body?: unknown, init?: RequestInit): Promise<Answer>
  close(): Promise<void>
}

export async function served(
  options: ServeOptions = {},
  storeOptions: StoreOptions = {},
  storeURL = 'memory:',
): Promise<Served> {
  const store = await openStore(storeURL, storeOptions)
  const server = await serveStore(store, { port: 0, grace: 500, ...options })
  const close = async (): Promise<void> => {
    await server.close()
    await store.close()
  }
  onTestFinished(close)
  const ask = async (path: string, init: RequestInit): Promise<Answer> => {
    const response = await fetch(`${server.url}${path.startsWith('/') ? path : `/v1/agl/${path}`}`, init)
    const text = await response.text()
    const isJSON = response.headers.get('content-type') === 'application/json'
    return {
      status: response.status,
      body: isJSON && text !== '' ? JSON.parse(text) : text,
      headers: response.headers,
    }
  }
  return {
    url: server.url,
    store,
    get: (path, init = {}) => ask(path, init),
    post: (path, body, init = {}) =>
      ask(path, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
        ...init,
      }),
    close,
  }
}
