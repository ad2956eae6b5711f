import { join } from 'node:path'
import type { Host, Plugin, PluginStatus } from '@agl/core'
import { type Loaded, loadConfig, shown } from '../config.ts'
import { loadHosts, versionOf } from '../hosts.ts'
import { load } from '../packages.ts'
import { oneLine, type Paint, table } from '../render/text.ts'
import { calledServers, type Server } from '../servers.ts'
import { DEFAULT_STORE, openExisting } from '../store.ts'
import { paint, print } from '../terminal.ts'

export interface DoctorOptions {
  config?: string | undefined
  json: boolean
}

interface Diagnosis {
  node: string
  /** Version of @opentelemetry/api; null where there is none. */
  opentelemetry: string | null
  /** Versions of the packages of OpenTelemetry's SDK that the project has. */
  opentelemetrySDK: Record<string, string>
  /** Null where the installed plugins were taken for lack of a file. */
  config: string | null
  plugins: PluginStatus[]
  /** Where the recorded model calls went; empty while nothing is recorded. */
  servers: Server[]
}

const SDK = ['@opentelemetry/sdk-node', '@opentelemetry/sdk-trace', '@opentelemetry/sdk-trace-base']

/** Starts the plugins as `agl run` would, loads their hosts, and prints what became of them. Exit code 1 unless all are active. */
export async function doctor(options: DoctorOptions): Promise<void> {
  const folder = process.cwd()
  const loaded = await loadConfig(options.config, folder)
  // Hosts are looked up from the program's file; here that is the project itself.
  process.argv[1] = join(loaded.folder, 'index.js')
  const core = await load('@agl/core', [loaded.folder, folder])
  const { plugins = [] } = loaded.config
  const lightning = await core.start({ ...loaded.config, strict: false, sinks: [], exporters: [] })
  await loadHosts(modulesOf(plugins), loaded.folder)
  // Hosts report themselves as they are loaded; those found otherwise do a moment later.
  await new Promise((resolve) => setImmediate(resolve))
  const status = lightning.status()
  await lightning.shutdown()

  const diagnosis: Diagnosis = {
    node: process.versions.node,
    opentelemetry: versionOf('@opentelemetry/api', loaded.folder) ?? null,
    config: loaded.file ?? null,
    opentelemetrySDK: sdkOf(loaded.folder),
    plugins: status,
    servers: await servers([loaded.folder, folder]),
  }
  print(options.json ? [JSON.stringify(diagnosis, null, 2)] : report(diagnosis, loaded, paint))
  if (status.length === 0 || status.some(({ state }) => state !== 'active')) process.exitCode = 1
}

function sdkOf(folder: string): Record<string, string> {
  return Object.fromEntries(
    SDK.flatMap((name) => {
      const version = versionOf(name, folder)
      return version === undefined ? [] : [[name, version]]
    }),
  )
}

/** From the default store, where there is one; without it the rest of the diagnosis is as good. */
async function servers(folders: readonly string[]): Promise<Server[]> {
  try {
    await using store = await openExisting(DEFAULT_STORE, folders)
    return await calledServers(store)
  } catch {
    return []
  }
}

function modulesOf(plugins: readonly Plugin[]): string[] {
  const names = plugins.flatMap(({ hosts = {}, modules = [], requires = [] }) => [
    ...Object.keys(hosts),
    ...modules,
    ...modulesOf(requires),
  ])
  return [...new Set(names)]
}

function report(diagnosis: Diagnosis, { file }: Loaded, color: Paint): string[] {
  const { node, opentelemetry, opentelemetrySDK, plugins } = diagnosis
  const sdk = Object.entries(opentelemetrySDK).map(([name, version]) => `${name} ${version}`)
  const lines = [
    `Node ${node}, @opentelemetry/api ${opentelemetry ?? 'not installed; run: npm install @opentelemetry/api'}`,
    sdk.length > 0
      ? `OpenTelemetry SDK: ${sdk.join(', ')}`
      : 'OpenTelemetry SDK: none, which is fine; it is needed for "exporters" and for spans of your own',
    file === undefined
      ? 'No agl.config file; these are the installed plugins with their defaults.'
      : `Configuration: ${shown(file)}`,
    '',
  ]
  if (plugins.length === 0) lines.push('No plugin is configured or installed; run: npm install @agl/openai')
  for (const plugin of plugins) lines.push(...section(plugin, color))
  lines.push(...serverLines(diagnosis))
  return lines
}

function section({ name, state, version, hosts, reason, notes = [] }: PluginStatus, color: Paint): string[] {
  const good = state === 'active'
  const title = `${color('bold', name)}${version === undefined ? '' : ` ${version}`}  ${color(good ? 'green' : 'red', state)}`
  const why = reason === undefined ? [] : [`  ${reason.charAt(0).toUpperCase()}${reason.slice(1)}`]
  const rows = hosts.map((host) => hostRow(host))
  return [title, ...why, ...[...table(rows), ...notes].map((row) => `  ${row}`), '']
}

/** The servers that were called, and what to do about those that `vllm()` did not take for its own. */
function serverLines({ servers: called, plugins }: Diagnosis): string[] {
  if (called.length === 0) return []
  const asksForIds = plugins.some(({ name }) => name === 'vllm')
  const remedy = asksForIds ? '; if it is a vLLM server, name it in vllm({ match })' : ''
  const rows = called.map(({ baseURL, calls, withTokenIds }) => [
    oneLine(baseURL, 80),
    `${calls} ${calls === 1 ? 'call' : 'calls'}`,
    withTokenIds === 0 ? `no token ids${remedy}` : `${withTokenIds} with token ids`,
  ])
  return [
    `Servers called in the newest traces of ${DEFAULT_STORE}:`,
    ...table(rows).map((row) => `  ${row}`),
    '',
  ]
}

function hostRow({ package: name, version, format, patched, path }: Host): string[] {
  return [`${name} ${version}`, format, patched ? 'patched' : 'not patched', shown(path)]
}
