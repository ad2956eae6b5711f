import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Store } from '@agl/store'
import { CliError, messageOf } from './errors.ts'
import { load } from './packages.ts'

export const DEFAULT_STORE = 'sqlite:.agl/agl.db'

/** Opens the store at `url`, making the folder `.agl` that Git ignores where the store goes there. */
export async function openStore(url: string, folders: readonly string[]): Promise<Store> {
  const { openStore: open } = await load('@agl/store', folders)
  if (url.startsWith('sqlite:.agl/')) makeFolder('.agl')
  const store = await open(url)
  // A server is only asked when it is needed, and what runs should not find out at its end that nobody is there.
  if (/^https?:/.test(url)) await store.statistics()
  return store
}

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, '.gitignore'), '*\n', { flag: 'wx' })
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return
    throw new CliError(
      `The folder ${folder} for the store cannot be made (${messageOf(error)}); choose another place with --store sqlite:FILE.`,
      { cause: error },
    )
  }
}

/** Opens a store to read from: a file that is not there is an error, not a new store. */
export async function openExisting(url: string, folders: readonly string[]): Promise<Store> {
  const path = /^sqlite:(?:\/\/(?=\/))?(.+)$/s.exec(url)?.[1]
  if (path !== undefined && !existsSync(path)) {
    throw new CliError(
      `There is no store at ${path}; record a program with "agl run FILE", or name another store with --store.`,
    )
  }
  const { openStore: open } = await load('@agl/store', folders)
  return open(url)
}
