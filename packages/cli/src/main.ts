import { readFileSync } from 'node:fs'
import { cac } from 'cac'
import { CliError, codeOf, messageOf, usage } from './errors.ts'

const CONFIG = [
  '--config <file>',
  'The agl.config file (default: the nearest in this folder or above)',
] as const
const STORE = ['--store <url>', 'Where the spans are, as sqlite:FILE (default: sqlite:.agl/agl.db)'] as const
const JSON_OPTION = ['--json', 'Print JSON'] as const

type Options = Readonly<Record<string, unknown>>

/** Runs the command line `argv` (without node and the script) and sets the exit code. */
export async function main(argv: readonly string[]): Promise<void> {
  const { head, rest } = splitRun(argv)
  try {
    const cli = commands(rest)
    cli.parse(['node', 'agl', ...head], { run: false })
    restoreTexts(cli.options, head)
    if (cli.options['help'] === true || cli.options['version'] === true) return
    if (cli.matchedCommand === undefined) {
      const [unknown] = head.filter((argument) => !argument.startsWith('-'))
      if (unknown === undefined && head.length === 0) cli.outputHelp()
      throw usage(
        unknown === undefined
          ? 'No command was given; see agl --help.'
          : `There is no command "${unknown}"; see agl --help.`,
      )
    }
    await cli.runMatchedCommand()
  } catch (error) {
    report(error, head.includes('--verbose'))
  }
}

/** What follows the program of `agl run` is the program's own, options included. */
function splitRun(argv: readonly string[]): { head: readonly string[]; rest: readonly string[] } {
  const start = argv.findIndex((argument) => !argument.startsWith('-'))
  if (argv[start] !== 'run') return { head: argv, rest: [] }
  let index = start + 1
  for (; index < argv.length; index++) {
    const argument = argv[index] ?? ''
    if (argument === '--')
      return {
        head: [...argv.slice(0, index), ...argv.slice(index + 1, index + 2)],
        rest: argv.slice(index + 2),
      }
    if (!argument.startsWith('-')) break
    if (['--config', '--store', '--name'].includes(argument)) index++
  }
  return { head: argv.slice(0, index + 1), rest: argv.slice(index + 1) }
}

/** cac makes a number of whatever looks like one, which would call a trace `7` that was to be `007`. */
function restoreTexts(options: Record<string, unknown>, argv: readonly string[]): void {
  for (const [name, value] of Object.entries(options)) {
    if (typeof value !== 'number') continue
    const index = argv.findIndex((argument) => argument === `--${name}` || argument.startsWith(`--${name}=`))
    const inline = argv[index]?.slice(`--${name}=`.length)
    const written = argv[index] === `--${name}` ? argv[index + 1] : inline
    if (index >= 0 && written !== undefined) options[name] = written
  }
}

