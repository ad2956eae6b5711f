import { join, relative } from 'node:path'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { readManifest, root } from './workspace.ts'

/**
 * Checks what an entry costs a bundle: its own code, minified and gzipped, without peers and without our other
 * packages. `onImport` is what importing it loads, `whole` also what it loads later by itself.
 */
const budgets = [
  // The design asks for 10 kB. Importing loads more than that; what only `start` needs comes on top.
  { folder: 'packages/core', entry: 'src/index.ts', onImport: 16.1, whole: 22.4 },
  { folder: 'packages/openai', entry: 'src/index.ts', onImport: 8, whole: 9 },
  { folder: 'packages/train', entry: 'src/index.ts', onImport: 18.3, whole: 21 },
  { folder: 'packages/train', entry: 'src/gateway/index.ts', onImport: 9, whole: 9 },
  { folder: 'packages/train', entry: 'src/legacy/index.ts', onImport: 6, whole: 6 },
  { folder: 'packages/otlp', entry: 'src/index.ts', onImport: 13, whole: 19 },
  { folder: 'packages/langchain', entry: 'src/index.ts', onImport: 8, whole: 8 },
  { folder: 'packages/vllm', entry: 'src/index.ts', onImport: 4, whole: 4 },
]

interface Size {
  onImport: number
  whole: number
}

async function measure(folder: string, entry: string): Promise<Size> {
  const { dependencies = {}, peerDependencies = {} } = readManifest(join(root, folder))
  const { outputFiles, metafile } = await build({
    absWorkingDir: join(root, folder),
    entryPoints: [entry],
    bundle: true,
    splitting: true,
    minify: true,
    write: false,
    metafile: true,
    outdir: 'size',
    format: 'esm',
    target: 'node22',
    platform: 'node',
    external: Object.keys({ ...dependencies, ...peerDependencies }),
  })
  const sizes = new Map(
    outputFiles.map((file) => [
      relative(join(root, folder), file.path).replaceAll('\\', '/'),
      gzipSync(file.contents, { level: 9 }).length / 1000,
    ]),
  )
  const loaded = new Set<string>()
  const load = (name: string): void => {
    if (loaded.has(name)) return
    loaded.add(name)
    for (const { path, kind, external } of metafile.outputs[name]?.imports ?? []) {
      if (kind === 'import-statement' && external !== true) load(path)
    }
  }
  load(Object.keys(metafile.outputs).find((name) => metafile.outputs[name]?.entryPoint === entry) ?? '')
  const sum = (names: Iterable<string>): number =>
    [...names].reduce((total, name) => total + (sizes.get(name) ?? 0), 0)
  return { onImport: sum(loaded), whole: sum(sizes.keys()) }
}

for (const { folder, entry, ...budget } of budgets) {
  const size = await measure(folder, entry)
  const fits = size.onImport <= budget.onImport && size.whole <= budget.whole
  const tell = (kind: keyof Size): string => `${size[kind].toFixed(2)} of ${budget[kind]} kB`
  console.log(
    `${folder}/${entry}: ${tell('onImport')} on import, ${tell('whole')} in all${fits ? '' : ' TOO BIG'}`,
  )
  if (!fits) process.exitCode = 1
}
