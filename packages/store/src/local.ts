import { AglError, type Span, type SpanJSON, spanFromJSON } from '@agl/core'
import { type NewRollout, type Transport, now } from './engine.ts'
import { Pace, pipeline, steps } from './pace.ts'
import { selectRollouts, selectSpans } from './query.ts'
import { portions } from './row.ts'
import type {
  AddSpansOptions,
  AddedSpans,
  Attempt,
  AttemptUpdate,
  AttemptedRollout,
  Page,
  Rollout,
  RolloutQuery,
  SpanQuery,
  StartRollout,
  Store,
  StoreStatistics,
} from './types.ts'

/** A store on this machine: checks what comes in, and takes large work to the engine step by step. */
export class LocalStore implements Store {
  readonly url: string
  readonly transport: Transport
  readonly #opened = now()
  readonly #running = new Set<Promise<unknown>>()
  #closing: Promise<void> | undefined

  constructor(url: string, transport: Transport) {
    this.url = url
    this.transport = transport
  }

  startRollout(request: StartRollout = {}): Promise<AttemptedRollout> {
    return this.#run(async () => this.transport.call('startRollout', newRollout(request)))
  }

  updateAttempt(rolloutId: string, attemptId: string, update: AttemptUpdate): Promise<Attempt> {
    return this.#run(async () => {
      const metadata = update.metadata && JSON.parse(toJSON('metadata', update.metadata))
      return this.transport.call('updateAttempt', rolloutId, attemptId, {
        ...update,
        ...(metadata && { metadata }),
      })
    })
  }

  async getRollout(rolloutId: string): Promise<Rollout | undefined> {
    const { items } = await this.queryRollouts({ rolloutIdIn: [rolloutId] })
    return items[0]
  }

  queryRollouts(query: RolloutQuery = {}): Promise<Page<Rollout>> {
    return this.#run(async () => {
      const selection = selectRollouts(query)
      const { total, ids } = await this.transport.call('findRollouts', selection)
      const items: Rollout[] = []
      for (const step of steps(ids)) items.push(...(await this.transport.call('readRollouts', step)))
      return { items, limit: selection.limit, offset: selection.offset, total }
    })
  }

  addSpans(spans: readonly Span[], options: AddSpansOptions = {}): Promise<AddedSpans> {
    return this.#run(async () => {
      const sum: AddedSpans = { added: 0, duplicates: 0, refused: [] }
      await pipeline(portions(spans, options), async ({ accepted, refused }) => {
        sum.refused.push(...refused)
        if (accepted.length === 0) return
        const result = await this.transport.call('addSpans', accepted, options)
        sum.added += result.added
        sum.duplicates += result.duplicates
        sum.refused.push(...result.refused)
      })
      return sum
    })
  }

  querySpans(query: SpanQuery): Promise<Page<Span>> {
    return this.#run(async () => {
      const selection = selectSpans(query)
      const { total, ids } = await this.transport.call('findSpans', selection)
      const items: Span[] = []
      const pace = new Pace()
      for (const step of steps(ids)) {
        for (const text of await this.transport.call('readSpans', step)) {
          items.push(parse(text))
          await pace.rest()
        }
      }
      return { items, limit: selection.limit, offset: selection.offset, total }
    })
  }

  nextSequenceIds(requests: readonly { rolloutId: string; attemptId: string }[]): Promise<number[]> {
    const rolloutIds = requests.map(({ rolloutId }) => rolloutId)
    return this.#run(async () => this.transport.call('nextSequenceIds', rolloutIds))
  }

  statistics(): Promise<StoreStatistics> {
    return this.#run(async () => {
      const { rollouts, attempts, spans } = await this.transport.call('count')
      const uptime = now() - this.#opened
      return { name: this.url, totalRollouts: rollouts, totalAttempts: attempts, totalSpans: spans, uptime }
    })
  }

  close(): Promise<void> {
    return (this.#closing ??= Promise.allSettled(this.#running).then(() => this.transport.close()))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Keeps count of what is going on, for `close` to wait for. */
  #run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closing !== undefined) return Promise.reject(closed(this.url))
    const running = work().finally(() => this.#running.delete(running))
    this.#running.add(running)
    return running
  }
}

function closed(url: string): AglError {
  return new AglError('store_unavailable', `The store "${url}" is closed; open it again with openStore().`)
}

/** What an engine needs to start a rollout, from what a caller gave. */
export function newRollout(request: StartRollout): NewRollout {
  return {
    rolloutId: request.rolloutId ?? newId('ro', 12),
    attemptId: request.attemptId ?? newId('at', 8),
    input: toJSON('input', request.input ?? null),
    metadata: toJSON('metadata', request.metadata ?? {}),
    mode: request.mode ?? null,
    resourcesId: request.resourcesId ?? null,
    startTime: request.startTime ?? now(),
    status: request.status ?? 'preparing',
  }
}

function parse(text: string): Span {
  const json: SpanJSON = JSON.parse(text)
  return spanFromJSON(json)
}

function toJSON(name: string, value: unknown): string {
  try {
    const text = JSON.stringify(value)
    if (typeof text === 'string') return text
    throw new TypeError(`a ${typeof value} has no JSON`)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    const message = `The rollout's ${name} cannot be kept as JSON (${reason}); give it as plain data.`
    throw new AglError('value_unserializable', message, { cause })
  }
}

/** Ids look as Agent Lightning's do: a prefix and random hex digits. */
function newId(prefix: string, digits: number): string {
  return `${prefix}-${crypto.randomUUID().replaceAll('-', '').slice(-digits)}`
}
