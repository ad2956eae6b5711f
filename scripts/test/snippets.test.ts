import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { appFolder } from '../app-folder.ts'
import { documents, type Snippet, snippetsOf } from '../snippets.ts'
import { root } from '../workspace.ts'

const languages = ['ts', 'js', 'mjs', 'cjs']
const folder = appFolder('snippets')
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const snippets = documents()
  .flatMap(snippetsOf)
  .filter(({ language }) => languages.includes(language))
const unchecked = snippets.filter(({ info }) => info.startsWith('no-check'))
const checked = snippets.filter((snippet) => !unchecked.includes(snippet))

/** Where a block is written: blocks of one document share a folder, and lines keep their numbers. */
function place({ document, line, language, fileName, code }: Snippet): string {
  const path = join(document.replaceAll('/', '+'), fileName ?? `line-${line}.${language}`)
  const module = language === 'cjs' || /^(im|ex)port /m.test(code) ? '' : '\nexport {}\n'
  mkdirSync(dirname(join(folder, path)), { recursive: true })
  writeFileSync(join(folder, path), '\n'.repeat(line - 1) + code + module)
  return path
}

function typecheck(paths: readonly string[]): string {
  const options = {
    isolatedDeclarations: false,
    declaration: false,
    allowJs: true,
    checkJs: true,
    rootDir: '.',
  }
  const config = { extends: join(root, 'tsconfig.base.json'), compilerOptions: options, files: paths }
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config))
  const result = spawnSync('tsc', ['--pretty', 'false', '-p', folder], { cwd: folder, encoding: 'utf8' })
  if (result.error !== undefined) throw result.error
  return result.status === 0 ? '' : result.stdout + result.stderr
}

describe('the code in the documents', () => {
  it('is type-checked, or says why not', () => {
    expect(unchecked.filter(({ info }) => info.replace('no-check', '').trim() === '')).toEqual([])
  })

  it('compiles against the sources', () => {
    expect(checked.length).toBeGreaterThan(0)
    expect(typecheck(checked.map(place))).toBe('')
  })

  it('would fail if a document named something that does not exist', () => {
    const code = "import { noSuchName } from '@agl/core'\nvoid noSuchName"
    const wrong = { document: 'wrong.md', line: 3, language: 'ts', info: '', fileName: undefined, code }
    expect(typecheck([place(wrong)])).toMatch(/wrong\.md\/line-3\.ts\(3,10\).*noSuchName/)
  })
})
