import { spawnSync } from 'node:child_process'
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { root } from './workspace.ts'

/** Copies the template plugin to `packages/NAME` under its new name, with a first changeset. `--into DIR` copies it elsewhere. */
const { positionals, values } = parseArgs({ allowPositionals: true, options: { into: { type: 'string' } } })
const [name = ''] = positionals
const target = values.into === undefined ? join(root, 'packages', name) : resolve(values.into, name)

function stop(sentence: string): never {
  console.error(sentence)
  process.exit(2)
}

if (!/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/.test(name)) {
  stop('Usage: pnpm new:plugin NAME, where NAME is in lower case with hyphens, such as `my-library`.')
}
if (existsSync(target)) stop(`${target} exists already; choose another name or remove it.`)

const pascal = name.replace(/(^|-)(\w)/g, (_, __, letter: string) => letter.toUpperCase())
const camel = pascal.charAt(0).toLowerCase() + pascal.slice(1)

/** The package's name first, as it holds the shorter ones; quoted, `template` is the plugin's name; bare, the factory's. */
const renamed = (text: string): string =>
  text
    .replaceAll('@agl/plugin-template', `@agl/${name}`)
    .replaceAll("'template'", `'${name}'`)
    .replaceAll('Template', pascal)
    .replaceAll(/\btemplate\b/g, camel)

const template = join(root, 'templates/plugin')
for (const file of globSync('{*.{json,md,ts},{src,test}/**/*}', { cwd: template, withFileTypes: true })) {
  if (!file.isFile()) continue
  const from = join(file.parentPath, file.name)
  const to = join(target, relative(template, from))
  mkdirSync(dirname(to), { recursive: true })
  writeFileSync(to, renamed(readFileSync(from, 'utf8')))
}

const manifest = JSON.parse(readFileSync(join(target, 'package.json'), 'utf8'))
delete manifest.private
manifest.description = `Records the calls of ${name}`
writeFileSync(join(target, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)

const readme = readFileSync(join(target, 'README.md'), 'utf8')
writeFileSync(join(target, 'README.md'), readme.replace(/ Copied by `pnpm new:plugin NAME`.*\n/, '\n'))

if (values.into === undefined) {
  spawnSync('oxfmt', [target], { cwd: root })
  const changeset = join(root, `.changeset/first-${name}.md`)
  writeFileSync(changeset, `---\n'@agl/${name}': minor\n---\n\nRecords the calls of ${name}.\n`)
  console.log(
    `packages/${name} is ready: run \`pnpm install\`, then replace the toy client with the library's own.`,
  )
}
