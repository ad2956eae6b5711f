import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { emitMessage, start, trace } from '@agl/core'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type Store, openStore, storeSink } from '../src/index.ts'
import { folder } from './folder.ts'
import { lostByKills } from './killed-server.ts'
import { run } from './processes.ts'
import { llmSpan } from './spans.ts'

/** For what takes no time unless the machine is busy. */
const LONG = { timeout: 30_000 }

async function open(url: string): Promise<Store> {
  const store = await openStore(url)
  onTestFinished(() => store.close())
  return store
}

async function statuses(store: Store): Promise<Map<string, string>> {
  const { items } = await store.queryRollouts()
  return new Map(items.map(({ rolloutId, status }) => [rolloutId, status]))
}

describe('a server that goes away while an agent records, and comes back', () => {
  it.each([
    ['costs nothing where the queue holds what comes meanwhile', 20_000, false],
    ['costs what the queue does not hold, and that is counted', 400, true],
  ])('%s', async (_name, size, overflows) => {
    const file = `sqlite:${join(folder(), 'agl.db')}`
    const first = run('serve.ts', [file])
    const url = await first.line(/^http/)
    const lightning = await start({ sinks: [storeSink(await open(url))], queue: { size }, log: 'silent' })
    onTestFinished(async () => void (await lightning.shutdown()))
    /** Spans. */
    let made = 0
    let over = false
    onTestFinished(() => void (over = true))
    const agent = async (): Promise<void> => {
      while (!over) {
        await trace('work', () => {
          for (let n = 1; n < 20; n++) emitMessage('hello')
        })
        made += 20
        await sleep(10)
      }
    }
    const working = agent()
    await expect.poll(async () => (await lightning.flush()).written, LONG).toBeGreaterThan(200)
    first.process.kill('SIGKILL')
    await first.end()
    const before = made
    await expect.poll(() => made, LONG).toBeGreaterThan(before + 1000)
    const second = run('serve.ts', [file, new URL(url).port])
    await second.line(/^http/)
    const back = made
    await expect.poll(() => made, LONG).toBeGreaterThan(back + 200)
    over = true
    await working
    const { written, dropped } = await lightning.flush({ timeout: 30_000 })
    expect(written + dropped).toBe(made)
    expect(dropped > 0).toBe(overflows)
    const store = await open(url)
    expect((await store.statistics()).totalSpans).toBe(written)
    const unfinished = [...(await statuses(store)).values()].filter((status) => status !== 'succeeded')
    expect(unfinished).toEqual([])
  })
})

describe('a server killed under load', () => {
  it('has everything that it acknowledged when it is started again on its SQLite file', async () => {
    expect(await lostByKills(`sqlite:${join(folder(), 'agl.db')}`)).toEqual([])
  }, 60_000)
})

describe('two servers on one SQLite file, one of which is killed under load', () => {
  it('lose nothing that either acknowledged, and give no rollout twice', async () => {
    const file = `sqlite:${join(folder(), 'agl.db')}`
    const servers = [run('serve.ts', [file]), run('serve.ts', [file])] as const
    const [left, right] = [
      await open(await servers[0].line(/^http/)),
      await open(await servers[1].line(/^http/)),
    ]
    const acknowledged = { spans: new Set<string>(), ended: new Set<string>() }
    const enqueued: string[] = []
    const given: string[] = []
    let over = false
    const runner = async (store: Store, workerId: string): Promise<void> => {
      while (!over) {
        try {
          const [rollout] = await store.dequeueRollouts({ workerId, timeout: 1 })
          if (rollout === undefined) continue
          const { rolloutId, attempt } = rollout
          given.push(rolloutId)
          const spans = Array.from({ length: 10 }, () => llmSpan({ rolloutId, attemptId: attempt.attemptId }))
          await store.addSpans(spans)
          for (const { spanId } of spans) acknowledged.spans.add(`${rolloutId}/${spanId}`)
          await store.updateAttempt(rolloutId, attempt.attemptId, { status: 'succeeded' })
          acknowledged.ended.add(rolloutId)
        } catch {
          // Not acknowledged, so not counted.
        }
      }
    }
    const algorithm = async (store: Store): Promise<void> => {
      while (!over) {
        try {
          const rollouts = await store.enqueueRollouts([{ input: 1 }, { input: 2 }, { input: 3 }])
          enqueued.push(...rollouts.map(({ rolloutId }) => rolloutId))
        } catch {
          // As above.
        }
        await sleep(10)
      }
    }
    const names = Array.from({ length: 6 }, (_, i) => i)
    const working = [left, right].flatMap((store, side) => [
      algorithm(store),
      ...names.map((i) => runner(store, `${side === 0 ? 'left' : 'right'}-${i}`)),
    ])
    await expect.poll(() => acknowledged.ended.size, LONG).toBeGreaterThan(60)
    servers[1].process.kill('SIGKILL')
    await servers[1].end()
    const before = acknowledged.ended.size
    await expect.poll(() => acknowledged.ended.size, LONG).toBeGreaterThan(before + 60)
    over = true
    // Else those who ask it go on trying, as it might come back.
    await right.close()
    await Promise.all(working)

    const kept = await open(file)
    const { items } = await kept.queryRollouts()
    const byId = new Map(items.map((rollout) => [rollout.rolloutId, rollout]))
    expect(given.filter((id, i) => given.indexOf(id) !== i)).toEqual([])
    expect(enqueued.filter((id) => !byId.has(id))).toEqual([])
    expect([...acknowledged.ended].filter((id) => byId.get(id)?.status !== 'succeeded')).toEqual([])
    const spans = new Set<string>()
    for (const { rolloutId } of items) {
      for (const { spanId } of (await kept.querySpans({ rolloutId })).items)
        spans.add(`${rolloutId}/${spanId}`)
    }
    expect([...acknowledged.spans].filter((key) => !spans.has(key))).toEqual([])
    // What was taken and reached nobody was on its way from the killed server, at most one for each who asked.
    const lost = items.filter(({ rolloutId, attempt }) => attempt && !given.includes(rolloutId))
    expect(lost.map(({ attempt }) => attempt?.workerId?.replace(/\d/, ''))).toEqual(lost.map(() => 'right-'))
    expect(lost.length).toBeLessThanOrEqual(names.length)
  })
})

