import { existsSync, mkdirSync, mkdtempSync, realpathSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { root, workspaces } from './workspace.ts'

/**
 * A new temporary folder in which code can import all of our packages, and all that they depend on, as an app's can: its
 * node_modules links to them.
 */
export function appFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `agl-${name}-`))
  const link = (dependency: string, target: string): void => {
    const path = join(folder, 'node_modules', dependency)
    if (existsSync(path) || !existsSync(target)) return
    mkdirSync(dirname(path), { recursive: true })
    symlinkSync(realpathSync(target), path, 'junction')
  }
  const all = workspaces(['packages', 'templates'])
  for (const { path, manifest } of all) link(manifest.name, path)
  for (const { path, manifest } of all) {
    const { dependencies, devDependencies, peerDependencies } = manifest
    for (const dependency of Object.keys({ ...dependencies, ...devDependencies, ...peerDependencies })) {
      link(dependency, join(path, 'node_modules', dependency))
    }
  }
  link('@types/node', join(root, 'node_modules/@types/node'))
  link('vitest', join(root, 'node_modules/vitest'))
  return folder
}
