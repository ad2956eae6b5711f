import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** One way to have the same work done. */
export interface Variant {
  /** Called before each of its blocks, outside the measured time. */
  before(): Promise<void>
  /** One block of `count` calls, to the end of what they cause. */
  run(count: number): Promise<void>
}

/** Microseconds per call: wall time, and time of the processor in the whole process. */
export interface Cost {
  wall: number
  cpu: number
}

export interface Comparison {
  rounds: number
  /** Calls in a block. */
  calls: number
  /** Of each variant, in the order given. */
  costs: Cost[]
}

const WARM_UP = 3
const FEWEST_ROUNDS = 5
/** How long a block is to be, in milliseconds: long beside the clock's steps, short beside the machine's moods. */
const BLOCK = 15

/**
 * Compares variants of the same work for about `milliseconds`. Every round runs each of them once, in shuffled order, so that
 * whatever else the machine does falls on all alike; what counts is the 10th percentile of the rounds.
 */
export async function compare(
  variants: readonly [Variant, ...Variant[]],
  milliseconds: number,
  tell: (round: number) => void,
): Promise<Comparison> {
  const collect = collector()
  const calls = await callsPerBlock(variants[0])
  const blocks = variants.map((variant) => ({ variant, walls: [] as number[], cpus: [] as number[] }))
  const end = performance.now() + milliseconds
  let rounds = -WARM_UP
  for (; rounds < FEWEST_ROUNDS || performance.now() < end; rounds++) {
    collect('major')
    for (const { variant, walls, cpus } of shuffled(blocks)) {
      await variant.before()
      collect('minor')
      const cpu = process.cpuUsage()
      const wall = performance.now()
      await variant.run(calls)
      const elapsed = performance.now() - wall
      const used = process.cpuUsage(cpu)
      if (rounds < 0) continue
      walls.push((elapsed * 1000) / calls)
      cpus.push((used.user + used.system) / calls)
    }
    tell(Math.max(0, rounds))
  }
  return { rounds, calls, costs: blocks.map(({ walls, cpus }) => ({ wall: low(walls), cpu: low(cpus) })) }
}

/** Warms the work up, and finds how much of it fills a block when nothing else is in its way. */
async function callsPerBlock(variant: Variant): Promise<number> {
  await variant.before()
  let fastest = Number.POSITIVE_INFINITY
  for (let i = 0; i < 20; i++) {
    const began = performance.now()
    await variant.run(10)
    fastest = Math.min(fastest, (performance.now() - began) / 10)
  }
  return Math.max(1, Math.min(1000, Math.round(BLOCK / fastest)))
}

/** Garbage is collected between the blocks, so that none pays for another's; all of it only once a round, as that takes longer than a block. */
function collector(): (type: 'minor' | 'major') => void {
  setFlagsFromString('--expose-gc')
  const collect: unknown = runInNewContext('gc')
  return (type) => void (typeof collect === 'function' && collect({ type, execution: 'sync' }))
}

function low(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 10)] ?? Number.NaN
}

function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, place: Math.random() }))
    .sort((a, b) => a.place - b.place)
    .map(({ item }) => item)
}
