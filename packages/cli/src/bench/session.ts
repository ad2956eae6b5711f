import { setImmediate as tick } from 'node:timers/promises'
import type { Lightning, Plugin, PluginStatus, Span } from '@agl/core'
import { compare, type Comparison, type Cost, type Variant } from './measure.ts'
import { watches, withRequired } from './plugins.ts'
import type { OpenWorkload, Part, Workload } from './workloads.ts'

/** What a set of plugins adds to a call, and what it recorded of one. */
interface PluginCost extends Cost {
  plugins: string[]
  added: Cost
  recorded: Part[]
}

export interface Result {
  name: string
  host: string
  version: string
  rounds: number
  /** Calls in a block of a round. */
  calls: number
  plain: Cost
  /** The same once more: what this machine cannot tell from nothing. */
  again: Cost
  plugins: PluginCost[]
}

/** A running tracer whose plugins are stopped and resumed to be compared. */
export class Session {
  readonly #lightning: Lightning
  readonly #plugins: ReadonlyMap<string, Plugin>
  readonly #folders: readonly string[]
  /** The spans of the newest batch that reached the sink. */
  readonly #newest: () => readonly Span[]
  /** As they were when last all of them were on. */
  status: PluginStatus[]

  constructor(
    lightning: Lightning,
    plugins: ReadonlyMap<string, Plugin>,
    folders: readonly string[],
    newest: () => readonly Span[],
  ) {
    this.#lightning = lightning
    this.#plugins = plugins
    this.#folders = folders
    this.#newest = newest
    this.status = lightning.status()
  }

  /** Undefined where the host is missing, or no plugin that watches it is active. */
  async measure(
    workload: Workload,
    milliseconds: number,
    tell: (text: string) => void,
  ): Promise<Result | undefined> {
    const open = await workload.open(this.#folders)
    if (open === undefined) return undefined
    try {
      // Hosts report themselves as they are loaded; those found otherwise do a moment later.
      await tick()
      this.status = this.#lightning.status()
      const sets = this.#sets(workload.host)
      if (sets.length === 0) return undefined
      const plain = this.#plain(open)
      const variants = [plain, plain, ...sets.map((set) => this.#traced(open, set))] as const
      const comparison = await compare(variants, milliseconds, (round) =>
        tell(`${workload.name}: round ${round}`),
      )
      const recorded: Part[][] = []
      for (const set of sets) recorded.push(await this.#look(open, set))
      return resultOf(workload, open, comparison, sets, recorded)
    } finally {
      await this.#only(new Set(this.#names()))
      await open.close()
    }
  }

  /** Those that could be installed, in the order of their installation. */
  #names(): string[] {
    return this.status.flatMap(({ name, state }) =>
      state === 'active' || state === 'unsupported' ? [name] : [],
    )
  }

  /** Each plugin that watches `host` with what it requires, and all of them together. */
  #sets(host: string): string[][] {
    const names = this.#names()
    const own = names.filter((name) => {
      const plugin = this.#plugins.get(name)
      return plugin !== undefined && watches(plugin, host)
    })
    const sets = own.map((name) => withRequired(name, this.#plugins))
    const inOrder = [...sets, new Set(own)].map((set) => names.filter((name) => set.has(name)))
    const distinct = new Map(inOrder.map((set) => [set.join(), set]))
    return [...distinct.values()].filter((set) => set.length > 0)
  }

  async #only(on: ReadonlySet<string>): Promise<void> {
    const names = this.#names()
    for (const name of names.toReversed()) if (!on.has(name)) await this.#lightning.stop(name)
    for (const name of names) if (on.has(name)) await this.#lightning.resume(name)
  }

  #plain(open: OpenWorkload): Variant {
    return { before: () => this.#only(new Set()), run: (count) => repeat(open, count) }
  }

  #traced(open: OpenWorkload, set: readonly string[]): Variant {
    return {
      before: () => this.#only(new Set(set)),
      run: async (count) => {
        await this.#lightning.trace('bench', () => repeat(open, count))
        await this.#lightning.flush()
      },
    }
  }

  async #look(open: OpenWorkload, set: readonly string[]): Promise<Part[]> {
    await this.#lightning.flush()
    const traced = this.#traced(open, set)
    await traced.before()
    await traced.run(1)
    return open.recorded(this.#newest())
  }
}

async function repeat(open: OpenWorkload, count: number): Promise<void> {
  for (let i = 0; i < count; i++) await open.call()
}

function resultOf(
  { name, host }: Workload,
  { version }: OpenWorkload,
  { rounds, calls, costs }: Comparison,
  sets: readonly string[][],
  recorded: readonly Part[][],
): Result {
  const [plain = NOTHING, again = NOTHING, ...traced] = costs
  const plugins = sets.map((set, i) => {
    const { wall, cpu } = traced[i] ?? NOTHING
    const added = { wall: wall - plain.wall, cpu: cpu - plain.cpu }
    return { plugins: set, wall, cpu, added, recorded: recorded[i] ?? [] }
  })
  return { name, host, version, rounds, calls, plain, again, plugins }
}

const NOTHING: Cost = { wall: Number.NaN, cpu: Number.NaN }
