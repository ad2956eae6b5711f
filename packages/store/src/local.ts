import { AglError, type Span, type SpanJSON, spanFromJSON } from '@agl/core'
import { type NewRollout, type Transport, now } from './engine.ts'
import { Pace, inSteps, steps } from './pace.ts'
import { selectRollouts, selectSpans } from './query.ts'
import { compact, refusal } from './row.ts'
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

  constructor(url: string, transport: Transport) {
    this.url = url
    this.transport = transport
  }

  async startRollout(request: StartRollout = {}): Promise<AttemptedRollout> {
    return this.transport.call('startRollout', newRollout(request))
  }

  async updateAttempt(rolloutId: string, attemptId: string, update: AttemptUpdate): Promise<Attempt> {
    const metadata = update.metadata && JSON.parse(toJSON('metadata', update.metadata))
    return this.transport.call('updateAttempt', rolloutId, attemptId, {
      ...update,
      ...(metadata && { metadata }),
    })
  }

  async getRollout(rolloutId: string): Promise<Rollout | undefined> {
    const { items } = await this.queryRollouts({ rolloutIdIn: [rolloutId] })
    return items[0]
  }

  async queryRollouts(query: RolloutQuery = {}): Promise<Page<Rollout>> {
    const selection = selectRollouts(query)
    const { total, ids } = await this.transport.call('findRollouts', selection)
    const items: Rollout[] = []
    for (const step of steps(ids)) items.push(...(await this.transport.call('readRollouts', step)))
    return { items, limit: selection.limit, offset: selection.offset, total }
  }

  async addSpans(spans: readonly Span[], options: AddSpansOptions = {}): Promise<AddedSpans> {
    const sum: AddedSpans = { added: 0, duplicates: 0, refused: [] }
    await inSteps(spans, async (step) => {
      const { accepted, refused } = sift(step, options)
      sum.refused.push(...refused)
      const result = await this.transport.call('addSpans', accepted, options)
      sum.added += result.added
      sum.duplicates += result.duplicates
      sum.refused.push(...result.refused)
    })
    return sum
  }

  async querySpans(query: SpanQuery): Promise<Page<Span>> {
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
  }

  async nextSequenceIds(requests: readonly { rolloutId: string; attemptId: string }[]): Promise<number[]> {
    return this.transport.call(
      'nextSequenceIds',
      requests.map(({ rolloutId }) => rolloutId),
    )
  }

  async statistics(): Promise<StoreStatistics> {
    const { rollouts, attempts, spans } = await this.transport.call('count')
    const uptime = now() - this.#opened
    return { name: this.url, totalRollouts: rollouts, totalAttempts: attempts, totalSpans: spans, uptime }
  }

  close(): Promise<void> {
    return this.transport.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
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

/** Parts `spans` into those that can be stored, ready to be sent, and the others. */
export function sift(
  spans: readonly Span[],
  options: AddSpansOptions,
): { accepted: Span[]; refused: AddedSpans['refused'] } {
  const accepted: Span[] = []
  const refused: AddedSpans['refused'] = []
  for (const span of spans) {
    const reason = refusal(span, options)
    if (reason === undefined) accepted.push(compact(span))
    else refused.push({ spanId: span.spanId, reason })
  }
  return { accepted, refused }
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
