import { registerHooks } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { CliError, codeOf, messageOf } from './errors.ts'

/** The packages that commands load when they need them. */
export interface Packages {
  '@agl/core': typeof import('@agl/core')
  '@agl/langchain': typeof import('@agl/langchain')
  '@agl/openai': typeof import('@agl/openai')
  '@agl/store': typeof import('@agl/store')
  '@agl/testkit': typeof import('@agl/testkit')
  '@agl/train': typeof import('@agl/train')
  '@agl/vllm': typeof import('@agl/vllm')
  openai: typeof import('openai')
}

const own = dirname(fileURLToPath(import.meta.url))

/** The file that `import specifier` means in `folder`; undefined where no package of that name is installed. */
export function resolveIn(folder: string, specifier: string): string | undefined {
  const parentURL = pathToFileURL(join(folder, 'index.js')).href
  const request = `agl-resolve:${encodeURIComponent(folder)}/${specifier}`
  const hooks = registerHooks({
    resolve: (asked, context, next) =>
      asked === request ? next(specifier, { ...context, parentURL }) : next(asked, context),
  })
  try {
    return import.meta.resolve(request)
  } catch (error) {
    const code = codeOf(error)
    if (code === 'ERR_MODULE_NOT_FOUND' || code === 'ERR_PACKAGE_PATH_NOT_EXPORTED') return undefined
    throw error
  } finally {
    hooks.deregister()
  }
}

/** Where `specifier` is, seen from the first of `folders` that has it, or from here. */
function find(specifier: string, folders: readonly string[]): string | undefined {
  for (const folder of [...folders, own]) {
    const url = resolveIn(folder, specifier)
    if (url !== undefined) return url
  }
  return undefined
}

/** Loads a package as the project in `folders` has it, else one that this package has itself. */
export async function load<Name extends keyof Packages>(
  name: Name,
  folders: readonly string[],
): Promise<Packages[Name]> {
  const url = find(name, folders)
  if (url === undefined) throw missing([name])
  try {
    const loaded: Packages[Name] = await import(url)
    return loaded
  } catch (error) {
    const wanted = missingPackage(error)
    if (wanted === undefined) throw error
    throw new CliError(`${name} needs ${wanted}, which is not installed; run: npm install ${wanted}`, {
      cause: error,
    })
  }
}

/** Names all of `names` that are missing at once, rather than one per try. @throws CliError */
export function need(names: readonly (keyof Packages)[], folders: readonly string[]): void {
  const wanted = names.filter((name) => find(name, folders) === undefined)
  if (wanted.length > 0) throw missing(wanted)
}

function missing(names: readonly string[]): CliError {
  const verb = names.length === 1 ? 'is' : 'are'
  return new CliError(
    `${names.join(', ')} ${verb} needed for this and not installed; run: npm install ${names.join(' ')}`,
  )
}

/** The package that an import could not find, if that is what `error` says. */
export function missingPackage(error: unknown): string | undefined {
  if (codeOf(error) !== 'ERR_MODULE_NOT_FOUND') return undefined
  return /Cannot find package '([^']+)'/.exec(messageOf(error))?.[1]
}
