import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { root } from '../workspace.ts'

const bootstrap = join(root, 'scripts/bootstrap.mjs')

it('passes the exit code through', () => {
  expect(spawnSync(process.execPath, [bootstrap, '-e', 'process.exit(7)']).status).toBe(7)
})

it('runs the program under a supported Node, with the tools of the repository on its path', () => {
  const program =
    "console.log(process.versions.node.split('.')[0], require('child_process').execSync('tsc -v') + '')"
  const { stdout, status } = spawnSync(process.execPath, [bootstrap, '-e', program], { encoding: 'utf8' })
  expect(status).toBe(0)
  expect(stdout).toMatch(/^(22|24|26) Version 7\./)
})

it('passes signals on, and ends as the program does', async () => {
  const program =
    "process.on('SIGTERM', () => process.exit(5)); setInterval(() => {}, 1000); console.log('ready')"
  const child = spawn(process.execPath, [bootstrap, '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  child.kill('SIGTERM')
  expect(await once(child, 'exit')).toEqual([5, null])
})
