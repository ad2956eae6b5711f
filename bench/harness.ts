/**
 * Compares variants of the same work within one process.
 *
 * Every round runs each variant once, in shuffled order, so that drift of the machine falls on all alike. What
 * counts of a variant is the 10th percentile over the rounds. The first variant runs twice under two names: the
 * difference of the two (the A/A line) is what this machine cannot tell from nothing.
 */
export interface Variant {
  name: string
  /** Called before and after each of the variant's blocks, outside the measured time. */
  before?: () => void | Promise<void>
  after?: () => void | Promise<void>
  /** One block of `count` operations. */
  run(count: number): void | Promise<void>
}

export interface Row {
  name: string
  /** Microseconds per operation: wall time and CPU time of the whole process. */
  wall: number
  cpu: number
  /** Difference to the base, in microseconds per operation. */
  addedWall: number
  addedCpu: number
}

export interface CompareOptions {
  rounds?: number
  /** Operations in a block. */
  count: number
  /**
   * Collect garbage before each block. Where all that a variant makes is gone by then, the engine throws away the code
   * that it has compiled for it, too, as it does in no program that is at work; blocks then have to be so long that
   * each collects its own garbage. @default true
   */
  collect?: boolean
}

export async function compare(
  title: string,
  variants: readonly [Variant, ...Variant[]],
  options: CompareOptions,
): Promise<Row[]> {
  const { rounds = 60, count, collect = true } = options
  const [base] = variants
  const all = [base, { ...base, name: `${base.name} again (A/A)` }, ...variants.slice(1)]
  const samples = new Map(all.map((variant) => [variant.name, { wall: [] as number[], cpu: [] as number[] }]))
  for (let round = -5; round < rounds; round++) {
    for (const variant of shuffled(all)) {
      await variant.before?.()
      if (collect) globalThis.gc?.()
      const cpu = process.cpuUsage()
      const wall = performance.now()
      await variant.run(count)
      const elapsed = performance.now() - wall
      const used = process.cpuUsage(cpu)
      await variant.after?.()
      if (round < 0) continue
      samples.get(variant.name)?.wall.push((elapsed * 1000) / count)
      samples.get(variant.name)?.cpu.push((used.user + used.system) / count)
    }
  }
  const low = (name: string, kind: 'wall' | 'cpu'): number => percentile(samples.get(name)?.[kind] ?? [], 0.1)
  const rows = all.map(({ name }) => ({
    name,
    wall: low(name, 'wall'),
    cpu: low(name, 'cpu'),
    addedWall: low(name, 'wall') - low(base.name, 'wall'),
    addedCpu: low(name, 'cpu') - low(base.name, 'cpu'),
  }))
  print(`${title} (${rounds} rounds of ${count}, 10th percentile, µs per operation)`, rows)
  return rows
}

export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length * share)] ?? Number.NaN
}

function print(title: string, rows: readonly Row[]): void {
  console.log(`\n### ${title}\n\n| variant | wall | added | CPU | added |\n|---|---:|---:|---:|---:|`)
  for (const row of rows) {
    const cells = [row.wall, row.addedWall, row.cpu, row.addedCpu].map((value) => value.toFixed(2))
    console.log(`| ${row.name} | ${cells.join(' | ')} |`)
  }
}

export function shuffled<T>(items: readonly T[]): T[] {
  const result = [...items]
  for (let i = result.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1))
    const [a, b] = [result[i], result[j]]
    if (a !== undefined && b !== undefined) [result[i], result[j]] = [b, a]
  }
  return result
}
