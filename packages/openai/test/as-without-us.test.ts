import { record, start, type Lightning, type Span } from '@agl/core'
import { openai } from '@agl/openai'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { calls } from './checks/calls.ts'
import { lineOf, observe } from './checks/check.ts'
import { faults } from './checks/faults.ts'
import { streams } from './checks/streams.ts'
import { COPIES, loadCopy, type Copy } from './copies.ts'

const checks = [...calls, ...streams, ...faults]

describe('programs behave as without us, and their calls are recorded', () => {
  const copies = new Map<string, Copy>()
  const without = new Map<string, unknown>()
  let lightning: Lightning

  beforeAll(async () => {
    // First every check without us, in the order of the copies; only then is anything of the client replaced.
    for (const [alias, major, format] of COPIES) {
      const copy = await loadCopy(alias, major, format)
      copies.set(copy.name, copy)
      await inTurns(8, checks, async (check) => {
        without.set(`${copy.name}: ${check.name}`, await observe(copy, check))
      })
    }
    lightning = await start({ plugins: [openai()], drain: 100, log: 'silent' })
  }, 120_000)
  afterAll(() => lightning.shutdown())

  it('finds every copy of the client that was loaded before the start', () => {
    const [plugin] = lightning.status()
    expect(plugin).toMatchObject({ name: 'openai', state: 'active' })
    const majors = plugin?.hosts.map(({ version, format }) => `${version.split('.')[0]} ${format}`)
    expect(new Set(majors)).toEqual(new Set(COPIES.map(([, major, format]) => `${major} ${format}`)))
  })

  describe.each(COPIES.map(([, major, format]) => `openai ${major} (${format})`))('%s', (name) => {
    it.each(checks)('$name', async (check) => {
      const copy = copies.get(name)
      if (copy === undefined) throw new Error(`${name} was not loaded.`)
      let spans: Span[] = []
      const observed = await observe(copy, check, async (fn) => {
        const outcome = await record('check', fn)
        spans = outcome.spans.slice(0, -1)
        return outcome.result
      })
      expect(observed).toEqual(without.get(`${name}: ${check.name}`))
      const expected = typeof check.spans === 'function' ? check.spans(copy.major) : check.spans
      expect(spans.map(lineOf).toSorted()).toEqual(expected.toSorted())
      check.look?.(spans)
    })
  })
})

/** Does the work for all items, `width` of them at a time. */
async function inTurns<T>(
  width: number,
  items: readonly T[],
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = items.values()
  const worker = async (): Promise<void> => {
    for (const item of queue) await work(item)
  }
  await Promise.all(Array.from({ length: width }, worker))
}
