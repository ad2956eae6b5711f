import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { root } from './workspace.ts'

/** `npm run test:interop`: ours beside the real Python systems, each in an environment of its own that is made where missing. */
const vitest = join(root, 'node_modules/vitest/vitest.mjs')
const { status, error } = spawnSync(
  process.execPath,
  [vitest, 'run', '--project', 'interop', ...process.argv.slice(2)],
  { cwd: root, stdio: 'inherit' },
)
if (error !== undefined) throw error
process.exitCode = status ?? 1
