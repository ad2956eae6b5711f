import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { root, type Workspace, workspaces } from './workspace.ts'

const folder = join(root, 'node_modules/.cache/agl-tarballs')

/** A package as it would be published. */
export interface Packed {
  readonly workspace: Workspace
  readonly tarball: string
}

/**
 * Builds and packs every package that is published. pnpm packs, never npm: only pnpm replaces `workspace:` and `catalog:` and
 * applies `publishConfig.exports`.
 */
export function packAll(): Packed[] {
  const { status } = spawnSync(process.execPath, [join(root, 'scripts/build.ts'), '--if-needed'], {
    stdio: 'inherit',
  })
  if (status !== 0) throw new Error('The build failed; see the lines above.')
  rmSync(folder, { recursive: true, force: true })
  return workspaces()
    .filter(({ manifest }) => manifest.private !== true)
    .map((workspace) => {
      const target = join(folder, workspace.manifest.name.replace('@agl/', ''))
      mkdirSync(target, { recursive: true })
      execFileSync('pnpm', ['pack', '--pack-destination', target], { cwd: workspace.path })
      const [tarball] = readdirSync(target)
      if (tarball === undefined) throw new Error(`pnpm packed nothing for ${workspace.manifest.name}.`)
      return { workspace, tarball: join(target, tarball) }
    })
}
