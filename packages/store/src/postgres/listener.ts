import type { Client } from 'pg'
import type { News } from '../engine.ts'
import { isObject } from '../json-reader.ts'
import type { Database } from './database.ts'

/** Milliseconds within which a word to oneself must have come back. */
const ECHO = 1000
/** Milliseconds after which a listener that lost its connection, or never had one, tries again. */
const PAUSE = 1000
/** Each further time twice as long, up to this: not every database can tell. */
const LONGEST_PAUSE = 60_000

/**
 * Hears what other processes do to the store, over a connection of its own. Some databases that speak PostgreSQL's
 * protocol cannot tell, or tell only the connection that did it: then `works` stays false.
 */
export class Listener {
  readonly #database: Database
  readonly #listener: (news: News) => void
  #client: Client | undefined
  #retry: NodeJS.Timeout | undefined
  #closed = false
  #pause = PAUSE
  works = false

  constructor(database: Database, listener: (news: News) => void) {
    this.#database = database
    this.#listener = listener
  }

  /** Never rejects: without it, those who wait look by themselves. */
  async start(): Promise<void> {
    const client = this.#database.client()
    this.#client = client
    let heard: (() => void) | undefined
    const echo = new Promise<void>((resolve) => (heard = resolve))
    client.on('notification', ({ payload = '' }) => {
      if (payload === this.#database.id) heard?.()
      else this.#hear(payload)
    })
    client.on('error', () => undefined)
    client.on('end', () => this.#lost(client))
    try {
      await client.connect()
      await client.query(`LISTEN "${this.#database.channel}"`)
      // An open store does not keep a program alive.
      if ('unref' in client && typeof client.unref === 'function') client.unref()
      await this.#database.all('SELECT pg_notify(?, ?)', this.#database.channel, this.#database.id)
      const late = new Promise((resolve) => setTimeout(resolve, ECHO, 'late').unref())
      this.works = (await Promise.race([echo, late])) !== 'late'
    } catch {
      // Refused, or away.
    }
    this.#database.tells = this.works
    if (this.works) this.#pause = PAUSE
    // What came while nobody listened is not told again.
    if (this.works) this.#listener({ queued: Infinity })
    else {
      await client.end().catch(() => undefined)
      this.#again()
    }
  }

  #hear(payload: string): void {
    let news: unknown
    try {
      news = JSON.parse(payload)
    } catch {
      return
    }
    if (!isObject(news) || news['from'] === this.#database.id) return
    const { queued, finished } = news
    if (typeof queued === 'number') this.#listener({ queued })
    if (Array.isArray(finished)) this.#listener({ finished: finished.filter((id) => typeof id === 'string') })
  }

  #lost(client: Client): void {
    if (this.#client !== client || !this.works) return
    this.works = false
    this.#again()
  }

  #again(): void {
    if (this.#closed) return
    this.#retry = setTimeout(() => void this.start(), this.#pause)
    this.#retry.unref()
    this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE)
  }

  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#retry)
    await this.#client?.end().catch(() => undefined)
  }
}
