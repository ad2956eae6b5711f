import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { join } from 'node:path'

/** The repository's root folder. */
export const root: string = fileURLToPath(new URL('..', import.meta.url))

type Dependencies = Readonly<Record<string, string>>

/** An entry of `exports`: a path, or paths by condition. */
export type ExportTarget = string | Readonly<Record<string, string>>

/** The fields of a package.json that the scripts read. */
export interface Manifest {
  readonly name: string
  readonly version: string
  readonly private?: boolean
  readonly bin?: Readonly<Record<string, string>>
  readonly files?: readonly string[]
  readonly exports?: Readonly<Record<string, ExportTarget>>
  readonly dependencies?: Dependencies
  readonly devDependencies?: Dependencies
  readonly peerDependencies?: Dependencies
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>
}

/** A workspace folder; `path` is absolute, `folder` relative to the root (`packages/core`). */
export interface Workspace {
  readonly folder: string
  readonly path: string
  readonly manifest: Manifest
}

export function readManifest(path: string): Manifest {
  return JSON.parse(readFileSync(join(path, 'package.json'), 'utf8'))
}

/** Every folder with a package.json under `parents`, in name order. */
export function workspaces(parents: readonly string[] = ['packages']): Workspace[] {
  return parents.flatMap((parent) =>
    (existsSync(join(root, parent)) ? readdirSync(join(root, parent)) : [])
      .map((name) => `${parent}/${name}`)
      .filter((folder) => existsSync(join(root, folder, 'package.json')))
      .map((folder) => ({ folder, path: join(root, folder), manifest: readManifest(join(root, folder)) })),
  )
}

/** The source files that a package's `exports` and `bin` start from, keyed by their name in `dist`. */
export function entries(manifest: Manifest): Record<string, string> {
  const exported = Object.values(manifest.exports ?? {}).flatMap((target) => {
    const source = typeof target === 'string' ? undefined : target['@agl/source']
    return source === undefined ? [] : [source]
  })
  const bins = Object.values(manifest.bin ?? {}).map((file) =>
    file.replace('/dist/', '/src/').replace(/\.js$/, '.ts'),
  )
  return Object.fromEntries(
    [...exported, ...bins].map((source) => [source.replace('./src/', '').replace(/\.ts$/, ''), source]),
  )
}
