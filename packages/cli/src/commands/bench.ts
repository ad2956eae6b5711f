import { cpus } from 'node:os'
import { join } from 'node:path'
import type { Plugin, Span } from '@agl/core'
import { pluginsOf, watches, withoutSinks } from '../bench/plugins.ts'
import { type Result, Session } from '../bench/session.ts'
import { workloads } from '../bench/workloads.ts'
import { loadConfig, shown } from '../config.ts'
import { CliError } from '../errors.ts'
import { load, need } from '../packages.ts'
import { Progress } from '../progress.ts'
import { renderCosts } from '../render/costs.ts'
import { paint, print } from '../terminal.ts'

export interface BenchOptions {
  config?: string | undefined
  json: boolean
  /** About how long to measure. */
  seconds: number
}

interface Report {
  node: string
  processor: string
  /** Null where the installed plugins were taken for lack of a file. */
  config: string | null
  /** Times in microseconds per call. */
  workloads: Result[]
  notMeasured: { plugin: string; reason: string }[]
}

/** Measures what each plugin of the configuration adds to a call of the library that it watches. Exit code 1 where none could be measured. */
export async function bench(options: BenchOptions): Promise<void> {
  const loaded = await loadConfig(options.config, process.cwd())
  const folders = [loaded.folder, process.cwd()]
  const plugins = pluginsOf(loaded.config)
  if (plugins.size === 0)
    throw new CliError('No plugin is configured or installed; run: npm install @agl/openai')
  const wanted = workloads.filter(({ host }) => [...plugins.values()].some((plugin) => watches(plugin, host)))
  need(['@agl/core', ...new Set(wanted.flatMap(({ needs }) => needs))], folders)
  // Hosts are looked up from the program's file; here that is the project itself.
  process.argv[1] = join(loaded.folder, 'index.js')
  const core = await load('@agl/core', folders)
  let newest: readonly Span[] = []
  const sink = { name: 'bench', write: (spans: readonly Span[]) => void (newest = spans) }
  const lightning = await core.start({ ...withoutSinks(loaded.config), sinks: [sink] })
  const session = new Session(lightning, plugins, folders, () => newest)
  const progress = new Progress()
  const results: Result[] = []
  try {
    for (const workload of wanted) {
      const budget = (options.seconds * 1000) / wanted.length
      const result = await session.measure(workload, budget, (text) => progress.update(text))
      if (result !== undefined) results.push(result)
    }
  } finally {
    progress.done()
    await lightning.shutdown()
  }
  const report: Report = {
    node: process.versions.node,
    processor: `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}`,
    config: loaded.file === undefined ? null : shown(loaded.file),
    workloads: results,
    notMeasured: notMeasured(session, plugins, results),
  }
  print(options.json ? [JSON.stringify(report, null, 2)] : render(report))
  if (results.length === 0) process.exitCode = 1
}

function notMeasured(
  { status }: Session,
  plugins: ReadonlyMap<string, Plugin>,
  results: readonly Result[],
): Report['notMeasured'] {
  const measured = new Set(results.flatMap((result) => result.plugins.flatMap((cost) => cost.plugins)))
  return status
    .filter(({ name }) => !measured.has(name))
    .map(({ name, state, reason }) => {
      const isOn = state === 'active' || state === 'unsupported'
      return {
        plugin: name,
        reason: isOn ? noWorkload(plugins.get(name)) : `it is not active (${reason ?? state})`,
      }
    })
}

function noWorkload(plugin: Plugin | undefined): string {
  const hosts = Object.keys(plugin?.hosts ?? {})
  const known = [...new Set(workloads.map(({ host }) => host))].join(' and ')
  return hosts.length === 0
    ? `it names no library that it watches, and this command knows only ${known}`
    : `this command knows nothing to do with ${hosts.join(', ')}, only with ${known}`
}

function render({ node, processor, config, workloads: results, notMeasured: others }: Report): string[] {
  const lines = [
    `What tracing costs here, in microseconds per call: Node ${node}, ${processor}`,
    config === null
      ? 'No agl.config file; these are the installed plugins with their defaults.'
      : `Configuration: ${config}, without its sinks and exporters`,
    '',
    ...results.flatMap((result) => renderCosts(result, paint)),
  ]
  for (const { plugin, reason } of others) lines.push(`${plugin} was not measured: ${reason}.`)
  if (others.length > 0) lines.push('')
  if (results.length > 0) lines.push(...LEGEND)
  if (results.some(isNoisy)) lines.push('', BUSY)
  return lines
}

/** The same twice should not differ by more than a tenth. */
function isNoisy({ plain, again }: Result): boolean {
  return Math.abs(again.wall - plain.wall) > plain.wall / 10
}

const BUSY =
  'The lines (A/A) are far from each other, as on a machine that has other things to do: give it more time with --seconds.'

const LEGEND = [
  'Times are the 10th percentile of the rounds, up to a sink that forgets. The line (A/A) is what this machine cannot tell from',
  'nothing; what adds no more than that is in brackets. Answers come from memory: no key, no network. A plugin that asks the',
  'server for more, as vllm does for token ids, is charged for what the client then has to read.',
]
