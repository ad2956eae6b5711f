import { existsSync, readFileSync } from 'node:fs'
import { createRequire, findPackageJSON } from 'node:module'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { resolveIn } from './packages.ts'

/** Packages looked through at most, in projects with very many. */
const MOST_PACKAGES = 2000

/** Folders of every package that the project in `folder` reaches by its dependencies, the project's own first. */
function reachable(folder: string): string[] {
  const folders: string[] = []
  const seen = new Set<string>()
  const waiting = [projectOf(folder) ?? folder]
  for (
    let next = waiting.shift();
    next !== undefined && folders.length < MOST_PACKAGES;
    next = waiting.shift()
  ) {
    if (seen.has(next)) continue
    seen.add(next)
    folders.push(next)
    waiting.push(...dependenciesOf(next, folders.length === 1))
  }
  return folders
}

function projectOf(folder: string): string | undefined {
  if (existsSync(join(folder, 'package.json'))) return folder
  const parent = dirname(folder)
  return parent === folder ? undefined : projectOf(parent)
}

function dependenciesOf(folder: string, isProject: boolean): string[] {
  const { dependencies, optionalDependencies, peerDependencies, devDependencies } = manifestOf(folder)
  const names = Object.keys({
    ...dependencies,
    ...optionalDependencies,
    ...peerDependencies,
    ...(isProject ? devDependencies : {}),
  })
  return names.flatMap((name) => packageFolder(name, folder) ?? [])
}

function packageFolder(name: string, folder: string): string | undefined {
  try {
    const found = findPackageJSON(name, pathToFileURL(join(folder, 'index.js')))
    return found === undefined ? undefined : dirname(found)
  } catch {
    return undefined
  }
}

type Names = Readonly<Record<string, string>>

interface Manifest {
  version?: string
  dependencies?: Names
  optionalDependencies?: Names
  peerDependencies?: Names
  devDependencies?: Names
}

function manifestOf(folder: string): Manifest {
  try {
    const manifest: Manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    return manifest
  } catch {
    return {}
  }
}

/** Loads every copy of `names` that the project can reach, as ES module and as CommonJS, so that plugins see them. */
export async function loadHosts(names: readonly string[], folder: string): Promise<void> {
  const folders = reachable(folder)
  const asESM = new Set<string>()
  const asCommonJS = new Set<string>()
  for (const name of names) {
    for (const from of folders) {
      const url = resolveIn(from, name)
      if (url === undefined) continue
      asESM.add(url)
      try {
        asCommonJS.add(createRequire(join(from, 'index.js')).resolve(name))
      } catch {
        continue
      }
    }
  }
  // One that cannot be loaded is missing from the table, and its plugin's state says why.
  for (const url of asESM) await import(url).catch(() => undefined)
  for (const path of asCommonJS) {
    try {
      createRequire(path)(path)
    } catch {
      continue
    }
  }
}

/** The version of the package that `folder` would get; undefined where there is none. */
export function versionOf(name: string, folder: string): string | undefined {
  const path = packageFolder(name, folder)
  return path === undefined ? undefined : manifestOf(path).version
}
