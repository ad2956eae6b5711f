import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

/** The folder of the pinned requirements and of the programs that run in their environments. */
export const pythonFolder: string = fileURLToPath(new URL('../python', import.meta.url))
const attempts = 3
const oldest = 10

/** What keeps Python packages from asking servers outside this machine. */
export const offline: Readonly<Record<string, string>> = {
  LITELLM_LOCAL_MODEL_COST_MAP: 'True',
  LITELLM_TELEMETRY: 'False',
  HF_HUB_OFFLINE: '1',
  CREWAI_DISABLE_TELEMETRY: 'true',
  OTEL_SDK_DISABLED: 'false',
  AGENTOPS_API_KEY: 'none',
  PYTHONUNBUFFERED: '1',
}

/**
 * The Python of a virtual environment with what `python/NAME.txt` pins, made where it is not there yet: about a minute
 * from PyPI. Kept under `AGL_PYTHON_CACHE`, by default `~/.cache/agl/python`, by the hash of the pins.
 */
export async function pythonEnvironment(name: string): Promise<string> {
  const requirements = join(pythonFolder, `${name}.txt`)
  const base = await basePython()
  const hash = createHash('sha256')
    .update(readFileSync(requirements))
    .update(base.version)
    .digest('hex')
    .slice(0, 12)
  const cache = process.env['AGL_PYTHON_CACHE'] ?? join(homedir(), '.cache/agl/python')
  const folder = join(cache, `${name}-${hash}`)
  const python = join(folder, 'bin/python')
  const ready = join(folder, '.ready')
  await exclusively(`${folder}.lock`, async () => {
    if (existsSync(ready)) return
    say(`making the environment "${name}" from PyPI in ${folder}.`)
    const started = performance.now()
    for (let attempt = 1; ; attempt++) {
      rmSync(folder, { recursive: true, force: true })
      const made =
        (await run(base.command, ['-m', 'venv', folder])) &&
        (await run(python, ['-m', 'pip', 'install', '--quiet', '--no-deps', '-r', requirements]))
      if (made) break
      if (attempt === attempts)
        throw new Error(`The Python environment "${name}" could not be made; see the lines above.`)
      say(`that failed (try ${attempt} of ${attempts}); trying again in ${attempt * 5} s.`)
      await sleep(attempt * 5000)
    }
    writeFileSync(ready, '')
    say(`"${name}" is ready after ${Math.round((performance.now() - started) / 1000)} s.`)
  })
  return python
}

/** A Python with `venv`; where there is none, a CI's machine gets Debian's, and a developer is told. */
async function basePython(): Promise<{ command: string; version: string }> {
  const find = (): { command: string; version: string } | undefined => {
    for (const command of [
      'python3',
      '/usr/bin/python3',
      'python3.13',
      'python3.12',
      'python3.11',
      'python3.10',
    ]) {
      const code = 'import ensurepip, venv, sys; print("%d.%d" % sys.version_info[:2])'
      const { status, stdout } = spawnSync(command, ['-c', code], { encoding: 'utf8' })
      const version = status === 0 ? stdout.trim() : ''
      if (version.startsWith('3.') && Number(version.slice(2)) >= oldest) return { command, version }
    }
    return undefined
  }
  const found = find()
  if (found !== undefined) return found
  const wanted = 'Python 3.10 or later with the module venv (on Debian: python3 and python3-venv)'
  if (process.env['CI'] === undefined)
    throw new Error(`The interop suite needs ${wanted}; install it and try again.`)
  say(`there is no ${wanted}: installing it.`)
  const install = ['-c', 'apt-get update -qq && apt-get install -y -qq python3 python3-venv']
  for (let attempt = 1; attempt <= attempts; attempt++) {
    if (await run('sh', install)) break
    await sleep(attempt * 5000)
  }
  const installed = find()
  if (installed === undefined)
    throw new Error(`The interop suite needs ${wanted}, and it could not be installed.`)
  return installed
}

/** Two runs may want the same environment. A lock whose owner is gone does not count. */
async function exclusively(lock: string, work: () => Promise<void>): Promise<void> {
  mkdirSync(join(lock, '..'), { recursive: true })
  for (;;) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' })
      break
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
      if (!isRunning(Number(readOr(lock, '0')))) rmSync(lock, { force: true })
      else await sleep(500)
    }
  }
  try {
    await work()
  } finally {
    rmSync(lock, { force: true })
  }
}

function readOr(file: string, otherwise: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return otherwise
  }
}

function isRunning(pid: number): boolean {
  if (pid === 0) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

function run(command: string, args: readonly string[]): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ['ignore', 2, 2], env: { ...process.env, ...offline } })
    child.on('error', () => resolve(false))
    child.on('exit', (code) => resolve(code === 0))
  })
}

function say(line: string): void {
  process.stderr.write(`interop: ${line}\n`)
}
