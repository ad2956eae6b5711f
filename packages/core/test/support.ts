import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, vi, type MockInstance } from 'vitest'
import {
  definePlugin,
  record,
  start,
  type ActivityStart,
  type Config,
  type Lightning,
  type PluginApi,
  type Sink,
  type Span,
  type TraceRecord,
} from '@agl/core'

/** A sink that keeps what it gets. */
export interface MemorySink extends Sink {
  readonly spans: Span[]
  readonly traces: TraceRecord[]
  closed: boolean
}

export function memorySink(name = 'memory'): MemorySink {
  const sink: MemorySink = {
    name,
    spans: [],
    traces: [],
    closed: false,
    write(spans, traces) {
      sink.spans.push(...spans)
      sink.traces.push(...traces)
    },
    close() {
      sink.closed = true
    },
  }
  return sink
}

/** A running tracer with a plugin of which the test has the api, shut down at the end of its scope. */
export interface Running extends AsyncDisposable {
  readonly lightning: Lightning
  readonly api: PluginApi
  readonly sink: MemorySink
}

export async function begin(config: Config = {}): Promise<Running> {
  const sink = memorySink()
  const apis: PluginApi[] = []
  const probe = definePlugin({ name: 'probe', setup: (api) => void apis.push(api) })
  const lightning = await start({
    ...config,
    plugins: [...(config.plugins ?? []), probe],
    sinks: [sink, ...(config.sinks ?? [])],
  })
  const [api] = apis
  if (api === undefined) throw new Error('the probe was not set up')
  return { lightning, api, sink, [Symbol.asyncDispose]: async () => void (await lightning.shutdown()) }
}

/** The spans of a run that must not fail: `record` would keep a failed expectation to itself. */
export async function spansOf(name: string, fn: () => unknown): Promise<Span[]> {
  const { error, spans } = await record(name, fn)
  if (error !== undefined) throw error
  return spans
}

/** What the process writes to standard error through `console.error`, kept quiet. */
export function hush(): { lines(): string[]; mock: MockInstance } {
  const mock = vi.spyOn(console, 'error').mockImplementation(() => undefined)
  onTestFinished(() => mock.mockRestore())
  return { mock, lines: () => mock.mock.calls.map((call) => call.map(String).join(' ')) }
}

export const CHAT: ActivityStart['llm'] = { operation: 'chat', provider: 'OpenAI', request: { model: 'toy' } }

export function named(spans: readonly Span[], name: string): Span {
  const span = spans.find((one) => one.name === name)
  if (span === undefined)
    throw new Error(`no span "${name}" among: ${spans.map((one) => one.name).join(', ')}`)
  return span
}

/** The spans of each trace, in the order in which their first spans came. */
export function byTrace(spans: readonly Span[]): Span[][] {
  const groups = new Map<string, Span[]>()
  for (const span of spans) groups.set(span.rolloutId, [...(groups.get(span.rolloutId) ?? []), span])
  return [...groups.values()]
}

/** One tree: a single root that ended last, and every parent present. */
export function expectTree(spans: readonly Span[]): void {
  const ids = new Set(spans.map((span) => span.spanId))
  expect(ids.size).toBe(spans.length)
  expect(spans.filter((span) => span.parentId === null)).toEqual([spans.at(-1)])
  for (const { parentId } of spans) if (parentId !== null) expect(ids).toContain(parentId)
}

const core = fileURLToPath(new URL('..', import.meta.url))

/** Links a dependency of the core, or the core itself, into the `node_modules` of `folder`. */
export function link(folder: string, dependency: string): void {
  const target = dependency === '@agl/core' ? core : join(core, 'node_modules', dependency)
  const path = join(folder, 'node_modules', dependency)
  mkdirSync(dirname(path), { recursive: true })
  symlinkSync(realpathSync(target), path, 'junction')
}

/** A temporary folder with `files`, in which `@agl/core` can be imported. Removed after the test. */
export function appFolder(files: Record<string, string | object>, links: readonly string[] = []): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'agl-core-')))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }))
  for (const [name, content] of Object.entries(files)) {
    const path = join(folder, name)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content))
  }
  for (const dependency of ['@agl/core', '@opentelemetry/api', ...links]) link(folder, dependency)
  return folder
}

export interface Ended {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

/** Runs a program of `folder` in a Node process of its own. */
export function run(
  folder: string,
  entry = 'main.mjs',
  options: { env?: Record<string, string>; node?: readonly string[] } = {},
): Promise<Ended> {
  const env: NodeJS.ProcessEnv = { PATH: process.env['PATH'], ...options.env }
  const args = ['--conditions=@agl/source', '--no-warnings', ...(options.node ?? []), entry]
  const child = spawn(process.execPath, args, { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }))
  })
}

/** Runs a program that prints one JSON value, and returns the value. */
export async function runJSON(
  folder: string,
  entry?: string,
  options?: Parameters<typeof run>[2],
): Promise<unknown> {
  const { code, signal, stdout, stderr } = await run(folder, entry, options)
  if (code !== 0) throw new Error(`the program ended with ${code ?? signal}: ${stderr}${stdout}`)
  return JSON.parse(stdout)
}
