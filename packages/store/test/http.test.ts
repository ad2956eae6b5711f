import { openStore, type Store, type StoreOptions, serveStore } from '../src/index.ts'
import { lifecycleContract } from './contract-lifecycle.ts'
import { storeContract } from './contract.ts'

/** A client of our server before a store in memory; closing it closes all three. */
async function open(options?: StoreOptions): Promise<Store> {
  const backend = await openStore('memory:', options)
  const server = await serveStore(backend, { port: 0, grace: 1000 })
  const client = await openStore(server.url)
  const close = client.close.bind(client)
  client.close = async () => {
    await close()
    await server.close()
    await backend.close()
  }
  return client
}

storeContract('http: over memory:', open)
lifecycleContract('http: over memory:', open)
