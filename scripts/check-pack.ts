import { execFileSync, spawnSync } from 'node:child_process'
import { packAll } from './pack.ts'
import { entries } from './workspace.ts'

/** Checks each package as it would be published: publint, Are The Types Wrong, and what the tarball holds. */
function run(command: string, args: readonly string[]): boolean {
  const result = spawnSync(command, args, { encoding: 'utf8' })
  if (result.error !== undefined) throw result.error
  if (result.status !== 0) console.log(result.stdout + result.stderr)
  return result.status === 0
}

/** Files that must be in the tarball and are not, or are and must not be. */
function contentProblems(tarball: string, wanted: readonly string[]): string[] {
  const held = execFileSync('tar', ['-tzf', tarball], { encoding: 'utf8' }).split('\n')
  const missing = wanted
    .filter((file) => !held.includes(`package/${file}`))
    .map((file) => `${file} is missing`)
  const stray = held
    .filter((file) => /^package\/(src|test)\//.test(file))
    .map((file) => `${file} does not belong there`)
  const manifest = execFileSync('tar', ['-xzOf', tarball, 'package/package.json'], { encoding: 'utf8' })
  const unresolved = ['workspace:', 'catalog:', '@agl/source"'].filter((text) => manifest.includes(text))
  return [...missing, ...stray, ...unresolved.map((text) => `package.json still says ${text}`)]
}

const failed: string[] = []
for (const { workspace, tarball } of packAll()) {
  const { name } = workspace.manifest
  const built = Object.keys(entries(workspace.manifest)).flatMap((entry) => [
    `dist/${entry}.js`,
    `dist/${entry}.d.ts`,
  ])
  const problems = contentProblems(tarball, [...built, 'README.md', 'LICENSE', 'package.json'])
  for (const problem of problems) console.log(`${name}: ${problem}`)
  const published = run('publint', ['run', '--strict', tarball])
  const typed = run('attw', [tarball, '--profile', 'esm-only'])
  const passed = problems.length === 0 && published && typed
  console.log(`${name}: ${passed ? 'passed' : 'FAILED'}`)
  if (!passed) failed.push(name)
}
if (failed.length > 0) process.exitCode = 1
