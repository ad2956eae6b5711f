import { messageOf, usage } from '../errors.ts'
import { load, need } from '../packages.ts'
import { DEFAULT_STORE, openStore } from '../store.ts'
import { print } from '../terminal.ts'

export interface ServeCommandOptions {
  store: string | undefined
  port: number
  host: string | undefined
  token: string | undefined
  cors: string | undefined
  verbose: boolean
}

/** Serves a store until the process is told to end; what is being answered then is answered first. */
export async function serve(options: ServeCommandOptions): Promise<void> {
  const { store: url = DEFAULT_STORE, port, host = '127.0.0.1', verbose } = options
  const token = options.token ?? (process.env['AGL_STORE_TOKEN'] || undefined)
  if (/^https?:/i.test(url)) throw usage(`The store at ${url} is served already; name a file or a database.`)
  const folders = [process.cwd()]
  need(['@agl/core', '@agl/store'], folders)
  const { serveStore } = await load('@agl/store', folders)
  const store = await openStore(url, folders)
  const ended = signalled()
  try {
    const server = await serveStore(store, {
      port,
      host,
      ...(token !== undefined && { token }),
      ...(options.cors !== undefined && { cors: options.cors.split(',') }),
      onError: (error) => {
        console.error(`agl: ${messageOf(error)}`)
        if (verbose) console.error(error)
      },
    })
    print([`${store.url} is served at ${server.url}`])
    if (token === undefined && !isLocal(host)) {
      console.error('agl: everybody who reaches this address can read and change the store; see --token.')
    }
    await ended
    await server.close()
  } finally {
    await store.close()
  }
}

/** Resolves at the first signal to end; a second one ends at once. */
function signalled(): Promise<void> {
  return new Promise((resolve) => {
    let isEnding = false
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => {
        if (isEnding) process.exit(1)
        isEnding = true
        resolve()
      })
    }
  })
}

function isLocal(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.')
}

/** A port of `--port`; 0 is any that is free. */
export function portOf(text: string): number {
  const port = Number(text)
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port
  throw usage(`The port "${text}" is none; give a number from 0 to 65535.`)
}
