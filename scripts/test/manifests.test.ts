import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type ExportTarget, root, workspaces } from '../workspace.ts'

const packages = workspaces(['packages', 'templates'])

const withoutSource = (target: ExportTarget): ExportTarget => {
  if (typeof target === 'string') return target
  const { '@agl/source': _, ...published } = target
  return published
}

describe.each(packages.map(({ manifest, path }) => ({ name: manifest.name, manifest, path })))(
  '$name',
  ({ manifest, path }) => {
    it('is an ES module without side effects, under MIT, for Node 22.18 and later', () => {
      expect(manifest).toMatchObject({
        type: 'module',
        license: 'MIT',
        sideEffects: false,
        engines: { node: '>=22.18' },
        files: expect.arrayContaining(['dist']),
        publishConfig: { access: 'public' },
      })
      expect(manifest).not.toHaveProperty('main')
    })

    it('exports its sources to this repository alone', () => {
      const exported = Object.entries(manifest.exports ?? {})
      const published = Object.fromEntries(exported.map(([entry, target]) => [entry, withoutSource(target)]))
      expect(manifest).toHaveProperty('publishConfig.exports', published)
      for (const [, target] of exported) {
        if (typeof target === 'string') continue
        // The first condition that applies is taken.
        expect(Object.keys(target)).toEqual(['@agl/source', 'types', 'default'])
        expect(existsSync(join(path, target['@agl/source'] ?? ''))).toBe(true)
      }
    })

    it('tests against its peers', () => {
      const { peerDependencies = {}, devDependencies = {} } = manifest
      expect(Object.keys(peerDependencies).filter((peer) => !(peer in devDependencies))).toEqual([])
      expect(Object.entries(peerDependencies).filter(([, range]) => range === '*' || range === '')).toEqual(
        [],
      )
    })

    it('has a README that names it and says how to install it', () => {
      const readme = readFileSync(join(path, 'README.md'), 'utf8')
      expect(readme).toContain(`# ${manifest.name}\n`)
      expect(readme).toMatch(new RegExp(`^npm install .*${manifest.name}\\b`, 'm'))
    })

    it('builds and compiles as the others do', () => {
      const config = JSON.parse(readFileSync(join(path, 'tsconfig.json'), 'utf8'))
      expect(config).toEqual({ extends: '../../tsconfig.base.json', include: ['src', 'test'] })
      expect(readFileSync(join(path, 'tsup.config.ts'), 'utf8')).toContain("from '../../scripts/tsup.ts'")
    })
  },
)

it('uses each entry of the catalog', () => {
  const [, catalog = ''] =
    /^catalog:\n((?: .*\n)+)/m.exec(readFileSync(join(root, 'pnpm-workspace.yaml'), 'utf8')) ?? []
  const names = [...catalog.matchAll(/^ {2}'?([@\w][^':]*)'?:/gm)].map(([, name = '']) => name)
  expect(names.length).toBeGreaterThan(10)
  const manifests = [
    'package.json',
    ...packages.map(({ folder }) => `${folder}/package.json`),
    'bench/package.json',
    'bench/peers/package.json',
  ]
  manifests.push(...workspaces(['examples']).map(({ folder }) => `${folder}/package.json`))
  const text = manifests
    .map((file) => (existsSync(join(root, file)) ? readFileSync(join(root, file), 'utf8') : ''))
    .join()
  expect(names.filter((name) => !text.includes(`"${name}": "catalog:"`))).toEqual([])
})
