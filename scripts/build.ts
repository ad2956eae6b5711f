import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { type Workspace, entries, root, workspaces } from './workspace.ts'

/**
 * Builds every package into its `dist`. `--if-needed` skips those whose sources have not changed since their last build; other
 * arguments narrow it to some packages. The order does not matter, because declarations are made from the sources.
 */
const args = process.argv.slice(2)
const ifNeeded = args.includes('--if-needed')
const only = args.filter((argument) => !argument.startsWith('--'))

const stampFolder = join(root, 'node_modules/.cache/agl-build')
const shared = ['tsconfig.base.json', 'scripts/tsup.ts', 'scripts/workspace.ts', 'pnpm-lock.yaml']

/** Changes with what the build of a package reads: its own files, since `isolatedDeclarations` looks at no others. */
function sourceHash({ folder }: Workspace): string {
  const own = globSync([`${folder}/src/**/*.ts`, `${folder}/{package.json,tsup.config.ts}`], { cwd: root })
  // The command carries the quickstart, which its demo runs.
  if (folder === 'packages/cli') own.push(...globSync('examples/quickstart/*.{ts,json}', { cwd: root }))
  const hash = createHash('sha256')
  for (const file of [...shared, ...own.toSorted()]) hash.update(file).update(readFileSync(join(root, file)))
  return hash.digest('hex')
}

async function build(workspace: Workspace): Promise<boolean> {
  const { name } = workspace.manifest
  const stamp = join(stampFolder, name.replaceAll('/', '+'))
  const hash = sourceHash(workspace)
  const built = Object.keys(entries(workspace.manifest)).every((entry) =>
    existsSync(join(workspace.path, `dist/${entry}.js`)),
  )
  if (ifNeeded && built && existsSync(stamp) && readFileSync(stamp, 'utf8') === hash) return true
  const started = performance.now()
  const child = spawn('tsup', ['--silent'], { cwd: workspace.path, stdio: ['ignore', 'inherit', 'inherit'] })
  const [code] = await once(child, 'exit')
  const passed = code === 0
  console.log(
    `build: ${name} ${passed ? 'built' : 'FAILED'} in ${Math.round(performance.now() - started)} ms`,
  )
  if (passed) {
    mkdirSync(stampFolder, { recursive: true })
    writeFileSync(stamp, hash)
  }
  return passed
}

const waiting = workspaces(['packages', 'templates']).filter(
  ({ folder }) => only.length === 0 || only.some((name) => folder.endsWith(`/${name}`)),
)
if (waiting.length === 0) process.exitCode = 1

async function work(): Promise<void> {
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    if (!(await build(next))) process.exitCode = 1
  }
}
await Promise.all(Array.from({ length: availableParallelism() }, work))
