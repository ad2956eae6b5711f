import { describe, expect, it, vi } from 'vitest'
import type { News } from '../src/engine.ts'
import { openStore } from '../src/index.ts'
import { PostgresClient } from '../src/postgres/client.ts'
import { readURL } from '../src/postgres/database.ts'
import { lifecycleContract } from './contract-lifecycle.ts'
import { storeContract } from './contract.ts'
import { startEmbeddedPostgres } from './pglite-server.ts'
import { postgresURL } from './postgres.ts'

storeContract('postgres:', async (options) => openStore(await postgresURL(), options))
lifecycleContract('postgres:', async (options) => openStore(await postgresURL(), options))

describe('two stores of one database', () => {
  /** One that waits hears of what the other does. */
  async function checkWaiting(url: string): Promise<void> {
    const [here, there] = [await openStore(url), await openStore(url)]
    const taking = here.dequeueRollouts({ timeout: 30 })
    const [rollout] = await there.enqueueRollouts([{ input: 1 }])
    const rolloutId = rollout?.rolloutId ?? ''
    expect(await taking).toMatchObject([{ rolloutId }])
    const waiting = here.waitForRollouts([rolloutId], { timeout: 30 })
    await there.updateAttempt(rolloutId, 'latest', { status: 'succeeded' })
    expect(await waiting).toMatchObject([{ rolloutId, status: 'succeeded' }])
    await here.close()
    await there.close()
  }

  it('tell each other what happens', async () => {
    const url = await postgresURL()
    await checkWaiting(url)
    const client = await PostgresClient.open(readURL(url))
    const heard: News[] = []
    client.listen((news) => heard.push(news))
    // It looks by itself more seldom once it hears.
    await vi.waitFor(() => expect(client.poll).toBe(2000), 10_000)
    const store = await openStore(url)
    await vi.waitFor(async () => {
      await store.enqueueRollouts([{ input: 1 }])
      expect(heard).toContainEqual({ queued: 1 })
    }, 10_000)
    await store.close()
    await client.close()
  })

  it('find out by themselves where the database cannot tell', async () => {
    const silent = await startEmbeddedPostgres(false)
    const client = await PostgresClient.open(readURL(silent.url))
    client.listen(() => undefined)
    await checkWaiting(silent.url)
    expect(client.poll).toBe(100)
    silent.notifies = true
    await vi.waitFor(() => expect(client.poll).toBe(2000), 20_000)
    await client.close()
    await silent.close()
  })
})

describe('a Postgres URL', () => {
  it.each([
    ['postgres://u:secret@host:x/db', 'write it as in'],
    ['postgres://u:secret@host/db?schema=Robert"; DROP', 'use small letters'],
  ])('that is not understood is refused with what to write: %s', async (url, hint) => {
    const refused = openStore(url)
    await expect(refused).rejects.toMatchObject({ code: 'usage', message: expect.stringContaining(hint) })
    await expect(refused).rejects.not.toMatchObject({ message: expect.stringContaining('secret') })
  })

  it('needs the package pg, and says how to get it', async () => {
    vi.doMock('pg', () => {
      throw new Error('Cannot find package')
    })
    try {
      await expect(openStore('postgres://host/db')).rejects.toMatchObject({
        code: 'package_missing',
        message: expect.stringContaining('npm install pg'),
      })
    } finally {
      vi.doUnmock('pg')
    }
  })
})
