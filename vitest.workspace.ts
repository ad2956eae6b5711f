import { existsSync, readdirSync } from 'node:fs'
import type { TestProjectConfiguration } from 'vitest/config'

/**
 * The only list of test projects: every folder under `packages` and `templates`, the checks of the repository itself, and
 * those beside the real Python systems, which `npm test` leaves out.
 */
const folders = ['packages', 'templates'].flatMap((parent) =>
  readdirSync(new URL(parent, import.meta.url))
    .filter((name) => existsSync(new URL(`${parent}/${name}/package.json`, import.meta.url)))
    .map((name) => ({ name: parent === 'packages' ? name : `template-${name}`, root: `${parent}/${name}` })),
)

const projects: TestProjectConfiguration[] = [
  ...folders,
  { name: 'repo', root: 'scripts' },
  { name: 'interop', root: 'interop' },
].map(({ name, root }) => ({
  extends: true,
  test: {
    name,
    root,
    include: ['test/**/*.test.ts'],
    typecheck: { enabled: false },
  },
}))

export default projects
