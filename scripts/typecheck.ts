import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { root, workspaces } from './workspace.ts'

/** Type-checks every workspace folder, tests included, and the root's own scripts. Arguments narrow it to some folders. */
const only = process.argv.slice(2)
const folders = [
  '.',
  ...workspaces(['packages', 'templates', 'examples']).map(({ folder }) => folder),
  'bench',
  'bench/peers',
  'interop',
]
  .filter((folder) => existsSync(join(root, folder, 'tsconfig.json')))
  .filter((folder) => only.length === 0 || only.some((name) => folder.endsWith(name)))

const failed = folders.filter((folder) => {
  const result = spawnSync('tsc', ['--pretty', 'false', '-p', folder], { cwd: root, stdio: 'inherit' })
  if (result.error !== undefined) throw result.error
  return result.status !== 0
})

console.log(`typecheck: ${folders.length - failed.length} folders passed, ${failed.length} failed`)
if (failed.length > 0 || folders.length === 0) process.exitCode = 1