describe('a runner that is killed in the middle of a rollout', () => {
  it('has it taken by another one when its time is over', async () => {
    const server = run('serve.ts', [`sqlite:${join(folder(), 'agl.db')}`, '0', '0.1'])
    const url = await server.line(/^http/)
    const store = await open(url)
    const config = { timeoutSeconds: 2, maxAttempts: 2, retryCondition: ['timeout' as const] }
    const [rollout] = await store.enqueueRollouts([{ input: 'hang', config }])
    const id = rollout?.rolloutId ?? ''
    const runner = run('runners.ts', [url, '1', '30'])
    await runner.line(/^hanging$/)
    runner.process.kill('SIGKILL')
    const finished = store.waitForRollouts([id], { timeout: 30 })
    const [again] = await store.dequeueRollouts({ timeout: 30, workerId: 'another' })
    expect(again).toMatchObject({ rolloutId: id, attempt: { sequenceId: 2, workerId: 'another' } })
    await store.updateAttempt(id, again?.attempt.attemptId ?? '', { status: 'succeeded' })
    expect(await finished).toMatchObject([{ rolloutId: id, status: 'succeeded' }])
    const { items } = await store.queryAttempts(id)
    expect(items.map(({ status }) => status)).toEqual(['timeout', 'succeeded'])
  })
})

describe.each([
  ['an hour ahead of', 3600],
  ['an hour behind', -3600],
])('a client whose clock is %s the server’s', (_name, skew) => {
  async function skewed(): Promise<{ store: Store; url: string }> {
    const server = run('serve.ts', [`sqlite:${join(folder(), 'agl.db')}`, '0', '0'])
    const url = await server.line(/^http/)
    const { now } = Date
    Date.now = () => now() + skew * 1000
    onTestFinished(() => void (Date.now = now))
    return { store: await open(url), url }
  }
  const real = (): number => Date.now() / 1000 - skew

  it('keeps an attempt alive, and does not make it time out', async () => {
    const { store } = await skewed()
    const config = { timeoutSeconds: 600, unresponsiveSeconds: 60 }
    const [rollout] = await store.enqueueRollouts([{ input: 1, config }])
    const rolloutId = rollout?.rolloutId ?? ''
    const [taken] = await store.dequeueRollouts()
    const attempt = await store.updateAttempt(rolloutId, 'latest', { lastHeartbeatTime: 'now' })
    expect(taken?.attempt.startTime).toBeCloseTo(real(), -3)
    expect(attempt.lastHeartbeatTime).toBeCloseTo(real(), -3)
    await store.addSpans([llmSpan({ rolloutId, attemptId: attempt.attemptId, startTime: Date.now() / 1000 })])
    expect(await store.getRollout(rolloutId)).toMatchObject({ status: 'running' })
    const { lastHeartbeatTime } = (await store.getLatestAttempt(rolloutId)) ?? {}
    expect(lastHeartbeatTime).toBeCloseTo(real(), -3)
    await store.updateWorker('worker', { heartbeatStats: { load: 1 } })
    expect((await store.getWorker('worker'))?.lastHeartbeatTime).toBeCloseTo(real(), -3)
  })

  it('gets what another one left undone, and waits as long as it said', async () => {
    const { store } = await skewed()
    const config = { unresponsiveSeconds: 1, maxAttempts: 2, retryCondition: ['unresponsive' as const] }
    const [rollout] = await store.enqueueRollouts([{ input: 1, config }])
    const rolloutId = rollout?.rolloutId ?? ''
    await store.dequeueRollouts()
    expect(await store.waitForRollouts([rolloutId], { timeout: 0.2 })).toEqual([])
    const waiting = store.waitForRollouts([rolloutId], { timeout: 30 })
    const [again] = await store.dequeueRollouts({ timeout: 30 })
    expect(again).toMatchObject({ rolloutId, attempt: { sequenceId: 2 } })
    await store.updateAttempt(rolloutId, again?.attempt.attemptId ?? '', { status: 'succeeded' })
    expect(await waiting).toMatchObject([{ rolloutId, status: 'succeeded' }])
    expect(await store.dequeueRollouts({ timeout: 0.2 })).toEqual([])
  })

  it('records traces that end after they began', async () => {
    const { store } = await skewed()
    const lightning = await start({ sinks: [storeSink(store)], log: 'silent' })
    onTestFinished(async () => void (await lightning.shutdown()))
    await trace('work', () => emitMessage('hello'))
    expect(await lightning.flush()).toEqual({ written: 2, dropped: 0 })
    const { items } = await store.queryRollouts()
    expect(items).toMatchObject([{ status: 'succeeded', attempt: { status: 'succeeded' } }])
    const [rollout] = items
    expect(rollout?.endTime).toBeGreaterThanOrEqual(rollout?.startTime ?? Infinity)
    expect(rollout?.attempt?.endTime).toBeGreaterThanOrEqual(rollout?.attempt?.startTime ?? Infinity)
  })
})
