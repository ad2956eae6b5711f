import { execFileSync } from 'node:child_process'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root, type Workspace, workspaces } from './workspace.ts'

/** Checks that what is not released yet is announced: each published package with unreleased changes is named by a changeset. */
const changesets = globSync('.changeset/*.md', { cwd: root })
  .filter((file) => !file.endsWith('README.md'))
  .map((file) => readFileSync(join(root, file), 'utf8'))

const announced = ({ manifest }: Workspace): boolean =>
  changesets.some((text) => new RegExp(`^["']${manifest.name}["']: (major|minor|patch)$`, 'm').test(text))

/** Whether the sources differ from those of the last release, the commit that last wrote the package's changelog. */
function hasUnreleasedChanges({ folder, path }: Workspace): boolean {
  if (!existsSync(join(path, 'CHANGELOG.md'))) return true
  const git = (...args: readonly string[]): string =>
    execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim()
  const release = git('log', '-1', '--format=%H', '--', `${folder}/CHANGELOG.md`)
  return release !== '' && git('diff', '--name-only', release, '--', `${folder}/src`) !== ''
}

const published = workspaces().filter(({ manifest }) => manifest.private !== true)
const missing = published.filter((workspace) => hasUnreleasedChanges(workspace) && !announced(workspace))
for (const { manifest } of missing) {
  console.log(
    `${manifest.name} has changed since its last release; run \`pnpm changeset\` and say what changed.`,
  )
}
console.log(`changesets: ${published.length - missing.length} packages in order, ${missing.length} not`)
if (missing.length > 0) process.exitCode = 1
