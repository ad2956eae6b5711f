import { defineConfig } from 'tsup'
import { entries, readManifest } from './workspace.ts'

type TsupConfig = ReturnType<typeof defineConfig>

/** The build of the package in the current folder: ESM and declarations of each entry its package.json names. */
export function packageConfig(): TsupConfig {
  return defineConfig({
    entry: entries(readManifest(process.cwd())),
    format: 'esm',
    target: 'node22',
    platform: 'node',
    dts: true,
    clean: true,
    sourcemap: false,
    treeshake: true,
  })
}
