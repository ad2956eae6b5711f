import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type PostgresServer, startPostgres } from '../../../scripts/postgres.ts'
import { openStore } from '../src/index.ts'
import { Database, readURL } from '../src/postgres/database.ts'
import { lostByKills } from './killed-server.ts'
import { postgresURL } from './postgres.ts'
import { run } from './processes.ts'
import { llmSpan } from './spans.ts'

/** Where a real server is asked for, which `node scripts/postgres.ts` does, one of these tests' own is started and killed. */
const isReal = process.env['AGL_TEST_POSTGRES'] !== undefined
if (!isReal) {
  console.warn(
    'SKIPPED: what several processes do to Postgres; `npm run test:interop` tries it on a real server.',
  )
}

/** Whether all spans of `load.ts` that it said were acknowledged are there, whole and in order. */
async function checkLoad(url: string, lines: readonly string[]): Promise<void> {
  const store = await openStore(url)
  const { items } = await store.querySpans({ rolloutId: 'ro-1' })
  await store.close()
  expect(items.length).toBeGreaterThanOrEqual(Number(lines.at(-1)) * 50)
  const order = Array.from(items, (_, i) => `w-${Math.floor(i / 50) + 1}-${i % 50}`)
  expect(items.map(({ spanId }) => spanId)).toEqual(order)
  expect(items.map(({ sequenceId }) => sequenceId)).toEqual(items.map((_, i) => i + 1))
}

describe.runIf(isReal)('processes on one database', () => {
  it('write side by side, and each finds all of its spans there', async () => {
    const url = await postgresURL()
    const writers = ['a', 'b', 'c'].map((writer) => run('load.ts', [url, writer, '40']))
    for (const writer of writers) expect(await writer.end()).toMatchObject({ code: 0, errors: '' })
    const store = await openStore(url)
    const { items } = await store.querySpans({ rolloutId: 'ro-1' })
    const counts = ['a', 'b', 'c'].map((id) => items.filter(({ attemptId }) => attemptId === id).length)
    expect(counts).toEqual([2000, 2000, 2000])
    expect(items.map(({ sequenceId }) => sequenceId)).toEqual(items.map((_, i) => i + 1))
    await store.close()
  })

  it('make the schema once when they begin together', async () => {
    const url = await postgresURL()
    const writers = ['a', 'b', 'c', 'd'].map((writer) => run('load.ts', [url, writer, '1']))
    for (const writer of writers) expect(await writer.end()).toMatchObject({ code: 0, errors: '' })
  })

  it('take each rollout once, and lose none', async () => {
    const url = await postgresURL()
    const store = await openStore(url)
    const requests = Array.from({ length: 500 }, (_, input) => ({ input }))
    const ids = (await store.enqueueRollouts(requests)).map(({ rolloutId }) => rolloutId)
    const programs = [1, 2].map(() => run('runners.ts', [url, '32', '1']))
    const taken: string[] = []
    for (const program of programs) {
      const { code, errors, lines } = await program.end()
      expect({ code, errors }).toEqual({ code: 0, errors: '' })
      taken.push(...lines.filter((line) => line !== 'waiting'))
    }
    expect(taken.toSorted()).toEqual(ids.toSorted())
    await store.close()
  })

  it('hear of work that another one brings, and of its end', async () => {
    const url = await postgresURL()
    const store = await openStore(url)
    const program = run('runners.ts', [url, '1', '30'])
    await program.line(/^waiting$/)
    const [rollout] = await store.enqueueRollouts([{ input: 'late' }])
    const id = rollout?.rolloutId ?? ''
    const [finished] = await store.waitForRollouts([id], { timeout: 30 })
    expect(finished).toMatchObject({ rolloutId: id, status: 'succeeded' })
    program.process.kill('SIGKILL')
    await store.close()
  })

  it('that are killed have stored every span that was acknowledged', async () => {
    const url = await postgresURL()
    const program = run('load.ts', [url, 'w'])
    await program.line(/^20$/)
    program.process.kill('SIGKILL')
    const { signal, lines } = await program.end()
    expect(signal).toBe('SIGKILL')
    await checkLoad(url, lines)
  })

  it('that serve it and are killed have everything that they acknowledged', async () => {
    expect(await lostByKills(await postgresURL())).toEqual([])
  }, 60_000)

  it('go by the database’s clock, whatever their own says', async () => {
    const store = await openStore(await postgresURL(), { watchdogInterval: 0 })
    const { now } = Date
    Date.now = () => now() + 3_600_000
    try {
      const { rolloutId, startTime } = await store.startRollout({ config: { timeoutSeconds: 600 } })
      Date.now = () => now() - 3_600_000
      await store.updateAttempt(rolloutId, 'latest', { lastHeartbeatTime: 'now' })
      const rollout = await store.getRollout(rolloutId)
      expect(Math.abs(startTime - now() / 1000)).toBeLessThan(600)
      expect(Math.abs((rollout?.attempt?.lastHeartbeatTime ?? 0) - now() / 1000)).toBeLessThan(600)
      expect(rollout?.status).toBe('preparing')
    } finally {
      Date.now = now
      await store.close()
    }
  })
})

