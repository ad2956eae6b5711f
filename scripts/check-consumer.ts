import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startModelServer } from '@agl/testkit'
import { packAll } from './pack.ts'
import { type Snippet, snippetsOf } from './snippets.ts'
import { asCommonJS, asESM, asTypeScript, type Variant } from './variants.ts'
import { root } from './workspace.ts'

/**
 * Checks that the README is true for a stranger: a new project in an empty folder installs what the README says (our packages
 * from their tarballs, the rest from the registry), runs its programs as TypeScript, as ESM and as CommonJS, and then its
 * `npx agl` commands on a program that knows nothing of us. Blocks marked `no-run REASON` are left out.
 */
/** The program that the README's `agl run app.ts` is about. */
const app = `import OpenAI from 'openai'

const messages = [{ role: 'user' as const, content: 'What is 2 + 2?' }]
const answer = await new OpenAI().chat.completions.create({ model: 'demo', messages })
console.log(answer.choices[0]?.message.content)
`

const folder = mkdtempSync(join(tmpdir(), 'agl-consumer-'))
const failures: string[] = []

function result(what: string, passed: boolean): void {
  console.log(`${what}: ${passed ? 'passed' : 'FAILED'}`)
  if (!passed) failures.push(what)
}

/** The lines of the README's shell blocks that begin with `prefix`, without comments. */
function commands(snippets: readonly Snippet[], prefix: string): string[][] {
  return snippets
    .filter(({ language, info }) => language === 'sh' && !info.startsWith('no-check'))
    .flatMap(({ code }) => code.split('\n'))
    .map((line) => line.replace(/\s+#.*$/, '').trim())
    .filter((line) => line.startsWith(prefix))
    .map((line) => line.slice(prefix.length).trim().split(/\s+/))
}

async function install(wanted: readonly string[]): Promise<void> {
  const tarballs = new Map(
    packAll().map(({ workspace, tarball }) => [workspace.manifest.name, `file:${tarball}`]),
  )
  const unknown = wanted.filter((name) => name.startsWith('@agl/') && !tarballs.has(name))
  if (unknown.length > 0)
    throw new Error(`The README installs ${unknown.join(', ')}, which nobody publishes.`)
  const dependencies = Object.fromEntries(
    [...wanted, 'typescript', '@types/node@22'].map((spec) => {
      const [, name = spec, range = 'latest'] = /^(.+?)(?:@([^/]+))?$/.exec(spec) ?? []
      return [name, tarballs.get(name) ?? range]
    }),
  )
  // What a tarball of ours depends on comes from its own tarball, as it is not in the registry yet.
  const overrides = Object.fromEntries([...tarballs].filter(([name]) => !(name in dependencies)))
  writeFileSync(
    join(folder, 'package.json'),
    JSON.stringify({ private: true, type: 'module', dependencies, overrides }, null, 2),
  )
  for (let attempt = 1; ; attempt++) {
    try {
      execFileSync('npm', ['install', '--no-audit', '--no-fund', '--loglevel=error'], {
        cwd: folder,
        stdio: 'inherit',
      })
      return
    } catch (error) {
      if (attempt === 3) throw error
      await sleep(attempt * 3000)
    }
  }
}

/** Runs a program to its end; it passes when it exits with 0 and has printed something, be it to standard error. */
async function run(
  what: string,
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<void> {
  const child = spawn(command, args, {
    cwd: folder,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 120_000,
  })
  let output = ''
  child.stdout.on('data', (data: Buffer) => (output += data.toString()))
  let errors = ''
  child.stderr.on('data', (data: Buffer) => (errors += data.toString()))
  const [code] = await once(child, 'close')
  const passed = code === 0 && (output + errors).trim() !== ''
  result(what, passed)
  if (!passed) console.log(`exit code ${code}\n${output}\n${errors}`)
}

function write(snippets: readonly Snippet[], variant: Variant): string[] {
  return snippets.map((snippet) => {
    const name = variant.rename(snippet.fileName ?? `line-${snippet.line}.ts`)
    writeFileSync(join(folder, name), variant.convert(snippet.code))
    return name
  })
}

function typechecks(files: readonly string[]): boolean {
  const compilerOptions = {
    strict: true,
    target: 'es2023',
    module: 'nodenext',
    types: ['node'],
    allowImportingTsExtensions: true,
    noEmit: true,
  }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }))
  try {
    execFileSync(join(folder, 'node_modules/.bin/tsc'), ['--pretty', 'false', '-p', folder], {
      stdio: 'inherit',
    })
    return true
  } catch {
    return false
  }
}

const snippets = snippetsOf('README.md')
const isTypeScript = ({ language }: Snippet): boolean => language === 'ts'
const programs = snippets.filter(
  (snippet) => isTypeScript(snippet) && snippet.fileName === undefined && !snippet.info.startsWith('no-'),
)
const wanted = commands(snippets, 'npm install ').flat()
const agl = commands(snippets, 'npx agl ')
if (programs.length === 0) throw new Error('The README has no program.')
if (wanted.length === 0) throw new Error('The README has no `npm install` line.')

try {
  await install(wanted.filter((name) => !name.startsWith('-')))
  const env = {
    ...process.env,
    PATH: [join(folder, 'node_modules/.bin'), join(root, 'node_modules/.bin'), process.env['PATH']].join(
      delimiter,
    ),
  }
  const named = snippets.filter((snippet) => isTypeScript(snippet) && snippet.fileName !== undefined)
  const files = [...named, ...programs]
  for (const variant of [asTypeScript, asESM, asCommonJS]) {
    const written = write(files, variant)
    if (variant === asTypeScript) result('types for a user of TypeScript', typechecks(written))
    for (const program of programs) {
      const file = written[files.indexOf(program)] ?? ''
      await run(`README line ${program.line} as ${variant.name}`, 'node', [file], env)
    }
    // `agl` must find the configuration that users have, not this one's.
    if (variant !== asTypeScript) for (const file of written) rmSync(join(folder, file))
  }

  writeFileSync(join(folder, 'app.ts'), app)
  const server = await startModelServer({ flavor: 'vllm', reply: () => ({ text: 'four' }) })
  const withServer = { ...env, OPENAI_BASE_URL: server.baseURL, OPENAI_API_KEY: 'none' }
  for (const args of agl) await run(`npx agl ${args.join(' ')}`, 'agl', args, withServer)
  await server.close()
} finally {
  rmSync(folder, { recursive: true, force: true })
}
if (failures.length > 0) process.exitCode = 1
