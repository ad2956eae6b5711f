import {
  definePlugin,
  ensurePlugin,
  record,
  start,
  type Activity,
  type Plugin,
  type PluginApi,
} from '@agl/core'
import { describe, expect, it } from 'vitest'

function counting(name: string): { plugin: Plugin; events: string[] } {
  const events: string[] = []
  const plugin = definePlugin({
    name,
    setup() {
      events.push('on')
      return () => void events.push('off')
    },
  })
  return { plugin, events }
}

describe('ensurePlugin', () => {
  it('installs a plugin at once in the running tracer, and in those that start later', async () => {
    const { plugin, events } = counting('ensured')
    const lightning = await start({ log: 'silent' })
    ensurePlugin(plugin)
    expect(events).toEqual(['on'])
    expect(lightning.status()).toMatchObject([{ name: 'ensured', state: 'active' }])
    await lightning.shutdown()
    expect(events).toEqual(['on', 'off'])
    const next = await start({ log: 'silent' })
    expect(events).toEqual(['on', 'off', 'on'])
    await next.shutdown()
  })

  it("leaves a plugin of the program's own in place, and goes when one comes", async () => {
    const ours = counting('shared')
    const own = counting('shared')
    ensurePlugin(ours.plugin)
    const lightning = await start({ plugins: [own.plugin], log: 'silent' })
    expect([own.events, ours.events]).toEqual([['on'], []])
    await lightning.shutdown()
    const next = await start({ log: 'silent' })
    const later = counting('shared')
    await next.use(later.plugin)
    expect([ours.events, later.events]).toEqual([['on', 'off'], ['on']])
    await next.shutdown()
    expect(later.events).toEqual(['on', 'off'])
  })
})

it('an activity may be opened below another than the active one, and the innermost is known', async () => {
  const held: { api?: PluginApi } = {}
  const plugin = definePlugin({ name: 'opens', setup: (api) => void (held.api = api) })
  await using _ = await start({ plugins: [plugin], log: 'silent' })
  const { spans } = await record('below', () => {
    const { api } = held
    const outer = api?.activity('chain', { name: 'outer' })
    const other = api?.activity('chain', { name: 'other' })
    const seen: (Activity | undefined)[] = []
    other?.run(() => {
      const child = api?.activity('tool', { name: 'child' }, outer)
      child?.run(() => seen.push(api?.current(), api?.current()?.parent))
      child?.end({ finish: 'cancelled' })
      expect(seen).toEqual([child, outer])
    })
    for (const activity of [other, outer]) activity?.end()
  })
  const named = (name: string) => spans.find((span) => span.name === name)
  expect(named('child.tool')?.parentId).toBe(named('outer.chain')?.spanId)
  expect(named('child.tool')).toMatchObject({
    status: { statusCode: 'UNSET' },
    attributes: { 'agl.finish': 'cancelled' },
  })
})
