import { join } from 'node:path'
import type { Worker } from 'node:worker_threads'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openStore, type Store } from '../src/index.ts'
import { LocalStore } from '../src/local.ts'
import { folder } from './folder.ts'
import { llmSpan } from './spans.ts'

describe('the thread that writes', () => {
  let workers: Worker[] = []
  const note = (worker: Worker): void => void workers.push(worker)
  let store: Store
  beforeEach(async () => {
    workers = []
    process.on('worker', note)
    store = await openStore(`sqlite:${join(folder(), 'agl.db')}`)
  })
  afterEach(async () => {
    process.off('worker', note)
    await store.close()
  })

  it('is replaced when it dies: what it owed is refused, nothing acknowledged is lost, and work goes on', async () => {
    await store.addSpans([llmSpan()], { createMissing: true })
    const many = Array.from({ length: 20_000 }, () => llmSpan())
    const refusal = {
      code: 'store_unavailable',
      message: expect.stringMatching(/^The thread that writes the store file .* ended; .*\.$/),
    }
    const refused = [store.addSpans(many), store.statistics()].map((asked) =>
      expect(asked).rejects.toMatchObject(refusal),
    )
    await workers[0]?.terminate()
    await Promise.all(refused)

    const { added, duplicates } = await store.addSpans(many)
    expect(added + duplicates).toBe(20_000)
    expect((await store.statistics()).totalSpans).toBe(20_001)
    expect(workers).toHaveLength(2)
  })

  it('is gone when the store is closed', async () => {
    await store.close()
    expect(workers[0]?.threadId).toBe(-1)
  })

  it('is not started again for who still reads when the store is closed', async () => {
    await store.addSpans(
      Array.from({ length: 2000 }, () => llmSpan()),
      { createMissing: true },
    )
    if (!(store instanceof LocalStore)) throw new Error('It has another store.')
    const { lists } = await store.spanLists({ rolloutId: 'ro-1' })
    const reading = (async () => {
      for await (const list of lists) if (list.length > 0) await store.close()
    })()
    await expect(reading).rejects.toMatchObject({ code: 'store_unavailable' })
    expect(workers.map(({ threadId }) => threadId)).toEqual([-1])
  })

  it('says why when its replacement cannot open the file', async () => {
    await workers[0]?.terminate()
    const url = store.url.slice('sqlite:'.length)
    const { rmSync, writeFileSync } = await import('node:fs')
    for (const ending of ['', '-wal', '-shm']) rmSync(url + ending, { force: true })
    writeFileSync(url, 'not a database any more '.repeat(100))
    await expect(store.statistics()).rejects.toMatchObject({
      code: 'store_unavailable',
      message: `The file ${url} is not a SQLite database; choose another path for the store.`,
    })
    rmSync(url)
    await expect(store.statistics()).resolves.toMatchObject({ totalSpans: 0 })
  })
})

describe('reading much', () => {
  it('lets other work of this thread run in between', async () => {
    await using store = await openStore(`sqlite:${join(folder(), 'agl.db')}`)
    const spans = Array.from({ length: 3000 }, () => llmSpan({ attributes: { text: 'x'.repeat(10_000) } }))
    await store.addSpans(spans, { createMissing: true })
    let turns = 0
    const turn = setInterval(() => turns++, 0)
    const { items } = await store.querySpans({ rolloutId: 'ro-1' })
    clearInterval(turn)
    expect(items).toHaveLength(3000)
    expect(turns).toBeGreaterThan(5)
  })
})
