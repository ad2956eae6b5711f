import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { readManifest, root } from './workspace.ts'

/** Checks what an entry costs a bundle: its own code, minified and gzipped, without peers and without our other packages. */
const budgets = [
  { folder: 'packages/core', entry: 'src/index.ts', kilobytes: 10 },
  { folder: 'packages/openai', entry: 'src/index.ts', kilobytes: 8 },
  { folder: 'packages/vllm', entry: 'src/index.ts', kilobytes: 4 },
]

async function bytes(folder: string, entry: string): Promise<number> {
  const { dependencies = {}, peerDependencies = {} } = readManifest(join(root, folder))
  const result = await build({
    absWorkingDir: join(root, folder),
    entryPoints: [entry],
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
    target: 'node22',
    platform: 'node',
    external: Object.keys({ ...dependencies, ...peerDependencies }),
  })
  return result.outputFiles.reduce((sum, file) => sum + gzipSync(file.contents, { level: 9 }).length, 0)
}

for (const { folder, entry, kilobytes } of budgets) {
  const size = await bytes(folder, entry)
  const fits = size <= kilobytes * 1000
  console.log(`${folder}: ${(size / 1000).toFixed(2)} of ${kilobytes} kB ${fits ? '' : 'TOO BIG'}`)
  if (!fits) process.exitCode = 1
}
