import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { root } from './workspace.ts'

/** `npm test`: builds what has changed, because some tests run the built packages, then runs every project but `interop`. */
function node(...args: readonly string[]): boolean {
  const result = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' })
  if (result.error !== undefined) throw result.error
  return result.status === 0
}

const passed =
  node('scripts/build.ts', '--if-needed') &&
  node(join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--project', '!interop', ...process.argv.slice(2))
if (!passed) process.exitCode = 1
