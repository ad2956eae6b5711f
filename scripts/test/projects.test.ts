import { execFileSync } from 'node:child_process'
import { expect, it } from 'vitest'
import { root, workspaces } from '../workspace.ts'

it('lists the tests of every package, of the template, of the repository and of interop', () => {
  const listed: { projectName: string }[] = JSON.parse(
    execFileSync('vitest', ['list', '--json', '--filesOnly'], { cwd: root, encoding: 'utf8' }),
  )
  const folders = workspaces(['packages', 'templates']).map(({ folder }) =>
    folder.replace('packages/', '').replace('templates/', 'template-'),
  )
  const projects = new Set(listed.map(({ projectName }) => projectName))
  expect([...projects].toSorted()).toEqual([...folders, 'repo', 'interop'].toSorted())
})
