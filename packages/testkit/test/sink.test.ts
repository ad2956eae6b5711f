import { activeTrace, emitReward, operation, record, start } from '@agl/core'
import { expect, it } from 'vitest'
import { fixedClock, fixedIds, memorySink, useFixed } from '../src/index.ts'

/** A trace of two steps, the second inside the first. */
async function work(): Promise<void> {
  await operation('outer', async () => {
    await operation('inner', async () => emitReward(0.5))()
  })()
  await operation('after', async () => {})()
}

const TREE = [
  'work.session',
  '  agentlightning.operation',
  '    agentlightning.operation',
  '      agentlightning.annotation',
  '  agentlightning.operation',
].join('\n')

it('keeps spans and traces, and shows them as a tree', async () => {
  const sink = memorySink()
  await using lightning = await start({ sinks: [sink], log: 'silent' })
  await lightning.trace('work', work)
  expect(await lightning.flush()).toEqual({ written: 5, dropped: 0 })

  expect(sink.outline()).toBe(TREE)
  const [root] = sink.tree()
  expect(root?.span.name).toBe('work.session')
  expect(root?.children.map(({ span }) => span.attributes['agentlightning.operation.name'])).toEqual([
    'outer',
    'after',
  ])
  expect(sink.traces).toMatchObject([{ name: 'work', status: 'succeeded', own: true }])
  sink.clear()
  expect([sink.spans, sink.traces, sink.outline()]).toEqual([[], [], ''])
})

it('fails as often as it is told to, and then has each span once', async () => {
  const sink = memorySink()
  await using lightning = await start({ sinks: [sink], log: 'silent', queue: { interval: 1 } })
  sink.fail(2)
  await lightning.trace('work', work)
  while (sink.spans.length === 0) await lightning.flush()
  expect(sink.writes).toBe(3)
  expect(sink.outline()).toBe(TREE)
})

it('hangs until it is released, and knows when it is closed', async () => {
  const sink = memorySink({ name: 'slow' })
  const lightning = await start({ sinks: [sink], log: 'silent', queue: { interval: 1 } })
  sink.hang()
  await lightning.trace('work', work)
  expect(await lightning.flush({ timeout: 20 })).toEqual({ written: 0, dropped: 0 })
  expect([sink.spans.length, sink.closed]).toEqual([0, false])
  sink.release()
  expect(await lightning.shutdown()).toEqual({ written: 5, dropped: 0 })
  expect([sink.name, sink.closed, sink.outline()]).toEqual(['slow', true, TREE])
})

it('makes whole records repeatable with a fixed clock and ids', async () => {
  const run = async (): Promise<unknown> => {
    using _fixed = useFixed()
    await using _lightning = await start({ log: 'silent' })
    const { result, spans } = await record('work', async () => {
      await work()
      return activeTrace()?.rolloutId
    })
    return { result, spans }
  }
  const first = await run()
  expect(await run()).toEqual(first)
  expect(first).toMatchObject({
    result: 'ro-000000000001',
    spans: [{ name: 'agentlightning.annotation' }, {}, {}, {}, {}],
  })
})

it('gives the core its own clock and ids back', async () => {
  const fixed = useFixed()
  fixed[Symbol.dispose]()
  await using _lightning = await start({ log: 'silent' })
  const { spans } = await record('work', work)
  expect(spans[0]?.startTime).toBeGreaterThan(1_750_000_000)
  expect(spans[0]?.rolloutId).not.toMatch(/^ro-0000/)
})

it('moves only by its step and when it is told to', () => {
  const clock = fixedClock({ start: 100, step: 0.5 })
  const ids = fixedIds()
  expect([clock.now(), clock.now()]).toEqual([100, 100.5])
  clock.advance(10)
  expect(clock.now()).toBe(111)
  expect([ids.randomHex(4), ids.randomHex(8)]).toEqual(['00000001', '0000000000000002'])
})
