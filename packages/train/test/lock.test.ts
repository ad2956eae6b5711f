import { spawnSync } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import { type DatasetSource, exportDataset } from '@agl/train'
import { describe, expect, it } from 'vitest'
import { addRollout, folder, memoryStore, refusal } from './support.ts'

const owner = (parts: object = {}): string =>
  JSON.stringify({
    pid: process.pid,
    host: hostname(),
    began: Date.now() - process.uptime() * 1000,
    ...parts,
  })

describe.each(['train.jsonl', 'train.parquet'])('two exports to %s', (name) => {
  it('are not done at once', async () => {
    const store = await memoryStore()
    await addRollout(store, 'ro-a')
    const out = join(folder(), name)
    const gate = new EventEmitter()
    const [begun, paused] = [once(gate, 'begin'), once(gate, 'go on')]
    const slow: DatasetSource = {
      queryRollouts: (query) => store.queryRollouts(query),
      getRollout: (rolloutId) => store.getRollout(rolloutId),
      querySpans: async (query) => {
        gate.emit('begin')
        await paused
        return store.querySpans(query)
      },
    }
    const first = exportDataset(slow, { format: 'triplets', out })
    await begun
    const error = await refusal(exportDataset(store, { format: 'triplets', out }))
    expect(error).toMatchObject({
      code: 'usage',
      message: `Another export (process ${process.pid} on ${hostname()}) is writing to ${out}; wait for it, choose another file, or remove ${out}.lock if there is none.`,
    })
    gate.emit('go on')
    expect(await first).toMatchObject({ lines: 1 })
    expect(readdirSync(dirname(out))).not.toContain(`${name}.lock`)
    expect(await exportDataset(store, { format: 'triplets', out })).toMatchObject({ lines: 1 })
  })
})

describe('the lock of an export', () => {
  it.each([
    ['a process that is gone', () => owner({ pid: spawnSync(process.execPath, ['-e', '']).pid })],
    ['a process of the same id that is gone', () => owner({ began: 0 })],
  ])('counts for nothing when it is of %s', async (_, text) => {
    const store = await memoryStore()
    await addRollout(store, 'ro-a')
    const out = join(folder(), 'train.jsonl')
    writeFileSync(`${out}.lock`, text())
    expect(await exportDataset(store, { format: 'triplets', out })).toMatchObject({ lines: 1 })
    expect(existsSync(`${out}.lock`)).toBe(false)
  })

  it.each([
    ['another machine', owner({ host: 'another', began: 0 })],
    ['nobody yet', ''],
    ['who knows whom', '[]'],
  ])('holds when it is of %s', async (_, text) => {
    const store = await memoryStore()
    const out = join(folder(), 'train.jsonl')
    writeFileSync(`${out}.lock`, text)
    const error = await refusal(exportDataset(store, { format: 'triplets', out }))
    expect(error.message).toContain(`remove ${out}.lock`)
    expect(existsSync(`${out}.lock`)).toBe(true)
    expect(existsSync(out)).toBe(false)
  })
})
