import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { Config } from '@agl/core'
import { CliError, codeOf, messageOf } from './errors.ts'
import { load, missingPackage, resolveIn } from './packages.ts'

const NAMES = ['agl.config.ts', 'agl.config.mts', 'agl.config.js', 'agl.config.mjs']

/** A configuration and where it came from. */
export interface Loaded {
  config: Config
  /** The file; undefined where there is none and the plugins that are installed were taken. */
  file: string | undefined
  /** Where its packages are looked up. */
  folder: string
}

/** The nearest agl.config file in `folder` or above. */
function findConfig(folder: string): string | undefined {
  const found = NAMES.map((name) => join(folder, name)).find((file) => existsSync(file))
  const parent = dirname(folder)
  return found ?? (parent === folder ? undefined : findConfig(parent))
}

/**
 * Loads the configuration `given`, or the nearest above the working folder, or makes one of the plugins that are
 * installed for `folder`.
 */
export async function loadConfig(given: string | undefined, folder: string): Promise<Loaded> {
  const file = given === undefined ? findConfig(process.cwd()) : resolve(given)
  if (file === undefined) return { config: await installedPlugins(folder), file, folder }
  if (!existsSync(file)) throw new CliError(`The configuration file ${given} does not exist; check the path.`)
  return { config: await importConfig(file), file, folder: dirname(file) }
}

async function importConfig(file: string): Promise<Config> {
  const module: { default?: unknown } = await import(pathToFileURL(file).href).catch((error: unknown) => {
    throw explain(error, file)
  })
  const config: unknown = await module.default
  if (isConfig(config)) return config
  throw new CliError(
    `${shown(file)} has no configuration as its default export; write: export default defineConfig({ … })`,
  )
}

/** Only that it is an object: `start` looks at what is inside. */
function isConfig(value: unknown): value is Config {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

async function installedPlugins(folder: string): Promise<Config> {
  const plugins = []
  if (resolveIn(folder, '@agl/openai') !== undefined)
    plugins.push((await load('@agl/openai', [folder])).openai())
  if (resolveIn(folder, '@agl/vllm') !== undefined) plugins.push((await load('@agl/vllm', [folder])).vllm())
  if (resolveIn(folder, '@agl/langchain') !== undefined)
    plugins.push((await load('@agl/langchain', [folder])).langchain())
  return { plugins }
}

function explain(error: unknown, file: string): CliError {
  const wanted = missingPackage(error)
  const place = placeOf(error, file) ?? shown(file)
  if (wanted !== undefined) {
    return new CliError(`${place} imports ${wanted}, which is not installed; run: npm install ${wanted}`, {
      cause: error,
    })
  }
  const message = messageOf(error).replaceAll(/\s+/g, ' ').replace(/\.$/, '')
  if (codeOf(error) === 'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX') {
    return new CliError(
      `${place} uses TypeScript that Node cannot run by itself (${message}); write it in plain TypeScript, or set NODE_OPTIONS="--import tsx".`,
      { cause: error },
    )
  }
  if (message.startsWith('Cannot use import statement outside a module')) {
    return new CliError(
      `${place} is an ES module, and the package.json beside it says "type": "commonjs"; make that "type": "module", or call the file agl.config.mts.`,
      { cause: error },
    )
  }
  const what = error instanceof SyntaxError ? 'does not compile' : 'failed while it was loaded'
  return new CliError(`${place} ${what}: ${message}; repair it and run again.`, { cause: error })
}

/** File and line of what went wrong, as `agl.config.ts:3`, where it can be told. */
function placeOf(error: unknown, file: string): string | undefined {
  const stack = error instanceof Error ? (error.stack ?? '') : ''
  const place = firstPlace(stack.split('\n')[0]) ?? firstPlace(frameIn(stack, file))
  if (place !== undefined || !(error instanceof SyntaxError)) return place
  // Node keeps the place of a JavaScript syntax error to itself until it prints it.
  const { stderr } = spawnSync(process.execPath, ['--check', file], { encoding: 'utf8' })
  return firstPlace(stderr.split('\n')[0])
}

function frameIn(stack: string, file: string): string | undefined {
  const url = pathToFileURL(file).href
  const frame = stack.split('\n').find((line) => line.includes(`${url}:`))
  return frame === undefined ? undefined : /(file:.+:\d+):\d+\)?$/.exec(frame)?.[1]
}

function firstPlace(line: string | undefined): string | undefined {
  const [, path, number] = /^(\S.*):(\d+)$/.exec(line ?? '') ?? []
  if (path === undefined) return undefined
  return `${shown(path.startsWith('file:') ? fileURLToPath(path) : path)}:${number}`
}

/** A path as the user would write it. */
export function shown(path: string): string {
  const near = relative(process.cwd(), path)
  return near.startsWith('..') ? path : near
}
