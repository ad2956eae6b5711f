import { defineConfig } from 'tsup'
import { entries, readManifest } from './workspace.ts'

type TsupConfig = ReturnType<typeof defineConfig>

/**
 * The build of the package in the current folder: ESM and declarations of each entry that its package.json names. `internal`
 * adds files that the package loads by their URL (a worker), as `{ worker: 'src/worker.ts' }`.
 */
export function packageConfig(internal: Readonly<Record<string, string>> = {}): TsupConfig {
  return defineConfig({
    entry: { ...entries(readManifest(process.cwd())), ...internal },
    format: 'esm',
    target: 'node22',
    platform: 'node',
    dts: true,
    clean: true,
    sourcemap: false,
    treeshake: true,
  })
}
