import { open, readFile, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import { AglError } from '@agl/core'
import { codeOf, notWritable } from './files.ts'

/** Who writes a file. Process ids are used again, so the time at which the process began is told too. */
interface Owner {
  pid: number
  host: string
  /** Unix milliseconds. */
  began: number
}

/** The clock may be set while a process runs. */
const SAME = 2000

/**
 * Runs `work` while no other export writes to `path`, held off by `PATH.lock`. What a process that is gone left behind
 * counts for nothing.
 *
 * @throws AglError `usage` where another export writes to it
 */
export async function exclusively<Result>(path: string, work: () => Promise<Result>): Promise<Result> {
  const lock = `${path}.lock`
  const me: Owner = { pid: process.pid, host: hostname(), began: Date.now() - process.uptime() * 1000 }
  if (!(await make(lock, me, path))) {
    const owner = await ownerOf(lock)
    if (owner === undefined || isRunning(owner, me)) throw taken(path, lock, owner)
    await rm(lock, { force: true })
    if (!(await make(lock, me, path))) throw taken(path, lock, await ownerOf(lock))
  }
  try {
    return await work()
  } finally {
    await rm(lock, { force: true })
  }
}

/** Whether it was not there. */
async function make(lock: string, owner: Owner, path: string): Promise<boolean> {
  try {
    await using file = await open(lock, 'wx')
    await file.writeFile(JSON.stringify(owner))
    return true
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false
    throw notWritable(path, error)
  }
}

async function ownerOf(lock: string): Promise<Owner | undefined> {
  try {
    const { pid, host, began }: Partial<Owner> = JSON.parse(await readFile(lock, 'utf8'))
    if (typeof pid === 'number' && typeof host === 'string' && typeof began === 'number')
      return { pid, host, began }
  } catch {
    // It is being written, or was removed.
  }
  return undefined
}

function isRunning({ pid, host, began }: Owner, me: Owner): boolean {
  if (host !== me.host) return true
  // A container gives its program the same id each time.
  if (pid === me.pid) return Math.abs(began - me.began) < SAME
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return codeOf(error) === 'EPERM'
  }
}

function taken(path: string, lock: string, owner: Owner | undefined): AglError {
  const who = owner === undefined ? '' : ` (process ${owner.pid} on ${owner.host})`
  return new AglError(
    'usage',
    `Another export${who} is writing to ${path}; wait for it, choose another file, or remove ${lock} if there is none.`,
  )
}
