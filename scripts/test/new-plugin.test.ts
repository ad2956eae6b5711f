import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, globSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { appFolder } from '../app-folder.ts'
import { readManifest, root } from '../workspace.ts'

const folder = appFolder('new-plugin')
const plugin = join(folder, 'packages/my-library')
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function run(command: string, ...args: readonly string[]): string {
  const result = spawnSync(command, args, { cwd: plugin, encoding: 'utf8' })
  if (result.error !== undefined) throw result.error
  return result.status === 0 ? '' : result.stdout + result.stderr
}

function newPlugin(name: string): { status: number | null; stderr: string } {
  return spawnSync(
    process.execPath,
    [join(root, 'scripts/new-plugin.ts'), name, '--into', join(folder, 'packages')],
    {
      encoding: 'utf8',
    },
  )
}

it('makes a plugin of the given name that compiles and passes its tests', () => {
  expect(newPlugin('my-library').status).toBe(0)
  copyFileSync(join(root, 'tsconfig.base.json'), join(folder, 'tsconfig.base.json'))
  const config = "export default { ssr: { resolve: { conditions: ['@agl/source'] } } }"
  writeFileSync(join(plugin, 'vitest.config.mjs'), config)

  expect(readManifest(plugin)).toMatchObject({
    name: '@agl/my-library',
    description: 'Records the calls of my-library',
  })
  expect(readManifest(plugin)).not.toHaveProperty('private')
  expect(run('tsc', '--pretty', 'false', '-p', '.')).toBe('')
  expect(run('vitest', 'run')).toBe('')
})

it("leaves no trace of the template's name", () => {
  const files = globSync('{*.{json,md,ts},{src,test}/**/*.ts}', { cwd: plugin })
  expect(files.length).toBeGreaterThan(5)
  expect(files.filter((file) => /template/i.test(readFileSync(join(plugin, file), 'utf8')))).toEqual([])
})

it.each(['', 'My Library', '../escape', 'UPPER'])('refuses the name %j', (name) => {
  const { status, stderr } = newPlugin(name)
  expect(status).toBe(2)
  expect(stderr).toMatch(/^Usage: pnpm new:plugin NAME/)
  expect(existsSync(join(folder, 'escape'))).toBe(false)
})

it('refuses to write over a plugin that exists', () => {
  const { status, stderr } = newPlugin('my-library')
  expect(status).toBe(2)
  expect(stderr).toMatch(/exists already/)
})