describe.runIf(isReal)('many who want the same', () => {
  it('wait in line for a connection as long as it takes', async () => {
    const database = new Database(pg, readURL(await postgresURL()))
    // Fifty that take two and a half seconds each, ten at once.
    const asked = Array.from({ length: 50 }, () => database.all('SELECT pg_sleep(2.5)'))
    expect(await Promise.all(asked)).toHaveLength(50)
    await database.close()
  }, 60_000)

  it('get it from one who holds it and has fallen silent', async () => {
    const url = await postgresURL()
    const store = await openStore(url)
    const { rolloutId } = await store.startRollout()
    const silent = new Database(pg, readURL(url))
    let hold = (): void => undefined
    const held = new Promise<void>((resolve) => (hold = resolve))
    const lost = silent.transaction(async (connection) => {
      await connection.all('SELECT * FROM {rollouts} FOR UPDATE')
      hold()
      await sleep(12_000)
    })
    await held
    const update = await store.updateAttempt(rolloutId, 'latest', { status: 'succeeded' })
    expect(update).toMatchObject({ status: 'succeeded' })
    await expect(lost).rejects.toMatchObject({ code: 'store_unavailable' })
    await store.close()
    await silent.close()
  }, 60_000)

  it('give up on one who holds it for too long, and go on with other work', async () => {
    const url = await postgresURL()
    const store = await openStore(url)
    const { rolloutId } = await store.startRollout()
    const client = new pg.Client(url)
    await client.connect()
    const schema = new URL(url).searchParams.get('schema')
    await client.query(`BEGIN; SELECT * FROM ${schema}.rollouts FOR UPDATE`)
    const updates = Array.from({ length: 10 }, () =>
      store.updateAttempt(rolloutId, 'latest', { status: 'failed' }),
    )
    const answers = await Promise.allSettled([...updates, store.startRollout()])
    expect(answers.map(({ status }) => status)).toEqual([...updates.map(() => 'rejected'), 'fulfilled'])
    await client.end()
    await store.close()
  }, 60_000)
})

describe.runIf(isReal)('a database server', () => {
  let server: PostgresServer
  beforeAll(async () => {
    server = await startPostgres()
  })
  afterAll(() => server?.remove())
  const url = (schema: string): string => `${server.url}?schema=${schema}`

  it.each(['stop', 'kill'] as const)('that ends (%s) and comes back costs nothing', async (end) => {
    const program = run('load.ts', [url(end), 'w', '120'])
    await program.line(/^20$/)
    await server[end]()
    await sleep(1000)
    await server.start()
    const { code, errors, lines } = await program.end()
    expect({ code, errors, last: lines.at(-1) }).toEqual({ code: 0, errors: '', last: '120' })
    await checkLoad(url(end), lines)
  })

  it('that ends under a server of ours and comes back costs its clients nothing', async () => {
    const served = run('serve.ts', [url('served')])
    const store = await openStore(await served.line(/^http/))
    let added = 0
    let over = false
    const { rolloutId, attempt } = await store.startRollout()
    const writer = async (): Promise<void> => {
      while (!over) {
        const spans = Array.from({ length: 10 }, () => llmSpan({ rolloutId, attemptId: attempt.attemptId }))
        await store.addSpans(spans)
        added += spans.length
      }
    }
    const writers = [writer(), writer(), writer()]
    for (const end of ['stop', 'kill'] as const) {
      const before = added
      await expect.poll(() => added, { timeout: 20_000 }).toBeGreaterThan(before + 300)
      await server[end]()
      await sleep(1000)
      await server.start()
    }
    const before = added
    await expect.poll(() => added, { timeout: 20_000 }).toBeGreaterThan(before + 300)
    over = true
    await Promise.all(writers)
    expect(await store.querySpans({ rolloutId, limit: 1 })).toMatchObject({ total: added })
    await store.close()
  }, 60_000)

  it('that comes back finds those who wait still waiting, and they hear again what comes', async () => {
    const [here, there] = [await openStore(url('wait')), await openStore(url('wait'))]
    const { rolloutId } = await here.startRollout()
    const waiting = here.waitForRollouts([rolloutId], { timeout: 60 })
    waiting.catch(() => undefined)
    await server.stop()
    await server.start()
    await there.updateAttempt(rolloutId, 'latest', { status: 'succeeded' })
    expect(await waiting).toMatchObject([{ rolloutId, status: 'succeeded' }])
    await here.close()
    await there.close()
  })

  it('that is away is told as such, without the password, and does not end the program', async () => {
    const secret = url('away').replace('postgres@', 'postgres:secret@')
    const store = await openStore(secret)
    expect(store.url).not.toContain('secret')
    await server.stop()
    const refused = await store.statistics().catch((error: unknown) => error)
    expect(refused).toMatchObject({
      code: 'store_unavailable',
      message: expect.stringMatching(/^The database postgres at 127\.0\.0\.1:\d+ cannot be reached .*\.$/),
    })
    await expect(openStore(secret)).rejects.toMatchObject({ code: 'store_unavailable' })
    await server.start()
    expect(await store.addSpans([llmSpan()], { createMissing: true })).toMatchObject({ added: 1 })
    await store.close()
  }, 60_000)

  it('with a newer schema is left as it is', async () => {
    await (await openStore(url('newer'))).close()
    const client = new pg.Client(server.url)
    await client.connect()
    await client.query('UPDATE newer.version SET version = 99')
    await client.end()
    await expect(openStore(url('newer'))).rejects.toMatchObject({
      code: 'store_schema',
      message: expect.stringMatching(/has version 99 and this @agl\/store knows versions up to 1;/),
    })
  })

  it('without the database, or the right to make a schema, says what to do', async () => {
    const other = url('x').replace('/postgres?', '/nowhere?')
    await expect(openStore(other)).rejects.toMatchObject({
      code: 'store_unavailable',
      message: expect.stringMatching(/^There is no database nowhere at .*; create it, or name another one/),
    })
    const client = new pg.Client(server.url)
    await client.connect()
    await client.query('CREATE ROLE guest LOGIN')
    await client.end()
    await expect(openStore(url('x').replace('postgres@', 'guest@'))).rejects.toMatchObject({
      code: 'store_unavailable',
      message: expect.stringContaining('lacks a right'),
    })
  })
})
