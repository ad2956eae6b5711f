import type { Span } from '@agl/core'
import type { Store } from '@agl/store'
import { isModelCall, text } from './render/spans.ts'

/** Traces looked through, the newest. */
const TRACES = 20

/** A server that recorded programs called, by the client's base URL. */
export interface Server {
  baseURL: string
  calls: number
  /** Calls whose answer came with token ids. */
  withTokenIds: number
}

/** Where the model calls of the newest traces in `store` went. */
export async function calledServers(store: Store): Promise<Server[]> {
  const { items } = await store.queryRollouts({ sortBy: 'startTime', sortOrder: 'desc', limit: TRACES })
  const servers = new Map<string, Server>()
  for (const { rolloutId } of items) {
    const { items: spans } = await store.querySpans({ rolloutId })
    for (const span of spans) count(span, servers)
  }
  return [...servers.values()]
}

function count(span: Span, servers: Map<string, Server>): void {
  const baseURL = text(span, 'agl.base_url')
  // Embeddings generate nothing, and a call that failed says nothing about its server.
  const failed = span.status.statusCode === 'ERROR'
  if (baseURL === undefined || failed || !isModelCall(span)) return
  if (span.attributes['gen_ai.request.type'] === 'embedding') return
  const server = servers.get(baseURL) ?? { baseURL, calls: 0, withTokenIds: 0 }
  server.calls++
  if ('response_token_ids' in span.attributes) server.withTokenIds++
  servers.set(baseURL, server)
}
