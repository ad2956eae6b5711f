import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Workspace, entries, root, workspaces } from './workspace.ts'

/**
 * Builds every package into its `dist`, in the order of their dependencies. `--if-needed` skips those whose sources have not
 * changed since their last build; other arguments narrow it to some packages.
 */
const args = process.argv.slice(2)
const ifNeeded = args.includes('--if-needed')
const only = args.filter((argument) => !argument.startsWith('--'))

const stampFolder = join(root, 'node_modules/.cache/agl-build')
const shared = ['tsconfig.base.json', 'scripts/tsup.ts', 'pnpm-lock.yaml']

function sourceHash({ folder }: Workspace): string {
  const files = globSync([`${folder}/src/**/*.ts`, `${folder}/package.json`], { cwd: root }).sort()
  const hash = createHash('sha256')
  for (const file of [...shared, ...files]) hash.update(file).update(readFileSync(join(root, file)))
  return hash.digest('hex')
}

function build(workspace: Workspace): boolean {
  const stamp = join(stampFolder, workspace.manifest.name.replaceAll('/', '+'))
  const hash = sourceHash(workspace)
  const built = Object.keys(entries(workspace.manifest)).every((name) =>
    existsSync(join(workspace.path, `dist/${name}.js`)),
  )
  if (ifNeeded && built && existsSync(stamp) && readFileSync(stamp, 'utf8') === hash) return true
  const started = performance.now()
  const result = spawnSync('tsup', ['--silent'], { cwd: workspace.path, stdio: 'inherit' })
  if (result.error !== undefined) throw result.error
  console.log(
    `build: ${workspace.manifest.name} ${result.status === 0 ? 'built' : 'FAILED'} in ${Math.round(performance.now() - started)} ms`,
  )
  if (result.status !== 0) return false
  mkdirSync(stampFolder, { recursive: true })
  writeFileSync(stamp, hash)
  return true
}

const selected = workspaces(['packages', 'templates']).filter(
  ({ folder }) => only.length === 0 || only.some((name) => folder.endsWith(`/${name}`)),
)
const failed = selected.filter((workspace) => !build(workspace))
if (failed.length > 0 || selected.length === 0) process.exitCode = 1
