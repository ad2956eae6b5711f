import type { ServeOptions, StoreServer } from './server/serve.ts'
import type { Store } from './store.ts'

export type { ServeOptions, StoreServer } from './server/serve.ts'

/**
 * Serves `store` over HTTP: the API of Agent Lightning v0.3 under `/v1/agl`, and OTLP at `/v1/traces`, protobuf and
 * JSON. The store stays open when the server closes.
 *
 * @example const server = await serveStore(await openStore('sqlite:agl.db'), { token: process.env.TOKEN })
 * @throws AglError usage where the port is taken or the address is not this machine's
 */
export async function serveStore(store: Store, options: ServeOptions = {}): Promise<StoreServer> {
  const { serve } = await import('./server/serve.ts')
  return serve(store, options)
}
