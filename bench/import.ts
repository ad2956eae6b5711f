import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { percentile } from './harness.ts'

/** What `import '@agl/core'` adds to a process, from the built package: whole processes, with and without, in turn. */
export function benchImport(): void {
  const entry = new URL('../packages/core/dist/index.js', import.meta.url).href
  if (!existsSync(new URL(entry))) {
    execFileSync(process.execPath, [fileURLToPath(new URL('../scripts/build.ts', import.meta.url))])
  }
  const run = (code: string): number => {
    const begin = performance.now()
    execFileSync(process.execPath, ['--input-type=module', '--eval', code])
    return performance.now() - begin
  }
  const api = new URL('../packages/core/node_modules/@opentelemetry/api/dist/index.mjs', import.meta.url).href
  const samples = { empty: [] as number[], again: [] as number[], api: [] as number[], core: [] as number[] }
  for (let round = 0; round < 60; round++) {
    samples.empty.push(run('0'))
    samples.api.push(run(`await import(${JSON.stringify(api)})`))
    samples.core.push(run(`await import(${JSON.stringify(entry)})`))
    samples.again.push(run('0'))
  }
  const low = (values: number[]): number => percentile(values, 0.1)
  console.log('\n### Importing @agl/core (60 processes each, 10th percentile, ms)\n')
  console.log(`- empty program: ${low(samples.empty).toFixed(1)}`)
  console.log(`- empty program again (A/A): ${low(samples.again).toFixed(1)}`)
  console.log(`- with @opentelemetry/api alone: ${low(samples.api).toFixed(1)}`)
  console.log(
    `- with @agl/core: ${low(samples.core).toFixed(1)} (added ${(low(samples.core) - low(samples.empty)).toFixed(1)})`,
  )
}
