import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { AttemptedRollout, Store, StoreOptions } from '../src/index.ts'
import { llmSpan } from './spans.ts'

const LONG_AGO = 1_700_000_000

/** What every store does with its queue, attempts, workers and resources. `open` gives a new, empty one. */
export function lifecycleContract(name: string, open: (options?: StoreOptions) => Promise<Store>): void {
  describe(`the life of rollouts: ${name}`, () => {
    let store: Store
    beforeEach(async () => {
      store = await open({ watchdogInterval: 0 })
    })
    afterEach(() => store.close())

    const enqueue = async (count: number): Promise<string[]> => {
      const requests = Array.from({ length: count }, (_, index) => ({ input: index }))
      return (await store.enqueueRollouts(requests)).map(({ rolloutId }) => rolloutId)
    }
    const take = async (limit = 1, workerId?: string): Promise<AttemptedRollout[]> =>
      store.dequeueRollouts({ limit, ...(workerId !== undefined && { workerId }) })
    const takeIds = async (limit?: number): Promise<string[]> =>
      (await take(limit)).map(({ rolloutId }) => rolloutId)
    const status = async (rolloutId: string): Promise<string | undefined> =>
      (await store.getRollout(rolloutId))?.status
    const invalid = { code: 'value_invalid' }

    describe('the queue', () => {
      it('keeps rollouts as they were given, queued and without an attempt', async () => {
        const before = Date.now() / 1000
        const input = { question: 'Why?', nothing: null }
        const config = { timeoutSeconds: 60, maxAttempts: 3, retryCondition: ['timeout', 'failed'] as const }
        const [full, bare] = await store.enqueueRollouts([
          {
            input,
            mode: 'train',
            resourcesId: 'rs-1',
            metadata: { set: 1 },
            config: { ...config, retryCondition: [...config.retryCondition] },
          },
          { input: null, mode: null, resourcesId: null, metadata: null, config: null },
        ])
        expect(full).toEqual({
          rolloutId: expect.stringMatching(/^ro-[0-9a-f]{12}$/),
          input,
          startTime: expect.any(Number),
          endTime: null,
          mode: 'train',
          resourcesId: 'rs-1',
          status: 'queuing',
          config: { ...config, unresponsiveSeconds: null },
          metadata: { set: 1 },
        })
        expect(full?.startTime).toBeGreaterThan(before - 60)
        expect(bare).toMatchObject({ input: null, mode: null, resourcesId: null, metadata: {} })
        expect(bare?.config).toEqual({
          timeoutSeconds: null,
          unresponsiveSeconds: null,
          maxAttempts: 1,
          retryCondition: [],
        })
        const { items } = await store.queryRollouts()
        expect(items).toEqual([full, bare])
      })

      it('gives rollouts in the order of their arrival, each with a new attempt', async () => {
        const ids = await enqueue(3)
        const [first] = await take(1, 'w-1')
        expect(first).toMatchObject({
          rolloutId: ids[0],
          input: 0,
          status: 'preparing',
          attempt: { rolloutId: ids[0], sequenceId: 1, status: 'preparing', workerId: 'w-1', endTime: null },
        })
        expect(first?.attempt.attemptId).toMatch(/^at-[0-9a-f]{8}$/)
        expect(await store.getRollout(ids[0] ?? '')).toEqual(first)
        expect(await takeIds(9)).toEqual(ids.slice(1))
        expect(await takeIds(9)).toEqual([])
      })

      it('keeps the order of very many that come at once', async () => {
        const ids = await enqueue(300)
        expect(new Set(ids).size).toBe(300)
        expect(await takeIds(300)).toEqual(ids)
      })

      it('gives very many to one who asks for them', async () => {
        const ids = await enqueue(7500)
        expect(await takeIds(1e6)).toEqual(ids)
      })

      it('gives nothing for no limit or a negative one, and takes nothing then', async () => {
        await enqueue(1)
        expect(await take(0)).toEqual([])
        expect(await take(-3)).toEqual([])
        expect(await take()).toHaveLength(1)
        expect(await store.enqueueRollouts([])).toEqual([])
      })

      it('passes over those that have another status by now, and has each one once', async () => {
        const [a = '', b = '', c = ''] = await enqueue(3)
        await store.updateRollout(a, { status: 'cancelled' })
        await store.updateRollout(b, { status: 'failed' })
        await store.updateRollout(b, { status: 'queuing' })
        await store.updateRollout(c, { status: 'requeuing' })
        expect(await takeIds(9)).toEqual([b, c])
        expect(await takeIds(9)).toEqual([])
        expect(await status(a)).toBe('cancelled')
        await store.updateRollout(a, { status: 'requeuing' })
        expect(await takeIds(9)).toEqual([a])
      })

      it('fills in the latest resources of that moment', async () => {
        const { resourcesId } = await store.addResources({})
        const [queued] = await store.enqueueRollouts([{ input: 1 }])
        const started = await store.startRollout({ input: 1 })
        const other = await store.startRollout({ input: 1, resourcesId: 'rs-mine' })
        await store.addResources({})
        expect(queued?.resourcesId).toBe(resourcesId)
        expect(started.resourcesId).toBe(resourcesId)
        expect(other.resourcesId).toBe('rs-mine')
      })

      it('gives each rollout to one of 64 runners that ask at once, and loses none', async () => {
        const ids = await enqueue(200)
        const taken: string[] = []
        const runner = async (): Promise<void> => {
          for (;;) {
            const [rollout] = await store.dequeueRollouts({ timeout: 30 })
            if (rollout === undefined) return
            taken.push(rollout.rolloutId)
            await store.updateAttempt(rollout.rolloutId, 'latest', { status: 'succeeded' })
            if (taken.length >= 200) void store.enqueueRollouts([{ input: 'enough' }])
            if (rollout.input === 'enough') return
          }
        }
        await Promise.all(Array.from({ length: 64 }, runner))
        expect(taken.filter((id) => ids.includes(id)).toSorted()).toEqual(ids.toSorted())
        const { total } = await store.queryRollouts({ statusIn: ['succeeded'], rolloutIdIn: ids, limit: 1 })
        expect(total).toBe(200)
      })

      it('lets those wait who find nothing, and gives them what comes then', async () => {
        const waiting = [store.dequeueRollouts({ timeout: 30 }), store.dequeueRollouts({ timeout: 30 })]
        const ids = await enqueue(2)
        const taken = (await Promise.all(waiting)).flat()
        expect(taken.map(({ rolloutId }) => rolloutId).toSorted()).toEqual(ids.toSorted())
      })

      it('wakes another one where the first has found something else by then', async () => {
        for (let turns = 0; turns < 12; turns++) {
          const waiting = [1, 2].map(() => store.dequeueRollouts({ timeout: 5 }))
          await store.queryRollouts()
          const first = store.enqueueRollouts([{ input: 1 }])
          for (let turn = 0; turn < turns; turn++) await Promise.resolve()
          await Promise.all([first, store.enqueueRollouts([{ input: 2 }])])
          const taken = await Promise.all(waiting)
          expect(taken.map(({ length }) => length)).toEqual([1, 1])
        }
      })

      it('ends the waiting when its time is over, when it is aborted, and when the store is closed', async () => {
        expect(await store.dequeueRollouts({ timeout: 0.02 })).toEqual([])
        const controller = new AbortController()
        const aborted = store.dequeueRollouts({ timeout: 1e9, signal: controller.signal })
        const closed = store.dequeueRollouts({ timeout: Number.POSITIVE_INFINITY })
        controller.abort()
        expect(await aborted).toEqual([])
        expect(await store.dequeueRollouts({ timeout: 1e9, signal: controller.signal })).toEqual([])
        expect(await store.dequeueRollouts({ timeout: 1e9, limit: 0 })).toEqual([])
        await store.close()
        expect(await closed).toEqual([])
      })

      it('refuses what it cannot keep, and keeps nothing of the batch', async () => {
        const bad: unknown[] = [
          { input: 1, mode: 'testing' },
          { input: 1, config: { maxAttempts: 0 } },
          { input: 1, config: { maxAttempts: 1.5 } },
          { input: 1, config: { timeoutSeconds: Number.NaN } },
          { input: 1, config: { unresponsiveSeconds: '5' } },
          { input: 1, config: { retryCondition: ['cancelled'] } },
          { input: 1, config: { retryCondition: 'failed' } },
          { input: 1, metadata: ['a'] },
          { input: 1, resourcesId: 7 },
        ]
        for (const request of bad) {
          const requests = [{ input: 'good' }, Object.assign({ input: 1 }, request)]
          await expect(store.enqueueRollouts(requests)).rejects.toMatchObject(invalid)
        }
        for (const input of [Number.NaN, { deep: [Number.NEGATIVE_INFINITY] }, 1n, () => 1]) {
          await expect(store.enqueueRollouts([{ input }])).rejects.toMatchObject({
            code: 'value_unserializable',
          })
        }
        await expect(store.dequeueRollouts({ limit: Number.NaN })).rejects.toMatchObject(invalid)
        await expect(store.dequeueRollouts({ timeout: Number.NaN })).rejects.toMatchObject(invalid)
        expect((await store.statistics()).totalRollouts).toBe(0)
      })
    })

    describe('updating a rollout', () => {
      it('changes what is named, tells null from absent, and returns it without its attempt', async () => {
        const begun = await store.startRollout({
          input: 1,
          mode: 'val',
          metadata: { a: 1 },
          resourcesId: 'rs-1',
        })
        const { attempt: _, ...rollout } = begun
        const { rolloutId } = begun
        expect(await store.updateRollout(rolloutId, {})).toEqual(rollout)
        expect(await store.updateRollout(rolloutId, { mode: null, metadata: null })).toEqual({
          ...rollout,
          mode: null,
          metadata: null,
        })
        const changed = await store.updateRollout(rolloutId, {
          input: null,
          resourcesId: null,
          config: { maxAttempts: 4 },
        })
        expect(changed).toMatchObject({ input: null, resourcesId: null, mode: null, status: 'preparing' })
        expect(changed.config).toEqual({
          timeoutSeconds: null,
          unresponsiveSeconds: null,
          maxAttempts: 4,
          retryCondition: [],
        })
        expect(await store.getRollout(rolloutId)).toMatchObject({ ...changed, attempt: begun.attempt })
      })

      it.each(['failed', 'succeeded', 'cancelled'] as const)(
        'ends it as %s, but not its attempt',
        async (end) => {
          const { rolloutId } = await store.startRollout()
          const ended = await store.updateRollout(rolloutId, { status: end })
          expect(ended.status).toBe(end)
          expect(ended.endTime).toBeGreaterThanOrEqual(ended.startTime)
          expect((await store.getRollout(rolloutId))?.attempt).toMatchObject({
            status: 'preparing',
            endTime: null,
          })
          const again = await store.updateRollout(rolloutId, { status: 'queuing' })
          expect(again).toMatchObject({ status: 'queuing', endTime: ended.endTime })
        },
      )

      it('refuses null where nothing can be, wrong types, and a rollout that is not there', async () => {
        const { rolloutId } = await store.startRollout()
        const bad: unknown[] = [
          { status: null },
          { status: 'done' },
          { config: null },
          { config: { maxAttempts: -1 } },
          { mode: 'x' },
          { metadata: 'text' },
        ]
        for (const update of bad) {
          await expect(store.updateRollout(rolloutId, Object.assign({}, update))).rejects.toMatchObject(
            invalid,
          )
        }
        await expect(store.updateRollout('ro-none', { status: 'failed' })).rejects.toMatchObject({
          code: 'not_found',
          message: expect.stringContaining('ro-none'),
        })
        expect(await status(rolloutId)).toBe('preparing')
      })
    })

    describe('attempts', () => {
      it('can be added by hand whatever the limits, which opens a finished rollout again', async () => {
        const { rolloutId } = await store.startRollout()
        const { endTime } = await store.updateRollout(rolloutId, { status: 'failed' })
        const second = await store.startAttempt(rolloutId, { workerId: 'w-2' })
        expect(second).toMatchObject({
          status: 'preparing',
          endTime,
          attempt: { sequenceId: 2, status: 'preparing', workerId: 'w-2', metadata: null },
        })
        const third = await store.startAttempt(rolloutId)
        expect(third.attempt).toMatchObject({ sequenceId: 3, workerId: null })
        expect(await store.getLatestAttempt(rolloutId)).toEqual(third.attempt)
        await expect(store.startAttempt('ro-none')).rejects.toMatchObject({ code: 'not_found' })
      })

      it('are listed by their sequence, page by page, and sorted', async () => {
        const { rolloutId } = await store.startRollout({ workerId: 'w-b' })
        await store.startAttempt(rolloutId)
        await store.startAttempt(rolloutId, { workerId: 'w-a' })
        const numbers = async (query: Parameters<Store['queryAttempts']>[1]): Promise<number[]> =>
          (await store.queryAttempts(rolloutId, query)).items.map(({ sequenceId }) => sequenceId)
        expect(await numbers({})).toEqual([1, 2, 3])
        expect(await numbers({ sortOrder: 'desc', limit: 2 })).toEqual([3, 2])
        expect(await numbers({ sortBy: 'workerId' })).toEqual([2, 3, 1])
        expect(await numbers({ sortBy: 'workerId', sortOrder: 'desc' })).toEqual([1, 3, 2])
        const page = await store.queryAttempts(rolloutId, { limit: 1, offset: 1 })
        expect(page).toMatchObject({ limit: 1, offset: 1, total: 3, items: [{ sequenceId: 2 }] })
        expect(await store.queryAttempts('ro-none')).toEqual({ items: [], limit: -1, offset: 0, total: 0 })
        expect(await store.getLatestAttempt('ro-none')).toBeUndefined()
        await expect(store.queryAttempts(rolloutId, { limit: 0 })).rejects.toMatchObject(invalid)
        const odd = store.queryAttempts(rolloutId, JSON.parse('{ "sortBy": "metadata" }'))
        await expect(odd).rejects.toMatchObject(invalid)
      })

      it('put their rollout back into the queue while the config asks for another one', async () => {
        const config = { maxAttempts: 2, retryCondition: ['failed'] as ['failed'] }
        await store.enqueueRollouts([{ input: 1, config }])
        const [first] = await take()
        const { rolloutId = '' } = first ?? {}
        const failed = await store.updateAttempt(rolloutId, first?.attempt.attemptId ?? '', {
          status: 'failed',
        })
        expect(failed.endTime).toBeGreaterThanOrEqual(failed.startTime)
        expect(await store.getRollout(rolloutId)).toMatchObject({ status: 'requeuing', endTime: null })
        const [second] = await take()
        expect(second).toMatchObject({ rolloutId, status: 'preparing', attempt: { sequenceId: 2 } })
        await store.updateAttempt(rolloutId, 'latest', { status: 'failed' })
        expect((await store.getRollout(rolloutId))?.status).toBe('failed')
        expect(await take()).toEqual([])
      })

      it('fail their rollout after an end that is not to be tried again', async () => {
        const config = { maxAttempts: 5, retryCondition: ['timeout'] as ['timeout'] }
        const { rolloutId } = await store.startRollout({ config })
        await store.updateAttempt(rolloutId, 'latest', { status: 'failed' })
        expect(await status(rolloutId)).toBe('failed')
        const retried = await store.startRollout({ config })
        await store.updateAttempt(retried.rolloutId, 'latest', { status: 'timeout' })
        expect(await status(retried.rolloutId)).toBe('requeuing')
      })

      it('of the past say nothing about their rollout', async () => {
        const first = await store.startRollout()
        const second = await store.startAttempt(first.rolloutId)
        await store.updateAttempt(first.rolloutId, first.attempt.attemptId, { status: 'succeeded' })
        await store.addSpans([llmSpan({ rolloutId: first.rolloutId, attemptId: first.attempt.attemptId })])
        const rollout = await store.getRollout(first.rolloutId)
        expect(rollout).toMatchObject({ status: 'preparing', endTime: null, attempt: second.attempt })
      })

      it('come back to life with a span, which takes their rollout out of the queue', async () => {
        const config = { maxAttempts: 2, retryCondition: ['unresponsive'] as ['unresponsive'] }
        const { rolloutId, attempt } = await store.startRollout({ config })
        await store.updateAttempt(rolloutId, 'latest', { status: 'unresponsive' })
        expect(await status(rolloutId)).toBe('requeuing')
        await store.addSpans([llmSpan({ rolloutId, attemptId: attempt.attemptId })])
        expect(await store.getRollout(rolloutId)).toMatchObject({
          status: 'running',
          attempt: { attemptId: attempt.attemptId, status: 'running' },
        })
        expect(await take()).toEqual([])
      })

      it('whose time is over stay so, and a late span costs no retry', async () => {
        const config = { maxAttempts: 2, retryCondition: ['timeout'] as ['timeout'] }
        const { rolloutId, attempt } = await store.startRollout({ config })
        await store.updateAttempt(rolloutId, 'latest', { status: 'timeout' })
        await store.addSpans([llmSpan({ rolloutId, attemptId: attempt.attemptId })])
        const [late] = (await store.queryAttempts(rolloutId)).items
        expect(late).toMatchObject({ status: 'timeout', lastHeartbeatTime: expect.any(Number) })
        expect(await takeIds()).toEqual([rolloutId])
      })

      it('leave a rollout in the queue alone that is only queued', async () => {
        const { rolloutId, attempt } = await store.startRollout()
        await store.updateRollout(rolloutId, { status: 'queuing' })
        await store.addSpans([llmSpan({ rolloutId, attemptId: attempt.attemptId })])
        expect(await status(rolloutId)).toBe('queuing')
      })

      it('leave a cancelled rollout cancelled while they only give signs of life', async () => {
        const { rolloutId, attempt } = await store.startRollout({ status: 'running' })
        const { attemptId } = attempt
        await store.updateRollout(rolloutId, { status: 'cancelled' })
        await store.updateAttempt(rolloutId, attemptId, { lastHeartbeatTime: 'now', metadata: { step: 1 } })
        await store.addSpans([llmSpan({ rolloutId, attemptId })])
        expect(await status(rolloutId)).toBe('cancelled')
        await store.updateAttempt(rolloutId, attemptId, { status: 'succeeded' })
        expect(await status(rolloutId)).toBe('succeeded')
      })

      it('give signs of life by the store’s clock', async () => {
        const { rolloutId } = await store.startRollout()
        const attempt = await store.updateAttempt(rolloutId, 'latest', { lastHeartbeatTime: 'now' })
        expect(attempt.lastHeartbeatTime).toBeGreaterThanOrEqual(attempt.startTime)
        expect(await store.updateAttempt(rolloutId, 'latest', {})).toEqual(attempt)
      })

      it('refuse null, wrong types and times that are none', async () => {
        const { rolloutId } = await store.startRollout()
        const bad: unknown[] = [
          { status: null },
          { status: 'cancelled' },
          { workerId: null },
          { workerId: 5 },
          { lastHeartbeatTime: null },
          { lastHeartbeatTime: Number.NaN },
          { lastHeartbeatTime: Number.POSITIVE_INFINITY },
          { lastHeartbeatTime: '1' },
          { metadata: null },
          { endTime: Number.NaN },
        ]
        for (const update of bad) {
          const refused = store.updateAttempt(rolloutId, 'latest', Object.assign({}, update))
          await expect(refused).rejects.toMatchObject(invalid)
        }
        expect(await status(rolloutId)).toBe('preparing')
      })
    })

    describe('the watchdog', () => {
      const limits = { maxAttempts: 2, timeoutSeconds: 60, retryCondition: ['timeout'] as ['timeout'] }

      it('ends an attempt that takes too long, and has it tried again', async () => {
        const begun = await store.startRollout({ config: limits, startTime: LONG_AGO, workerId: 'w-1' })
        const rollout = await store.getRollout(begun.rolloutId)
        expect(rollout).toMatchObject({
          status: 'requeuing',
          endTime: null,
          attempt: { attemptId: begun.attempt.attemptId, status: 'timeout', endTime: null },
        })
        expect(await store.getWorker('w-1')).toMatchObject({ status: 'unknown', currentRolloutId: null })
        const [again] = await take()
        expect(again).toMatchObject({ rolloutId: begun.rolloutId, attempt: { sequenceId: 2 } })
        expect(await status(begun.rolloutId)).toBe('preparing')
      })

      it('fails a rollout that has no attempts left', async () => {
        const config = { ...limits, maxAttempts: 1 }
        const { rolloutId } = await store.startRollout({ config, startTime: LONG_AGO })
        const rollout = await store.getRollout(rolloutId)
        expect(rollout?.status).toBe('failed')
        expect(rollout?.endTime).toBeGreaterThan(LONG_AGO)
      })

      it('ends an attempt that gives no sign of life, and leaves one alone that does', async () => {
        const config = { unresponsiveSeconds: 60 }
        const silent = await store.startRollout({ config, startTime: LONG_AGO })
        const stopped = await store.startRollout({ config })
        await store.updateAttempt(stopped.rolloutId, 'latest', { lastHeartbeatTime: LONG_AGO })
        const alive = await store.startRollout({ config, startTime: LONG_AGO })
        const { items } = await store.queryRollouts()
        const statuses = new Map(items.map((rollout) => [rollout.rolloutId, rollout.attempt?.status]))
        expect(statuses.get(silent.rolloutId)).toBe('unresponsive')
        expect(statuses.get(stopped.rolloutId)).toBe('unresponsive')
        const { rolloutId, attempt } = alive
        await store.addSpans([llmSpan({ rolloutId, attemptId: attempt.attemptId })])
        expect((await store.getRollout(rolloutId))?.attempt?.status).toBe('running')
      })

      it('does not look after rollouts without limits, and those that are over', async () => {
        const free = await store.startRollout({ startTime: LONG_AGO })
        const over = await store.startRollout({ startTime: LONG_AGO, config: limits, status: 'running' })
        await store.updateRollout(over.rolloutId, { status: 'cancelled' })
        expect(await status(free.rolloutId)).toBe('preparing')
        expect(await status(over.rolloutId)).toBe('cancelled')
      })

      it('heeds limits that come later', async () => {
        const { rolloutId } = await store.startRollout({ startTime: LONG_AGO })
        await store.updateRollout(rolloutId, { config: { timeoutSeconds: 1 } })
        expect(await status(rolloutId)).toBe('failed')
      })

      it('looks while others wait for the rollouts', async () => {
        const config = { timeoutSeconds: 0.2, maxAttempts: 2, retryCondition: ['timeout'] as ['timeout'] }
        const { rolloutId } = await store.startRollout({ config })
        const [again] = await store.dequeueRollouts({ timeout: 30 })
        expect(again).toMatchObject({ rolloutId, attempt: { sequenceId: 2 } })
        const [finished] = await store.waitForRollouts([rolloutId], { timeout: 30 })
        expect(finished).toMatchObject({ rolloutId, status: 'failed' })
      })
    })

    describe('waiting for rollouts', () => {
      it('gives those that are finished, in the order asked for and without their attempts', async () => {
        const [a = '', b = '', c = ''] = await enqueue(3)
        const waiting = store.waitForRollouts([c, 'ro-none', a, b])
        await take(3)
        for (const id of [a, b, c]) await store.updateAttempt(id, 'latest', { status: 'succeeded' })
        const finished = await waiting
        expect(finished.map(({ rolloutId }) => rolloutId)).toEqual([c, a, b])
        expect(finished.map((rollout) => 'attempt' in rollout)).toEqual([false, false, false])
        expect(finished[0]).toMatchObject({ status: 'succeeded', endTime: expect.any(Number) })
      })

      it('gives what there is when the time is over, or nobody wants to wait any more', async () => {
        const [a = '', b = ''] = await enqueue(2)
        await store.updateRollout(b, { status: 'cancelled' })
        const ids = async (options: Parameters<Store['waitForRollouts']>[1]): Promise<string[]> =>
          (await store.waitForRollouts([a, b], options)).map(({ rolloutId }) => rolloutId)
        expect(await ids({ timeout: 0 })).toEqual([b])
        expect(await ids({ timeout: 0.02 })).toEqual([b])
        expect(await ids({ signal: AbortSignal.abort() })).toEqual([b])
        expect(await store.waitForRollouts([], {})).toEqual([])
        expect(await store.waitForRollouts(['ro-none'], {})).toEqual([])
        await expect(store.waitForRollouts([a], { timeout: Number.NaN })).rejects.toMatchObject(invalid)
        const closed = ids({})
        await store.close()
        expect(await closed).toEqual([b])
      })

      it('does not take an attempt that is to be tried again for the end', async () => {
        const config = { maxAttempts: 2, retryCondition: ['failed'] as ['failed'] }
        const { rolloutId } = await store.startRollout({ config })
        const waiting = store.waitForRollouts([rolloutId])
        await store.updateAttempt(rolloutId, 'latest', { status: 'failed' })
        await take()
        await store.updateAttempt(rolloutId, 'latest', { status: 'succeeded' })
        expect((await waiting)[0]?.status).toBe('succeeded')
      })
    })

    describe('workers', () => {
      it('are busy with what they took, and idle after it', async () => {
        const [id] = await enqueue(1)
        const before = await store.updateWorker('w-1', { heartbeatStats: { cpu: 0.5, gpus: [] } })
        expect(before).toEqual({
          workerId: 'w-1',
          status: 'unknown',
          heartbeatStats: { cpu: 0.5, gpus: [] },
          lastHeartbeatTime: expect.any(Number),
          lastDequeueTime: null,
          lastBusyTime: null,
          lastIdleTime: null,
          currentRolloutId: null,
          currentAttemptId: null,
        })
        const [taken] = await take(1, 'w-1')
        expect(await store.getWorker('w-1')).toEqual({
          ...before,
          status: 'busy',
          lastDequeueTime: expect.any(Number),
          lastBusyTime: expect.any(Number),
          currentRolloutId: id,
          currentAttemptId: taken?.attempt.attemptId,
        })
        await store.updateAttempt(id ?? '', 'latest', { status: 'succeeded' })
        expect(await store.getWorker('w-1')).toMatchObject({
          status: 'idle',
          heartbeatStats: { cpu: 0.5, gpus: [] },
          lastIdleTime: expect.any(Number),
          currentRolloutId: null,
          currentAttemptId: null,
        })
      })

      it('are idle when they find nothing to take, and keep what they last said', async () => {
        await take(1, 'w-1')
        const first = await store.getWorker('w-1')
        expect(first).toMatchObject({ status: 'idle', lastHeartbeatTime: null, heartbeatStats: null })
        await store.startRollout({ workerId: 'w-1' })
        await take(1, 'w-1')
        const second = await store.getWorker('w-1')
        expect(second).toMatchObject({ status: 'idle', currentRolloutId: expect.any(String) })
        const { lastHeartbeatTime, ...kept } = await store.updateWorker('w-1')
        expect(second).toMatchObject(kept)
        expect(lastHeartbeatTime).toBeGreaterThan(0)
      })

      it('are found by status and by a part of their id', async () => {
        await store.startRollout({ workerId: 'w-b' })
        await store.updateWorker('w-a')
        await take(1, 'x-c')
        const ids = async (query?: Parameters<Store['queryWorkers']>[0]): Promise<string[]> =>
          (await store.queryWorkers(query)).items.map(({ workerId }) => workerId)
        expect(await ids()).toEqual(['w-b', 'w-a', 'x-c'])
        expect(await ids({ statusIn: ['busy', 'idle'] })).toEqual(['w-b', 'x-c'])
        expect(await ids({ workerIdContains: 'w-' })).toEqual(['w-b', 'w-a'])
        expect(await ids({ statusIn: ['idle'], workerIdContains: 'w-' })).toEqual([])
        const either = { statusIn: ['idle'], workerIdContains: 'b', filterLogic: 'or' } as const
        expect(await ids(either)).toEqual(['w-b', 'x-c'])
        expect(await ids({ sortBy: 'workerId', limit: 1, offset: 1 })).toEqual(['w-b'])
        expect(await ids({ sortBy: 'lastHeartbeatTime' })).toEqual(['w-a', 'w-b', 'x-c'])
        expect(await store.getWorker('w-none')).toBeUndefined()
      })

      it('refuse statistics that are none', async () => {
        for (const stats of [null, 'busy', [1]]) {
          const refused = store.updateWorker('w-1', JSON.parse(JSON.stringify({ heartbeatStats: stats })))
          await expect(refused).rejects.toMatchObject(invalid)
        }
        const endless = store.updateWorker('w-1', { heartbeatStats: { cpu: Number.POSITIVE_INFINITY } })
        await expect(endless).rejects.toMatchObject({ code: 'value_unserializable' })
        await expect(store.updateWorker('')).rejects.toMatchObject(invalid)
        expect(await store.getWorker('w-1')).toBeUndefined()
      })
    })

    describe('resources', () => {
      const llm = { resourceType: 'llm', endpoint: 'http://127.0.0.1:8000/v1', model: 'a-model' } as const
      const prompt = { resourceType: 'prompt_template', template: 'Say {what}', engine: 'f-string' } as const

      it('come back with their defaults, under an id of their own', async () => {
        const proxy = {
          ...llm,
          resourceType: 'proxy_llm',
          apiKey: 'k',
          samplingParameters: { temperature: 0.7, stop: null },
        } as const
        const added = await store.addResources({ llm, proxy, prompt })
        expect(added).toEqual({
          resourcesId: expect.stringMatching(/^rs-[0-9a-f]{12}$/),
          createTime: expect.any(Number),
          updateTime: added.createTime,
          version: 1,
          resources: { llm: { ...llm, apiKey: null, samplingParameters: {} }, proxy, prompt },
        })
        expect(await store.getResources(added.resourcesId)).toEqual(added)
        expect(await store.latestResources()).toEqual(added)
        expect(await store.getResources('rs-none')).toBeUndefined()
      })

      it('are the latest once they are updated, in a version more', async () => {
        expect(await store.latestResources()).toBeUndefined()
        const first = await store.addResources({ prompt })
        const second = await store.addResources({})
        expect(await store.latestResources()).toEqual(second)
        const updated = await store.updateResources(first.resourcesId, { llm })
        expect(updated).toMatchObject({ version: 2, createTime: first.createTime })
        expect(Object.keys(updated.resources)).toEqual(['llm'])
        expect(updated.updateTime).toBeGreaterThanOrEqual(first.updateTime)
        expect(await store.latestResources()).toEqual(updated)
        const named = await store.updateResources('rs-mine', { prompt })
        expect(named).toMatchObject({ resourcesId: 'rs-mine', version: 1 })
        expect(await store.latestResources()).toEqual(named)
        expect((await store.statistics()).totalResources).toBe(3)
      })

      it('are listed in the order of their arrival, found and sorted', async () => {
        for (const id of ['rs-b', 'rs-a', 'rx-c']) await store.updateResources(id, {})
        await store.updateResources('rs-b', {})
        const ids = async (query?: Parameters<Store['queryResources']>[0]): Promise<string[]> =>
          (await store.queryResources(query)).items.map(({ resourcesId }) => resourcesId)
        expect(await ids()).toEqual(['rs-b', 'rs-a', 'rx-c'])
        expect(await ids({ resourcesId: 'rs-a' })).toEqual(['rs-a'])
        expect(await ids({ resourcesIdContains: 's-' })).toEqual(['rs-b', 'rs-a'])
        expect(await ids({ resourcesId: 'rs-a', resourcesIdContains: 'b' })).toEqual([])
        expect(await ids({ sortBy: 'version', sortOrder: 'desc' })).toEqual(['rs-b', 'rs-a', 'rx-c'])
        expect(await ids({ sortBy: 'resourcesId', limit: 2, offset: 1 })).toEqual(['rs-b', 'rx-c'])
        expect((await store.queryResources({ limit: 1 })).total).toBe(3)
      })

      it('refuse what is of no known type or lacks a part', async () => {
        const bad: unknown[] = [
          { a: { resourceType: 'database' } },
          { a: { ...llm, model: undefined } },
          { a: { ...llm, endpoint: 5 } },
          { a: { ...llm, samplingParameters: 'hot' } },
          { a: { ...prompt, engine: 'mustache' } },
          { a: null },
          [llm],
        ]
        for (const resources of bad) {
          const refused = store.addResources(JSON.parse(JSON.stringify(resources)))
          await expect(refused).rejects.toMatchObject(invalid)
        }
        const endless = { llm: { ...llm, samplingParameters: { temperature: Number.NaN } } }
        await expect(store.addResources(endless)).rejects.toMatchObject({ code: 'value_unserializable' })
        expect(await store.latestResources()).toBeUndefined()
      })
    })

    it('counts what it holds', async () => {
      await enqueue(2)
      await take(1, 'w-1')
      await store.addResources({})
      expect(await store.statistics()).toMatchObject({
        totalRollouts: 2,
        totalAttempts: 1,
        totalSpans: 0,
        totalResources: 1,
        totalWorkers: 1,
      })
    })
  })
}