function commands(rest: readonly string[]): ReturnType<typeof cac> {
  const cli = cac('agl')
  cli.option('--verbose', 'Print the stack of an error')
  cli
    .command('run [file]', 'Run a program with the plugins of agl.config active, in one trace')
    .usage('run [options] FILE [args…]')
    .option(...CONFIG)
    .option(...STORE)
    .option('--name <name>', 'What to call the trace (default: the name of the file)')
    .option('--quiet', 'Say nothing but errors')
    .example('  agl run --name nightly app.ts --input data.json')
    .action(async (file: string | undefined, options: Options) => {
      if (file === undefined) throw usage('Which program? Name it, as in: agl run app.ts')
      const { run } = await import('./commands/run.ts')
      await run(file, rest, {
        config: text(options, 'config'),
        store: text(options, 'store'),
        name: text(options, 'name'),
        quiet: options['quiet'] === true,
      })
    })
  cli
    .command('doctor', 'Tell which plugins are active, and every copy of the libraries that they watch')
    .option(...CONFIG)
    .option(...JSON_OPTION)
    .example('  agl doctor --config agl.config.ts')
    .action(async (options: Options) => {
      const { doctor } = await import('./commands/doctor.ts')
      await doctor({ config: text(options, 'config'), json: options['json'] === true })
    })
  cli
    .command('traces [action] [id]', 'List the recorded traces, or show one of them as a tree')
    .usage('traces [options]\n  $ agl traces show ID|latest [options]')
    .option(...STORE)
    .option('--limit <number>', 'How many traces to list, the newest first', { default: 50 })
    .option(...JSON_OPTION)
    .example('  agl traces\n  agl traces show latest --store sqlite:.agl/demo.db')
    .action(async (action: string | undefined, id: string | undefined, options: Options) => {
      const { listTraces, showTrace } = await import('./commands/traces.ts')
      const where = { store: text(options, 'store'), json: options['json'] === true }
      if (action === undefined) return listTraces({ ...where, limit: count(options, 'limit') })
      if (action !== 'show')
        throw usage(`There is no "agl traces ${action}"; use "agl traces" or "agl traces show ID".`)
      if (id === undefined) throw usage('Which trace? Give an id of "agl traces", or: agl traces show latest')
      return showTrace(id, where)
    })
  cli
    .command('export', 'Write the recorded runs as training data, as JSON lines or Parquet')
    .usage('export --format triplets|messages|openai-chat|hf-chat|spans|otlp [options]')
    .option(
      '--format <format>',
      'triplets for reinforcement learning, openai-chat or hf-chat for fine-tuning, messages, spans, or otlp',
    )
    .option(...STORE)
    .option('--out <file>', 'FILE.parquet, or lines that are continued each time (default: standard output)')
    .option('--min-reward <number>', 'Only runs whose last reward is at least this')
    .example('  agl export --format triplets --out train.jsonl')
    .example('  agl export --format hf-chat --min-reward 0.8 --out train.parquet')
    .action(async (options: Options) => {
      const { exportRuns } = await import('./commands/export.ts')
      await exportRuns({
        format: text(options, 'format'),
        store: text(options, 'store'),
        out: text(options, 'out'),
        minReward: number(options, 'minReward', 'min-reward'),
      })
    })
  cli
    .command('serve', 'Serve a store over HTTP, as Agent Lightning v0.3 does, and take in OTLP')
    .option('--store <url>', 'sqlite:FILE, postgres://… or memory: (default: sqlite:.agl/agl.db)')
    .option('--port <number>', 'The port; 0 is any that is free', { default: 4747 })
    .option('--host <address>', 'The address to listen on (default: 127.0.0.1, this machine only)')
    .option('--token <token>', 'What clients have to show (default: the environment’s AGL_STORE_TOKEN)')
    .option('--cors <origins>', 'Origins of web pages that may use it, with commas between; * is all')
    .example('  agl serve --store sqlite:agl.db --port 4747')
    .action(async (options: Options) => {
      const { portOf, serve } = await import('./commands/serve.ts')
      await serve({
        store: text(options, 'store'),
        port: portOf(text(options, 'port') ?? ''),
        host: text(options, 'host'),
        token: text(options, 'token'),
        cors: text(options, 'cors'),
        verbose: options['verbose'] === true,
      })
    })
  cli
    .command('bench', 'Measure what tracing costs with each plugin, here')
    .option(...CONFIG)
    .option('--seconds <number>', 'About how long to measure', { default: 15 })
    .option(...JSON_OPTION)
    .example('  agl bench --seconds 30')
    .action(async (options: Options) => {
      const { bench } = await import('./commands/bench.ts')
      await bench({
        config: text(options, 'config'),
        json: options['json'] === true,
        seconds: count(options, 'seconds'),
      })
    })
  cli
    .command('demo', 'A complete run on this machine, with no key and no network')
    .usage(
      'demo [options]\n\nWith AGL_BASE_URL and AGL_MODEL set (AGL_API_KEY if needed) it uses that server instead of a scripted model.',
    )
    .option('--store <url>', 'Where the spans go (default: sqlite:.agl/demo.db)')
    .option('--problems <number>', 'How many problems to solve (default: all)')
    .example('  agl demo --problems 5')
    .action(async (options: Options) => {
      const { demo } = await import('./commands/demo.ts')
      const problems = options['problems'] === undefined ? undefined : count(options, 'problems')
      await demo({ store: text(options, 'store'), problems })
    })
  cli.help()
  cli.version(version())
  return cli
}

function text(options: Options, name: string): string | undefined {
  const value = options[name]
  if (Array.isArray(value)) throw usage(`The option --${name} is given more than once; give it once.`)
  if (value === undefined) return undefined
  if (typeof value === 'number') return String(value)
  if (typeof value === 'string' && value !== '') return value
  throw usage(`The option --${name} is empty; give it a value.`)
}

function count(options: Options, name: string): number {
  const value = Number(text(options, name))
  if (!Number.isInteger(value) || value < 1) throw usage(`The option --${name} takes a number from 1.`)
  return value
}

function number(options: Options, key: string, name: string): number | undefined {
  const written = text(options, key)
  if (written === undefined) return undefined
  const value = Number(written)
  if (Number.isNaN(value)) throw usage(`The option --${name} takes a number.`)
  return value
}

function version(): string {
  const manifest: { version: string } = JSON.parse(
    readFileSync(new URL('../package.json', import.meta.url), 'utf8'),
  )
  return manifest.version
}

/** One sentence on standard error; cac's own errors are all about usage. */
function report(error: unknown, verbose: boolean): void {
  const isUsage = error instanceof Error && error.name === 'CACError'
  // `usage` is the code of our packages for the same thing, such as a store URL that nobody understands.
  const isWrong = isUsage || codeOf(error) === 'usage' || (error instanceof CliError && error.exitCode === 2)
  process.exitCode = isWrong ? 2 : 1
  console.error(`agl: ${messageOf(error)}${isUsage ? '; see agl --help.' : ''}`)
  if (verbose) console.error(error)
}
