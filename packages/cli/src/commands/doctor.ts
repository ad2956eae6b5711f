import { join } from 'node:path'
import type { Host, Plugin, PluginStatus } from '@agl/core'
import { type Loaded, loadConfig, shown } from '../config.ts'
import { loadHosts, versionOf } from '../hosts.ts'
import { load } from '../packages.ts'
import { type Paint, table } from '../render/text.ts'
import { paint, print } from '../terminal.ts'

export interface DoctorOptions {
  config?: string | undefined
  json: boolean
}

interface Diagnosis {
  node: string
  /** Version of @opentelemetry/api; null where there is none. */
  opentelemetry: string | null
  /** Null where the installed plugins were taken for lack of a file. */
  config: string | null
  plugins: PluginStatus[]
}

/** Starts the plugins as `agl run` would, loads their hosts, and prints what became of them. Exit code 1 unless all are active. */
export async function doctor(options: DoctorOptions): Promise<void> {
  const folder = process.cwd()
  const loaded = await loadConfig(options.config, folder)
  // Hosts are looked up from the program's file; here that is the project itself.
  process.argv[1] = join(loaded.folder, 'index.js')
  const core = await load('@agl/core', [loaded.folder, folder])
  const { plugins = [] } = loaded.config
  const lightning = await core.start({ ...loaded.config, strict: false, sinks: [], exporters: [] })
  await loadHosts(hostNames(plugins), loaded.folder)
  // Hosts report themselves as they are loaded; those found otherwise do a moment later.
  await new Promise((resolve) => setImmediate(resolve))
  const status = lightning.status()
  await lightning.shutdown()

  const diagnosis: Diagnosis = {
    node: process.versions.node,
    opentelemetry: versionOf('@opentelemetry/api', loaded.folder) ?? null,
    config: loaded.file ?? null,
    plugins: status,
  }
  print(options.json ? [JSON.stringify(diagnosis, null, 2)] : report(diagnosis, loaded, paint))
  if (status.length === 0 || status.some(({ state }) => state !== 'active')) process.exitCode = 1
}

function hostNames(plugins: readonly Plugin[]): string[] {
  const names = plugins.flatMap(({ hosts = {}, requires = [] }) => [
    ...Object.keys(hosts),
    ...hostNames(requires),
  ])
  return [...new Set(names)]
}

function report({ node, opentelemetry, plugins }: Diagnosis, { file }: Loaded, color: Paint): string[] {
  const lines = [
    `Node ${node}, @opentelemetry/api ${opentelemetry ?? 'not installed; run: npm install @opentelemetry/api'}`,
    file === undefined
      ? 'No agl.config file; these are the installed plugins with their defaults.'
      : `Configuration: ${shown(file)}`,
    '',
  ]
  if (plugins.length === 0) lines.push('No plugin is configured or installed; run: npm install @agl/openai')
  for (const plugin of plugins) lines.push(...section(plugin, color))
  return lines
}

function section({ name, state, version, hosts, reason }: PluginStatus, color: Paint): string[] {
  const good = state === 'active'
  const title = `${color('bold', name)}${version === undefined ? '' : ` ${version}`}  ${color(good ? 'green' : 'red', state)}`
  const why = reason === undefined ? [] : [`  ${reason.charAt(0).toUpperCase()}${reason.slice(1)}`]
  const rows = hosts.map((host) => hostRow(host))
  return [title, ...why, ...table(rows).map((row) => `  ${row}`), '']
}

function hostRow({ package: name, version, format, patched, path }: Host): string[] {
  return [`${name} ${version}`, format, patched ? 'patched' : 'not patched', shown(path)]
}
