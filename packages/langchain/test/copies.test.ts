import { createRequire } from 'node:module'
import { record, start } from '@agl/core'
import { langchain } from '@agl/langchain'
import { describe, expect, it } from 'vitest'
import { loadHosts } from './hosts.ts'

const require = createRequire(import.meta.url)

interface Lambdas {
  RunnableLambda: { from(fn: (n: number) => number): { invoke(n: number): Promise<number> } }
}

/** Runs a function through one copy of LangChain, and says how many spans that gave. */
async function spansOf({ RunnableLambda }: Lambdas): Promise<number> {
  const double = RunnableLambda.from((n) => n * 2)
  const { result, spans } = await record('copy', () => double.invoke(21))
  return result === 42 ? spans.length - 1 : Number.NaN
}

describe('copies of @langchain/core', () => {
  it('are all found and recorded, whenever they are loaded, and status says that there are several', async () => {
    const latest = await loadHosts('latest')
    await using lightning = await start({ plugins: [langchain()], log: 'error' })
    const hostsNow = (): string[] =>
      (lightning.status()[0]?.hosts ?? []).map(
        ({ version, format, patched }) => `${version.split('.')[0]} ${format} ${patched}`,
      )
    expect(hostsNow()).toEqual(['1 esm true'])
    expect(lightning.status()[0]?.notes).toBeUndefined()
    const required: Lambdas = require('@langchain/core/runnables')
    const lowest = await loadHosts('lowest')
    expect(hostsNow().toSorted()).toEqual(['0 esm true', '1 cjs true', '1 esm true'])
    expect(lightning.status()[0]).toMatchObject({
      state: 'active',
      notes: [expect.stringContaining('several copies')],
    })
    expect([await spansOf(latest), await spansOf(required), await spansOf(lowest)]).toEqual([1, 1, 1])
  })

  it('leave runs of one inside of runs of another where they were called', async () => {
    const latest = await loadHosts('latest')
    const lowest = await loadHosts('lowest')
    await using _ = await start({ plugins: [langchain()], log: 'error' })
    const inner = lowest.RunnableLambda.from((n: number) => n + 1).withConfig({ runName: 'inner' })
    const outer = latest.RunnableLambda.from((n: number) => inner.invoke(n)).withConfig({ runName: 'outer' })
    const { result, spans } = await record('both', () => outer.invoke(1))
    expect(result).toBe(2)
    const named = (name: string) => spans.find((span) => span.name === name)
    expect(named('inner.chain')?.parentId).toBe(named('outer.chain')?.spanId)
  })
})
