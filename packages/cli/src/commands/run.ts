import { existsSync } from 'node:fs'
import Module, { createRequire } from 'node:module'
import { basename, dirname, join, resolve } from 'node:path'
import type { Config, Sink } from '@agl/core'
import { type Loaded, loadConfig, shown } from '../config.ts'
import { CliError } from '../errors.ts'
import { host } from '../host.ts'
import { load, need } from '../packages.ts'
import { DEFAULT_STORE, openStore } from '../store.ts'

export interface RunOptions {
  config?: string | undefined
  store?: string | undefined
  name?: string | undefined
  quiet?: boolean
}

/** Runs the program `file` in this process, as `node file …args` would, with everything in it recorded as one trace. */
export async function run(file: string, args: readonly string[], options: RunOptions): Promise<void> {
  const path = locate(file)
  // Plugins may look for their hosts from the program's own file, so this comes first.
  process.argv = [process.execPath, resolve(file), ...args]
  const loaded = await loadConfig(options.config, dirname(path))
  const { config, folder } = loaded
  const folders = [folder, dirname(path), process.cwd()]
  need(['@agl/core', '@agl/store'], folders)
  const core = await load('@agl/core', folders)
  const { storeSink } = await load('@agl/store', folders)
  const url = options.store ?? DEFAULT_STORE
  const store = await openStore(url, folders)
  const lightning = await core.start(withSink(config, storeSink(store)))
  if (options.quiet !== true) announce(loaded)
  const trace = core.openTrace(options.name ?? basename(path))
  host(trace, lightning, {
    quiet: options.quiet ?? false,
    store: options.store,
    // A store over the network can be written to at the very end too, but only by another process.
    slow: hasSlowSinks(config) || !/^(memory|sqlite):/.test(url),
  })
  // What `node FILE` does itself: import.meta.main, require.main and the exit codes are those that the program expects.
  // In a tick of its own, so that what it throws at once is its own uncaught error and not one of this command.
  process.nextTick(() => trace.run(() => Module.runMain(process.argv[1])))
}

function locate(file: string): string {
  const path = resolve(file)
  if (existsSync(path)) return path
  try {
    return createRequire(join(process.cwd(), 'index.js')).resolve(path)
  } catch (cause) {
    throw new CliError(`The program ${file} does not exist; check the path.`, { cause })
  }
}

/** Adds `sink` wherever an environment may replace the list. */
function withSink(config: Config, sink: Sink): Config {
  const add = (sinks: readonly Sink[] = []): Sink[] => [...sinks, sink]
  const environments = Object.entries(config.environments ?? {}).map(([name, overlay]) => [
    name,
    overlay?.sinks === undefined ? overlay : { ...overlay, sinks: add(overlay.sinks) },
  ])
  return {
    ...config,
    sinks: add(config.sinks),
    // The exit handler writes what is left: the program ends as soon as it would without us.
    queue: { keepAlive: false, ...config.queue },
    ...(config.environments === undefined ? {} : { environments: Object.fromEntries(environments) }),
  }
}

/** Whether something besides our store may have to be waited for at the end. */
function hasSlowSinks(config: Config): boolean {
  const overlays = Object.values(config.environments ?? {})
  return [config, ...overlays].some(({ sinks = [], exporters = [] }) => sinks.length + exporters.length > 0)
}

function announce({ config, file, folder }: Loaded): void {
  if (file !== undefined) return
  const names = (config.plugins ?? []).map(({ name }) => name)
  console.error(
    names.length > 0
      ? `agl: no agl.config file here or above; using the installed plugins with their defaults: ${names.join(', ')}.`
      : `agl: no agl.config file here or above, and no plugin is installed for ${shown(folder) || 'this folder'}, so model calls are not recorded; run: npm install @agl/openai`,
  )
}
