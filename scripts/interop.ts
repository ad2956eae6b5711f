import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { startPostgres } from './postgres.ts'
import { root } from './workspace.ts'

/**
 * `npm run test:interop`: ours beside the real Python systems, each in an environment of its own, and the store on a real
 * PostgreSQL. What is missing is fetched. Names of files narrow it.
 */
const given = process.argv.slice(2)
const files = given.some((argument) => !argument.startsWith('-'))
  ? given
  : ['interop/test', 'packages/store/test/postgres', ...given]
const postgres = await startPostgres()
try {
  const { status, error } = spawnSync(
    process.execPath,
    [
      join(root, 'node_modules/vitest/vitest.mjs'),
      'run',
      '--project',
      'interop',
      '--project',
      'store',
      ...files,
    ],
    { cwd: root, stdio: 'inherit', env: { ...process.env, AGL_TEST_POSTGRES: postgres.url } },
  )
  if (error !== undefined) throw error
  process.exitCode = status ?? 1
} finally {
  await postgres.remove()
}
