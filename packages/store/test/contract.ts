import { AglError, type Span } from '@agl/core'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Store, StoreOptions } from '../src/index.ts'
import { llmSpan, stored } from './spans.ts'

/** Half of a surrogate pair becomes another character in UTF-8, and an index takes only so much. */
const ODD_IDS = ['a\0b', 'a\ud800', '\udc00a', 'x'.repeat(1025), '\u{1F99A}'.repeat(257)]

/** What a store of one process does besides. */
export function orderedContract(name: string, open: () => Promise<Store>): void {
  it(`does calls that are made at once in the order in which they were made: ${name}`, async () => {
    const store = await open()
    const [, added, page] = await Promise.all([
      store.startRollout({ rolloutId: 'ro-1', attemptId: 'at-1' }),
      store.addSpans([llmSpan()]),
      store.querySpans({ rolloutId: 'ro-1' }),
    ])
    expect(added.added).toBe(1)
    expect(page.total).toBe(1)
    await store.close()
  })
}

/** What every store does alike. `open` gives a new, empty one. */
export function storeContract(name: string, open: (options?: StoreOptions) => Promise<Store>): void {
  describe(`the store contract: ${name}`, () => {
    let store: Store
    beforeEach(async () => {
      store = await open()
    })
    afterEach(() => store.close())

    const begin = (rolloutId = 'ro-1', attemptId = 'at-1') =>
      store.startRollout({ rolloutId, attemptId, startTime: 1_700_000_000 })

    describe('rollouts and attempts', () => {
      it('starts a rollout with its first attempt, both preparing', async () => {
        const input = { question: 'Why?', tags: ['a', null], deep: { nothing: null } }
        const started = await store.startRollout({
          input,
          mode: 'val',
          resourcesId: 'rs-1',
          metadata: { by: 'a test' },
          rolloutId: 'ro-1',
          attemptId: 'at-1',
          startTime: 1_700_000_000.5,
        })
        expect(started).toEqual({
          rolloutId: 'ro-1',
          input,
          startTime: 1_700_000_000.5,
          endTime: null,
          mode: 'val',
          resourcesId: 'rs-1',
          status: 'preparing',
          config: { timeoutSeconds: null, unresponsiveSeconds: null, maxAttempts: 1, retryCondition: [] },
          metadata: { by: 'a test' },
          attempt: {
            rolloutId: 'ro-1',
            attemptId: 'at-1',
            sequenceId: 1,
            startTime: 1_700_000_000.5,
            endTime: null,
            status: 'preparing',
            workerId: null,
            lastHeartbeatTime: null,
            metadata: null,
          },
        })
        expect(await store.getRollout('ro-1')).toEqual(started)
      })

      it('makes ids of its own that look like Agent Lightning’s', async () => {
        const before = Date.now() / 1000
        const [one, other] = [await store.startRollout(), await store.startRollout()]
        expect(one.rolloutId).toMatch(/^ro-[0-9a-f]{12}$/)
        expect(one.attempt.attemptId).toMatch(/^at-[0-9a-f]{8}$/)
        expect(one.rolloutId).not.toBe(other.rolloutId)
        expect(one.input).toBeNull()
        expect(one.startTime).toBeGreaterThanOrEqual(before)
      })

      it('returns an attempt that is there already as it is', async () => {
        const first = await store.startRollout({ rolloutId: 'ro-1', attemptId: 'at-1', input: 'the first' })
        await store.updateAttempt('ro-1', 'at-1', { status: 'failed', endTime: 1_700_000_009 })
        const again = await store.startRollout({ rolloutId: 'ro-1', attemptId: 'at-1', input: 'another' })
        expect(again).toMatchObject({ input: 'the first', startTime: first.startTime, status: 'failed' })
        expect((await store.statistics()).totalAttempts).toBe(1)
      })

      it('adds an attempt to a rollout that is there, which opens it again', async () => {
        await begin()
        await store.updateAttempt('ro-1', 'at-1', { status: 'failed', endTime: 1_700_000_009 })
        const second = await store.startRollout({ rolloutId: 'ro-1', attemptId: 'at-2', status: 'running' })
        expect(second).toMatchObject({ status: 'running', attempt: { attemptId: 'at-2', sequenceId: 2 } })
        expect(await store.getRollout('ro-1')).toEqual(second)
      })

      it('passes the end of the latest attempt on to the rollout', async () => {
        await begin()
        const attempt = await store.updateAttempt('ro-1', 'at-1', {
          status: 'succeeded',
          endTime: 1_700_000_009,
        })
        expect(attempt).toMatchObject({ status: 'succeeded', endTime: 1_700_000_009 })
        const rollout = await store.getRollout('ro-1')
        expect(rollout).toMatchObject({ status: 'succeeded', endTime: 1_700_000_009, attempt })
      })

      it('leaves the rollout alone when an earlier attempt ends', async () => {
        await begin()
        await begin('ro-1', 'at-2')
        await store.updateAttempt('ro-1', 'at-1', { status: 'failed' })
        expect(await store.getRollout('ro-1')).toMatchObject({
          status: 'preparing',
          endTime: null,
          attempt: { attemptId: 'at-2', status: 'preparing' },
        })
      })

      it.each(['timeout', 'unresponsive'] as const)(
        'fails the rollout of an attempt in %s',
        async (status) => {
          await begin()
          const attempt = await store.updateAttempt('ro-1', 'latest', { status })
          expect(attempt).toMatchObject({ attemptId: 'at-1', status, endTime: null })
          expect((await store.getRollout('ro-1'))?.status).toBe('failed')
        },
      )

      it('changes what else an update names and keeps the rest', async () => {
        await begin()
        await store.updateAttempt('ro-1', 'at-1', { workerId: 'Worker-1', metadata: { gpu: 2 } })
        const attempt = await store.updateAttempt('ro-1', 'at-1', { lastHeartbeatTime: 1_700_000_003.5 })
        expect(attempt).toMatchObject({
          workerId: 'Worker-1',
          metadata: { gpu: 2 },
          lastHeartbeatTime: 1_700_000_003.5,
          status: 'preparing',
        })
      })

      it('says which attempt it does not have', async () => {
        await begin()
        const update = store.updateAttempt('ro-1', 'at-9', { status: 'failed' })
        await expect(update).rejects.toSatisfy(AglError.is)
        await expect(update).rejects.toMatchObject({
          code: 'not_found',
          message: expect.stringContaining('at-9'),
        })
        await expect(store.updateAttempt('ro-9', 'latest', {})).rejects.toMatchObject({ code: 'not_found' })
      })

      it('refuses an input that JSON cannot say', async () => {
        const cyclic: Record<string, unknown> = {}
        cyclic['self'] = cyclic
        for (const input of [cyclic, 10n, () => 1]) {
          await expect(store.startRollout({ input })).rejects.toMatchObject({ code: 'value_unserializable' })
        }
        expect((await store.statistics()).totalRollouts).toBe(0)
      })

      it('refuses ids that some store could not find again', async () => {
        for (const id of ODD_IDS) {
          const given = [
            () => store.startRollout({ rolloutId: id }),
            () => store.startRollout({ attemptId: id }),
            () => store.startRollout({ workerId: id }),
            () => store.startRollout({ resourcesId: id }),
            () => store.updateResources(id, {}),
            () => store.updateWorker(id),
          ]
          for (const give of given) await expect(give()).rejects.toMatchObject({ code: 'value_invalid' })
        }
        await expect(store.startRollout({ attemptId: 'latest' })).rejects.toMatchObject({
          code: 'value_invalid',
        })
        const { rolloutId } = await begin('\u{1F99A}'.repeat(256), 'é'.repeat(512))
        expect(await store.getRollout(rolloutId)).toMatchObject({ attempt: { attemptId: 'é'.repeat(512) } })
        expect(await store.statistics()).toMatchObject({
          totalRollouts: 1,
          totalWorkers: 0,
          totalResources: 0,
        })
      })

      it('gives nothing for a rollout that it does not have', async () => {
        expect(await store.getRollout('ro-9')).toBeUndefined()
      })

      it('keeps names that mean something to JavaScript', async () => {
        await store.startRollout({
          rolloutId: '__proto__',
          attemptId: 'constructor',
          metadata: { toString: 1 },
        })
        const span = llmSpan({
          rolloutId: '__proto__',
          attemptId: 'constructor',
          attributes: { hasOwnProperty: 1 },
        })
        await store.addSpans([span])
        const { items } = await store.querySpans({ rolloutId: '__proto__', attemptId: 'constructor' })
        expect(items).toEqual([stored(span, 1)])
        expect((await store.getRollout('__proto__'))?.metadata).toEqual({ toString: 1 })
        expect(await store.getRollout('constructor')).toBeUndefined()
      })
    })

    describe('querying rollouts', () => {
      beforeEach(async () => {
        for (const [index, id] of ['ro-b', 'ro-a', 'ro-c', 'rx-d'].entries()) {
          await store.startRollout({ rolloutId: id, attemptId: 'at-1', startTime: 1_700_000_000 - index })
        }
        await store.updateAttempt('ro-a', 'at-1', { status: 'succeeded', endTime: 1_700_000_010 })
        await store.updateAttempt('ro-c', 'at-1', { status: 'failed', endTime: 1_700_000_005 })
      })
      const ids = async (query?: Parameters<Store['queryRollouts']>[0]) =>
        (await store.queryRollouts(query)).items.map(({ rolloutId }) => rolloutId)

      it('returns all in the order of their arrival', async () => {
        const page = await store.queryRollouts()
        expect(page).toMatchObject({ limit: -1, offset: 0, total: 4 })
        expect(page.items.map(({ rolloutId }) => rolloutId)).toEqual(['ro-b', 'ro-a', 'ro-c', 'rx-d'])
        expect(page.items[0]).toEqual(await store.getRollout('ro-b'))
      })

      it('filters by status, by ids and by a part of the id', async () => {
        expect(await ids({ statusIn: ['succeeded', 'failed'] })).toEqual(['ro-a', 'ro-c'])
        expect(await ids({ rolloutIdIn: ['rx-d', 'ro-b', 'none'] })).toEqual(['ro-b', 'rx-d'])
        expect(await ids({ rolloutIdContains: 'o-' })).toEqual(['ro-b', 'ro-a', 'ro-c'])
        expect(await ids({ rolloutIdContains: 'RO' })).toEqual([])
        expect(await ids({ rolloutIdContains: '%' })).toEqual([])
        expect(await ids({ statusIn: [] })).toEqual([])
      })

      it('combines filters with and, or with or', async () => {
        const filters = { statusIn: ['failed'], rolloutIdContains: 'rx' } as const
        expect(await ids(filters)).toEqual([])
        expect(await ids({ ...filters, filterLogic: 'or' })).toEqual(['ro-c', 'rx-d'])
      })

      it('sorts with no time as the latest and other nothing as the smallest, equals in order of arrival', async () => {
        expect(await ids({ sortBy: 'endTime' })).toEqual(['ro-c', 'ro-a', 'ro-b', 'rx-d'])
        expect(await ids({ sortBy: 'endTime', sortOrder: 'desc' })).toEqual(['ro-b', 'rx-d', 'ro-a', 'ro-c'])
        await store.updateRollout('ro-c', { mode: 'val' })
        expect(await ids({ sortBy: 'mode' })).toEqual(['ro-b', 'ro-a', 'rx-d', 'ro-c'])
        expect(await ids({ sortBy: 'mode', sortOrder: 'desc' })).toEqual(['ro-c', 'ro-b', 'ro-a', 'rx-d'])
        expect(await ids({ sortBy: 'startTime' })).toEqual(['rx-d', 'ro-c', 'ro-a', 'ro-b'])
      })

      it('pages and counts what matched before paging', async () => {
        const page = await store.queryRollouts({ sortBy: 'rolloutId', limit: 2, offset: 1 })
        expect(page).toMatchObject({ limit: 2, offset: 1, total: 4 })
        expect(page.items.map(({ rolloutId }) => rolloutId)).toEqual(['ro-b', 'ro-c'])
        expect(await ids({ offset: 9 })).toEqual([])
      })

      it.each([{ limit: 0 }, { limit: -2 }, { limit: 1.5 }, { offset: -1 }])(
        'refuses the page %o',
        async (page) => {
          await expect(store.queryRollouts(page)).rejects.toMatchObject({ code: 'value_invalid' })
        },
      )

      it('refuses a field or order that it does not sort by', async () => {
        const odd = (query: object) =>
          expect(store.queryRollouts(query)).rejects.toMatchObject({ code: 'value_invalid' })
        await odd({ sortBy: 'metadata' })
        await odd({ sortBy: 'toString' })
        await odd({ sortOrder: 'up' })
        await odd({ filterLogic: 'xor' })
      })
    })

    describe('adding spans', () => {
      it('gives back exactly what it got, with token ids as lists', async () => {
        await begin()
        const span = llmSpan({
          attributes: {
            floats: [0.1, -1e-7, 3],
            flags: [true, false],
            none: [],
            'odd\u0000key "': 'lone \ud800 surrogate, null \u0000, quote " and \\',
          },
          status: { statusCode: 'ERROR', description: 'the server said no' },
          context: { traceId: 'a', spanId: 'b', isRemote: true, traceState: { vendor: 'x' } },
          links: [
            {
              context: { traceId: 'c', spanId: 'd', isRemote: false, traceState: {} },
              attributes: { because: 'linked' },
            },
          ],
          parentId: null,
        })
        expect(await store.addSpans([span])).toEqual({ added: 1, duplicates: 0, refused: [] })
        expect((await store.querySpans({ rolloutId: 'ro-1' })).items).toEqual([stored(span, 1)])
      })

      it('keeps a span whose name is empty, as OpenTelemetry allows', async () => {
        await begin()
        expect(await store.addSpans([llmSpan({ name: '' })])).toMatchObject({ added: 1, refused: [] })
        expect((await store.querySpans({ rolloutId: 'ro-1' })).items).toMatchObject([{ name: '' }])
      })

      it('leaves what it was given untouched, and is not touched by later changes to it', async () => {
        await begin()
        const span = llmSpan({ sequenceId: 77 })
        const copy = structuredClone(span)
        await store.addSpans([span])
        expect(span).toEqual(copy)
        span.attributes['gen_ai.system'] = 'changed'
        span.name = 'changed'
        expect((await store.querySpans({ rolloutId: 'ro-1' })).items).toEqual([stored(copy, 1)])
      })

      it('keeps only the part of a buffer that a list of token ids shows', async () => {
        await begin()
        const large = Int32Array.from({ length: 1000 }, (_, i) => i)
        const span = llmSpan({ attributes: { prompt_token_ids: large.subarray(10, 13) } })
        await store.addSpans([span])
        const [back] = (await store.querySpans({ rolloutId: 'ro-1' })).items
        expect(back?.attributes['prompt_token_ids']).toEqual([10, 11, 12])
      })

      it('numbers the spans of a rollout in order of arrival, over all its attempts', async () => {
        await begin('ro-1', 'at-1')
        await begin('ro-1', 'at-2')
        await begin('ro-2', 'at-1')
        await store.addSpans([llmSpan({ name: 'a' }), llmSpan({ rolloutId: 'ro-2', name: 'x' })])
        await store.addSpans([llmSpan({ attemptId: 'at-2', name: 'b' }), llmSpan({ name: 'c' })])
        const { items } = await store.querySpans({ rolloutId: 'ro-1' })
        expect(items.map(({ name, sequenceId }) => [sequenceId, name])).toEqual([
          [1, 'a'],
          [2, 'b'],
          [3, 'c'],
        ])
      })

      it('ignores a span that it has, and uses up no number for it', async () => {
        await begin()
        const [one, two] = [llmSpan(), llmSpan()]
        await store.addSpans([one])
        const again = { ...one, name: 'another name' }
        expect(await store.addSpans([again, two, two])).toEqual({ added: 1, duplicates: 2, refused: [] })
        expect((await store.querySpans({ rolloutId: 'ro-1' })).items).toEqual([
          stored(one, 1),
          stored(two, 2),
        ])
      })

      it('takes one span id once per attempt and rollout', async () => {
        await begin('ro-1', 'at-1')
        await begin('ro-1', 'at-2')
        await begin('ro-2', 'at-1')
        const span = llmSpan()
        const all = [span, { ...span, attemptId: 'at-2' }, { ...span, rolloutId: 'ro-2' }]
        expect(await store.addSpans(all)).toMatchObject({ added: 3, duplicates: 0 })
      })

      it('keeps given sequence ids when asked to, and goes on after the highest', async () => {
        await begin()
        const [given] = await store.nextSequenceIds([{ rolloutId: 'ro-1', attemptId: 'at-1' }])
        expect(given).toBe(1)
        const kept = [7, 0, 7].map((sequenceId) => llmSpan({ sequenceId }))
        await store.addSpans(kept, { keepSequenceIds: true })
        const issued = llmSpan()
        await store.addSpans([issued])
        const { items } = await store.querySpans({ rolloutId: 'ro-1' })
        expect(items.map(({ sequenceId }) => sequenceId)).toEqual([0, 7, 7, 8])
        expect(items.map(({ spanId }) => spanId)).toEqual(
          [kept[1], kept[0], kept[2], issued].map((span) => span?.spanId),
        )
      })

      it('issues sequence ids one by one, for rollouts that it does not have too', async () => {
        const of = (rolloutId: string) => ({ rolloutId, attemptId: 'at-1' })
        expect(await store.nextSequenceIds([of('x'), of('y'), of('x')])).toEqual([1, 1, 2])
        expect(await store.nextSequenceIds([of('x')])).toEqual([3])
        expect(await store.nextSequenceIds([])).toEqual([])
      })

      it('rejects spans of an attempt that it does not have', async () => {
        await begin()
        const unknown = store.addSpans([llmSpan({ attemptId: 'at-9' })])
        await expect(unknown).rejects.toMatchObject({
          code: 'not_found',
          message: expect.stringContaining('at-9'),
        })
        await expect(store.addSpans([llmSpan({ rolloutId: 'ro-9' })])).rejects.toMatchObject({
          code: 'not_found',
        })
        expect(await store.statistics()).toMatchObject({ totalSpans: 0, totalRollouts: 1 })
      })

      it('starts what is missing when asked to', async () => {
        const spans = [llmSpan(), llmSpan({ attemptId: 'at-2' })]
        expect(await store.addSpans(spans, { createMissing: true })).toMatchObject({ added: 2 })
        expect(await store.getRollout('ro-1')).toMatchObject({
          status: 'running',
          startTime: spans[0]?.startTime,
          attempt: { attemptId: 'at-2', sequenceId: 2, status: 'running' },
        })
      })

      it('sets attempt and rollout running with the first span, and notes when it was', async () => {
        const before = Date.now() / 1000
        await begin()
        await store.addSpans([llmSpan()])
        const rollout = await store.getRollout('ro-1')
        expect(rollout).toMatchObject({ status: 'running', attempt: { status: 'running' } })
        expect(rollout?.attempt?.lastHeartbeatTime).toBeGreaterThanOrEqual(before)
      })

      it('leaves an attempt ended that gets a late span', async () => {
        await begin()
        await store.updateAttempt('ro-1', 'at-1', { status: 'succeeded', endTime: 1_700_000_009 })
        await store.addSpans([llmSpan()])
        expect(await store.getRollout('ro-1')).toMatchObject({
          status: 'succeeded',
          endTime: 1_700_000_009,
          attempt: { status: 'succeeded' },
        })
      })

      it('refuses a span that can never be read by a trainer, and keeps those around it', async () => {
        await begin()
        const odd: unknown[] = [
          Number.NaN,
          [1, Number.POSITIVE_INFINITY],
          ['a', 1],
          [null],
          { nested: 1 },
          null,
          1n,
        ]
        const bad = odd.map((value) => Object.assign(llmSpan(), { attributes: { odd: value } }))
        const event = llmSpan({ events: [{ name: 'e', attributes: { odd: Number.NaN }, timestamp: null }] })
        const good = [llmSpan(), llmSpan()]
        const result = await store.addSpans([...good.slice(0, 1), ...bad, event, ...good.slice(1)])
        expect(result).toMatchObject({ added: 2, duplicates: 0 })
        expect(result.refused.map(({ spanId }) => spanId)).toEqual(
          [...bad, event].map(({ spanId }) => spanId),
        )
        for (const { reason } of result.refused) expect(reason).toContain('"odd"')
        const { items } = await store.querySpans({ rolloutId: 'ro-1' })
        expect(items).toEqual(good.map((span, index) => stored(span, index + 1)))
      })

      it.each([
        ['spanId', { spanId: '' }],
        ['rolloutId', { rolloutId: '' }],
        ['times', { endTime: Number.NaN }],
      ])('refuses a span without proper %s', async (what, over) => {
        await begin()
        const { added, refused } = await store.addSpans([llmSpan(over)])
        expect(added).toBe(0)
        expect(refused[0]?.reason).toContain(what)
      })

      it('refuses a span that lacks a part, and keeps those around it', async () => {
        await begin()
        const parts = ['attributes', 'events', 'links', 'resource', 'status']
        const bad = parts.map((part) => Object.assign(llmSpan(), { [part]: undefined }))
        const { added, refused } = await store.addSpans([llmSpan(), ...bad, llmSpan()])
        expect(added).toBe(2)
        expect(refused.map(({ spanId }) => spanId)).toEqual(bad.map(({ spanId }) => spanId))
      })

      it('refuses a span of which a part is no such part, and keeps those around it', async () => {
        await begin()
        const parts: Record<string, unknown>[] = [
          { events: [null] },
          { events: [{ name: 'e', attributes: null, timestamp: null }] },
          { events: [{ attributes: {}, timestamp: null }] },
          { events: [{ name: 'e', attributes: {}, timestamp: 1n }] },
          { links: [null] },
          { links: [{ attributes: null }] },
          { status: { statusCode: 'FINE', description: null } },
          { parentId: 5 },
          { context: 5 },
          { resource: { attributes: null, schemaUrl: '' } },
          // oxlint-disable-next-line no-sparse-arrays -- JSON turns a hole into null
          { attributes: { ids: [1, , 2] } },
        ]
        const bad = parts.map((part) => Object.assign(llmSpan(), part))
        const nothing: Span[] = JSON.parse('[null]')
        const { added, refused } = await store.addSpans([llmSpan(), ...bad, ...nothing, llmSpan()])
        expect(added).toBe(2)
        expect(refused.map(({ spanId }) => spanId).toSorted()).toEqual(
          [...bad.map(({ spanId }) => spanId), 'undefined'].toSorted(),
        )
        expect((await store.querySpans({ rolloutId: 'ro-1' })).total).toBe(2)
      })

      it('refuses a span with an id that some store could not find again, and keeps those around it', async () => {
        const bad = ODD_IDS.flatMap((id) => [
          llmSpan({ rolloutId: id }),
          llmSpan({ attemptId: id }),
          llmSpan({ spanId: id }),
        ])
        const spans = [llmSpan(), ...bad, llmSpan({ attemptId: 'latest' }), llmSpan()]
        const { added, refused } = await store.addSpans(spans, { createMissing: true })
        expect(added).toBe(2)
        expect(refused).toHaveLength(bad.length + 1)
        expect((await store.statistics()).totalRollouts).toBe(1)
      })

      it('begins an attempt that is missing with the first of its spans', async () => {
        const spans = [5, 3, 8].map((startTime) => llmSpan({ startTime }))
        await store.addSpans(spans, { createMissing: true })
        expect(await store.getLatestAttempt('ro-1')).toMatchObject({ startTime: 5 })
      })

      it('refuses sequence ids that are none', async () => {
        await begin()
        const spans = [1.5, Number.NaN, Number.POSITIVE_INFINITY].map((sequenceId) => llmSpan({ sequenceId }))
        const { refused } = await store.addSpans(spans, { keepSequenceIds: true })
        expect(refused.map(({ reason }) => reason)).toHaveLength(3)
      })

      it('issues a sequence id for a span without one among those that keep theirs', async () => {
        await begin()
        const spans = [4, -1, 9, -1].map((sequenceId) => llmSpan({ sequenceId }))
        await store.addSpans(spans, { keepSequenceIds: true })
        const { items } = await store.querySpans({ rolloutId: 'ro-1' })
        expect(items.map(({ sequenceId }) => sequenceId)).toEqual([4, 5, 9, 10])
      })

      it('takes very many spans at once, and very large ones', async () => {
        await begin()
        const ids = Int32Array.from({ length: 32_768 }, (_, i) => i * 4)
        const large = llmSpan({
          attributes: { prompt_token_ids: ids, 'gen_ai.prompt.0.content': 'long '.repeat(200_000) },
        })
        const many = Array.from({ length: 2000 }, (_, i) => llmSpan({ name: `n${i}` }))
        expect(await store.addSpans([large, ...many])).toEqual({ added: 2001, duplicates: 0, refused: [] })
        const { items, total } = await store.querySpans({ rolloutId: 'ro-1' })
        expect(total).toBe(2001)
        expect(items[0]).toEqual(stored(large, 1))
        expect(items.slice(1).map(({ name }) => name)).toEqual(many.map(({ name }) => name))
      })

      it('takes nothing for nothing', async () => {
        expect(await store.addSpans([])).toEqual({ added: 0, duplicates: 0, refused: [] })
      })
    })

    describe('querying spans', () => {
      beforeEach(async () => {
        await begin('ro-1', 'at-1')
        await begin('ro-1', 'at-2')
        await begin('ro-2', 'at-1')
        await store.addSpans([
          llmSpan({ name: 'root.session', spanId: 'aa01', parentId: null, traceId: 't1', startTime: 3 }),
          llmSpan({
            name: 'openai.chat.completion',
            spanId: 'aa02',
            parentId: 'aa01',
            traceId: 't1',
            startTime: 1,
          }),
          llmSpan({ name: 'add.tool', spanId: 'ab03', parentId: 'aa02', traceId: 't2', startTime: 2 }),
          llmSpan({
            name: 'second',
            spanId: 'ab04',
            parentId: 'aa02',
            traceId: 't3',
            attemptId: 'at-2',
            startTime: 2,
          }),
          llmSpan({ name: 'elsewhere', spanId: 'aa01', traceId: 't1', rolloutId: 'ro-2' }),
        ])
      })
      const names = async (query: Omit<Parameters<Store['querySpans']>[0], 'rolloutId'>) =>
        (await store.querySpans({ rolloutId: 'ro-1', ...query })).items.map(({ name }) => name)

      it('finds those of one rollout, of one attempt, of the latest', async () => {
        expect(await names({})).toEqual(['root.session', 'openai.chat.completion', 'add.tool', 'second'])
        expect(await names({ attemptId: 'at-1' })).toEqual([
          'root.session',
          'openai.chat.completion',
          'add.tool',
        ])
        expect(await names({ attemptId: 'latest' })).toEqual(['second'])
        expect(await names({ attemptId: 'at-9' })).toEqual([])
      })

      it('gives an empty page for a rollout that it does not have', async () => {
        const page = await store.querySpans({ rolloutId: 'ro-9', attemptId: 'latest' })
        expect(page).toEqual({ items: [], limit: -1, offset: 0, total: 0 })
      })

      it('filters by each of the ids and by name, whole or in part', async () => {
        expect(await names({ traceId: 't1' })).toEqual(['root.session', 'openai.chat.completion'])
        expect(await names({ traceIdContains: '3' })).toEqual(['second'])
        expect(await names({ spanId: 'aa02' })).toEqual(['openai.chat.completion'])
        expect(await names({ spanIdContains: 'ab0' })).toEqual(['add.tool', 'second'])
        expect(await names({ parentId: 'aa02' })).toEqual(['add.tool', 'second'])
        expect(await names({ parentIdContains: 'aa' })).toEqual([
          'openai.chat.completion',
          'add.tool',
          'second',
        ])
        expect(await names({ name: 'add.tool' })).toEqual(['add.tool'])
        expect(await names({ nameContains: '.' })).toEqual([
          'root.session',
          'openai.chat.completion',
          'add.tool',
        ])
        expect(await names({ nameContains: 'ADD' })).toEqual([])
        expect(await names({ nameContains: '_' })).toEqual([])
      })

      it('combines filters with and, or with or, but never leaves rollout and attempt', async () => {
        const filters = { name: 'second', spanId: 'aa01' }
        expect(await names(filters)).toEqual([])
        expect(await names({ ...filters, filterLogic: 'or' })).toEqual(['root.session', 'second'])
        expect(await names({ ...filters, filterLogic: 'or', attemptId: 'at-1' })).toEqual(['root.session'])
        expect(await names({ filterLogic: 'or' })).toHaveLength(4)
      })

      it('sorts by a field, equals in order of arrival', async () => {
        expect(await names({ sortBy: 'startTime' })).toEqual([
          'openai.chat.completion',
          'add.tool',
          'second',
          'root.session',
        ])
        expect(await names({ sortBy: 'startTime', sortOrder: 'desc' })).toEqual([
          'root.session',
          'add.tool',
          'second',
          'openai.chat.completion',
        ])
        expect((await names({ sortBy: 'parentId' }))[0]).toBe('root.session')
        expect((await names({ sortOrder: 'desc' }))[0]).toBe('second')
      })

      it('pages and counts what matched before paging', async () => {
        const page = await store.querySpans({ rolloutId: 'ro-1', attemptId: 'at-1', limit: 1, offset: 1 })
        expect(page).toMatchObject({ limit: 1, offset: 1, total: 3 })
        expect(page.items.map(({ name }) => name)).toEqual(['openai.chat.completion'])
      })

      it('refuses impossible pages, unknown fields, and a query for no rollout', async () => {
        const odd = (query: Parameters<Store['querySpans']>[0]) =>
          expect(store.querySpans(query)).rejects.toMatchObject({ code: 'value_invalid' })
        await odd({ rolloutId: 'ro-1', limit: 0 })
        await odd({ rolloutId: 'ro-1', offset: -1 })
        await odd(JSON.parse('{ "rolloutId": "ro-1", "sortBy": "attributes" }'))
        await odd(JSON.parse('{}'))
      })

      it('keeps text in a filter text', async () => {
        expect(await names({ name: "x' OR '1'='1" })).toEqual([])
        expect(await names({ nameContains: "'" })).toEqual([])
      })
    })

    describe('as a whole', () => {
      it('counts what it holds', async () => {
        await begin('ro-1', 'at-1')
        await begin('ro-1', 'at-2')
        await store.addSpans([llmSpan(), llmSpan(), llmSpan()])
        const statistics = await store.statistics()
        expect(statistics).toMatchObject({
          name: store.url,
          totalRollouts: 1,
          totalAttempts: 2,
          totalSpans: 3,
        })
        expect(statistics.uptime).toBeGreaterThanOrEqual(0)
      })

      it('finishes what was asked for before it closes, and says afterwards that it is closed', async () => {
        await begin()
        const started = begin('ro-2')
        const added = store.addSpans(Array.from({ length: 1000 }, () => llmSpan()))
        await store.close()
        await expect(started).resolves.toMatchObject({ rolloutId: 'ro-2' })
        await expect(added).resolves.toMatchObject({ added: 1000 })
        await expect(store.statistics()).rejects.toMatchObject({
          code: 'store_unavailable',
          message: expect.stringContaining('closed'),
        })
        await expect(store.close()).resolves.toBeUndefined()
      })
    })
  })
}
