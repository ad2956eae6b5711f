import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Rollout } from '@agl/store'
import type { Span } from '@agl/core'
import { openStore } from '@agl/store'
import { onTestFinished } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
export const ALL: readonly string[] = [
  '@agl/core',
  '@agl/openai',
  '@agl/store',
  '@agl/testkit',
  '@agl/train',
  '@agl/vllm',
  '@opentelemetry/api',
  'openai',
]

export interface Result {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

export interface RunOptions {
  env?: Record<string, string>
  /** Called with the child once it has printed something. */
  onOutput?: (child: ChildProcess) => void
}

/** A new folder that looks like a user's project, with `packages` in its node_modules. */
export class App {
  readonly folder: string
  readonly bin: string

  constructor(packages: readonly string[] = ALL, bin: string = join(root, 'src/bin.ts')) {
    this.folder = realpathSync(mkdtempSync(join(tmpdir(), 'agl-cli-')))
    this.bin = bin
    this.write('package.json', '{ "private": true }')
    for (const name of packages) link(name, this.folder)
    onTestFinished(() => rmSync(this.folder, { recursive: true, force: true }))
  }

  write(name: string, text: string): string {
    const path = join(this.folder, name)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
    return path
  }

  /** Gives a package in here the copy of `name` that a folder beside this one's has. */
  linkFrom(from: string, name: string, into: string): void {
    link(name, join(this.folder, into), join(root, from))
  }

  agl(args: readonly string[], options: RunOptions = {}): Promise<Result> {
    return this.node([this.bin, ...args], options)
  }

  async node(args: readonly string[], { env = {}, onOutput }: RunOptions = {}): Promise<Result> {
    const child = spawn(process.execPath, ['--conditions=@agl/source', ...args], {
      cwd: this.folder,
      env: { PATH: process.env['PATH'], OPENAI_API_KEY: 'none', NODE_NO_WARNINGS: '1', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const output = { stdout: '', stderr: '' }
    let told = false
    child.stdout.on('data', (data: Buffer) => {
      output.stdout += data.toString()
      if (!told) onOutput?.(child)
      told = true
    })
    child.stderr.on('data', (data: Buffer) => (output.stderr += data.toString()))
    await once(child, 'close')
    return { code: child.exitCode, signal: child.signalCode, ...output }
  }

  /** Every trace in a store of the app, in the order in which they began. */
  async traces(file = '.agl/agl.db'): Promise<{ rollout: Rollout; spans: Span[] }[]> {
    await using store = await openStore(`sqlite:${join(this.folder, file)}`)
    const { items } = await store.queryRollouts({ sortBy: 'startTime' })
    return Promise.all(
      items.map(async (rollout) => {
        const { items: spans } = await store.querySpans({ rolloutId: rollout.rolloutId })
        return { rollout, spans }
      }),
    )
  }
}

function link(name: string, folder: string, from: string = root): void {
  const path = join(folder, 'node_modules', name)
  mkdirSync(dirname(path), { recursive: true })
  symlinkSync(realpathSync(join(from, 'node_modules', name)), path, 'junction')
}

/** The command as it is when nothing that it loads lazily is installed with it. Returns its bin. */
export function lonelyBin(): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'agl-bin-')))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const cli = join(folder, 'packages/cli')
  cpSync(join(root, 'src'), join(cli, 'src'), { recursive: true })
  cpSync(join(root, 'package.json'), join(cli, 'package.json'))
  const example = 'examples/quickstart'
  cpSync(join(root, '../..', example), join(folder, example), {
    recursive: true,
    filter: (path) => !path.includes('node_modules'),
  })
  link('cac', cli)
  return join(cli, 'src/bin.ts')
}

export function names(spans: readonly Span[]): string[] {
  return spans.map(({ name }) => name)
}
