import { openStore, serveStore } from '@agl/store'

/** Our server, for serve.ts: prints its URL, and ends when standard input does. */
const store = await openStore(process.argv[2] ?? 'memory:')
const server = await serveStore(store, { port: 0 })
console.log(server.url)
process.stdin.resume().on('end', () => {
  void server.close().then(() => store.close())
})
