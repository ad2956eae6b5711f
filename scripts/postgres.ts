import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/*
 * A real PostgreSQL to test with: the one that is installed, or Debian's, unpacked into a cache folder. Its cluster is a
 * new folder for temporary files, listens on 127.0.0.1 alone, and goes when the program does.
 *
 * `node scripts/postgres.ts COMMAND [ARGS…]` runs a command with the server's URL in AGL_TEST_POSTGRES.
 */

export interface PostgresServer {
  readonly url: string
  readonly version: string
  /** Starts it again on the same port and files, after `stop` or `kill`. */
  start(): Promise<void>
  /** Ends it at once but cleanly, as an administrator's restart does: open connections are closed. */
  stop(): Promise<void>
  /** Ends all its processes with SIGKILL. */
  kill(): Promise<void>
  /** Ends it and removes its files. */
  remove(): Promise<void>
}

interface Installation {
  bin: string
  /** Where libraries are that the system itself does not have. */
  libraries: string | undefined
}

const isRoot = process.getuid?.() === 0
/** Root's own cache is closed to the user as whom the server runs. */
const caches = isRoot ? '/var/cache' : (process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'))
const cache = join(caches, 'agl-postgres')

/** The installed PostgreSQL, or the one in the cache; undefined where there is none. */
export function findPostgres(): Installation | undefined {
  const given = process.env['AGL_POSTGRES_BIN']
  const candidates = given === undefined ? ['/usr', cache].flatMap(debianFolders) : [given]
  const bin = candidates.find((folder) => existsSync(join(folder, 'initdb')))
  if (bin === undefined) return undefined
  const arch = execFileSync('uname', ['-m'], { encoding: 'utf8' }).trim()
  const libraries = join(cache, 'usr/lib', `${arch}-linux-gnu`)
  return { bin, libraries: bin.startsWith(cache) ? libraries : undefined }
}

/** Newest version first. */
function debianFolders(root: string): string[] {
  const folder = join(root, root === '/usr' ? 'lib/postgresql' : 'usr/lib/postgresql')
  if (!existsSync(folder)) return []
  return readdirSync(folder)
    .toSorted((a, b) => Number(b) - Number(a))
    .map((version) => join(folder, version, 'bin'))
}

/** Unpacks Debian's packages, and those that they need and the system lacks, into the cache. Nothing is installed. */
function unpack(): Installation {
  const run = (program: string, args: readonly string[], cwd?: string): string =>
    execFileSync(program, args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
      ...(cwd && { cwd }),
    })
  const wanted = (): string[] => {
    const uris = run('apt-get', ['install', '--print-uris', '-qq', '--no-install-recommends', 'postgresql'])
    return [...uris.matchAll(/'[^']*' (\S+?)_\S+\.deb /g)].map(([, name = '']) => name)
  }
  const packages = join(cache, 'packages')
  mkdirSync(packages, { recursive: true })
  // The sandbox user of apt may not write to a folder of ours.
  const options = ['-o', 'APT::Sandbox::User=']
  if (isRoot) run('apt-get', ['update', '-qq'])
  run('apt-get', ['download', '-qq', ...options, ...wanted()], packages)
  for (const file of readdirSync(packages)) run('dpkg', ['-x', join(packages, file), cache])
  const found = findPostgres()
  if (found === undefined) throw new Error(`Debian's packages in ${packages} hold no PostgreSQL.`)
  return found
}

/** PostgreSQL refuses to be run by root. */
function servant(): { uid: number; gid: number } | undefined {
  if (!isRoot) return undefined
  for (const name of ['postgres', 'nobody']) {
    const id = (kind: string): number => Number(spawnSync('id', [kind, name], { encoding: 'utf8' }).stdout)
    if (id('-u') > 0) return { uid: id('-u'), gid: id('-g') }
  }
  throw new Error('PostgreSQL cannot be run as root, and there is no user "nobody" to run it as.')
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  if (address === null || typeof address === 'string') throw new Error('No port is free.')
  return address.port
}

/** Starts a PostgreSQL with an empty database, unpacked first where none is installed. */
export async function startPostgres(): Promise<PostgresServer> {
  const { bin, libraries } = findPostgres() ?? unpack()
  const user = servant()
  const folder = mkdtempSync(join(tmpdir(), 'agl-postgres-'))
  if (user !== undefined) chownSync(folder, user.uid, user.gid)
  const options = {
    cwd: folder,
    ...user,
    env: { PATH: process.env['PATH'], LC_ALL: 'C.UTF-8', ...(libraries && { LD_LIBRARY_PATH: libraries }) },
  }
  const data = join(folder, 'data')
  execFileSync(
    join(bin, 'initdb'),
    ['-D', data, '-U', 'postgres', '--auth=trust', '--encoding=UTF8', '--no-sync'],
    { ...options, stdio: 'pipe' },
  )
  const version = execFileSync(join(bin, 'postgres'), ['--version'], { ...options, encoding: 'utf8' }).trim()
  const port = await freePort()
  let server: ChildProcess | undefined
  let log = ''

  const isReady = (): boolean =>
    spawnSync(join(bin, 'pg_isready'), ['-q', '-h', '127.0.0.1', '-p', String(port)], options).status === 0
  const start = async (): Promise<void> => {
    // A socket in /tmp would be found by others; `max_connections` is that of many small programs side by side.
    const settings = {
      listen_addresses: '127.0.0.1',
      port,
      unix_socket_directories: '',
      max_connections: 200,
    }
    const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
    server = spawn(join(bin, 'postgres'), ['-D', data, ...flags], {
      ...options,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    server.stderr?.on('data', (text: Buffer) => (log = (log + text.toString()).slice(-10_000)))
    for (let waited = 0; !isReady(); waited += 50) {
      if (server.exitCode !== null || waited > 60_000) throw new Error(`PostgreSQL did not start:\n${log}`)
      await sleep(50)
    }
  }
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (server === undefined || server.exitCode !== null || server.signalCode !== null) return
    const ended = once(server, 'exit')
    server.kill(signal)
    await ended
  }
  const kill = async (): Promise<void> => {
    const pid = server?.pid
    if (pid === undefined) return
    const children = spawnSync('ps', ['-o', 'pid=', '--ppid', String(pid)], { encoding: 'utf8' })
    const killed = end('SIGKILL')
    for (const child of (children.stdout ?? '').split('\n').map(Number)) {
      try {
        if (child > 0) process.kill(child, 'SIGKILL')
      } catch {
        // Gone by itself.
      }
    }
    await killed
  }
  const clean = (): void => {
    // A server that is left would go on for ever, and with `immediate` none of its files matter.
    server?.kill('SIGQUIT')
    rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
  }
  process.once('exit', clean)
  await start()
  return {
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    version,
    start,
    stop: () => end('SIGINT'),
    kill,
    remove: async () => {
      process.off('exit', clean)
      await end('SIGQUIT')
      rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
    },
  }
}

if (import.meta.main) {
  const [command, ...args] = process.argv.slice(2)
  if (command === undefined) {
    console.error('usage: node scripts/postgres.ts COMMAND [ARGS…]')
    process.exit(2)
  }
  const postgres = await startPostgres()
  console.log(`${postgres.version} at ${postgres.url}`)
  const child = spawn(command, args, {
    stdio: 'inherit',
    env: { ...process.env, AGL_TEST_POSTGRES: postgres.url },
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal))
  const [code] = await once(child, 'exit')
  await postgres.remove()
  process.exit(typeof code === 'number' ? code : 1)
}
