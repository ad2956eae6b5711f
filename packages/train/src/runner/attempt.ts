import { emitReward, AglError, type Lightning, type Span } from '@agl/core'
import type { AttemptedRollout, NamedResources, Store } from '@agl/store'
import type { RolloutContext, RolloutResult } from './agent.ts'
import type { Hooks } from './hooks.ts'
import { completeSpans, readResult, type ResultParts } from './result.ts'

/** What running attempts share. */
export interface Workshop {
  lightning: Lightning
  store: Store
  agent: (input: unknown, context: RolloutContext) => RolloutResult | Promise<RolloutResult>
  hooks: (name: keyof Hooks, rollout: AttemptedRollout, spans?: readonly Span[]) => Promise<void>
  warn: (message: string, cause?: unknown) => void
  /** Seconds between two signs of life. */
  heartbeatInterval: number
  /** Milliseconds for the spans to reach the store. */
  flushTimeout: number
}

export interface AttemptOutcome {
  succeeded: boolean
  error?: unknown
  spans: Span[]
}

/**
 * Runs the agent on one rollout, in a trace of the attempt's ids. The attempt is a success once the agent has returned
 * and the store has acknowledged its spans; it never rejects.
 */
export async function runAttempt(
  shop: Workshop,
  rollout: AttemptedRollout,
  stop: AbortSignal,
): Promise<AttemptOutcome> {
  const { rolloutId, attempt, config } = rollout
  const ids = { rolloutId, attemptId: attempt.attemptId }
  const over = new AbortController()
  const late = config.timeoutSeconds === null ? undefined : AbortSignal.timeout(config.timeoutSeconds * 1000)
  const signal = AbortSignal.any([stop, over.signal, ...(late === undefined ? [] : [late])])
  const beat = heartbeat(shop, rollout, () =>
    over.abort(new AglError('not_found', 'The attempt was taken back.')),
  )
  await shop.hooks('onRolloutStart', rollout)
  let outcome = await runAgent(shop, rollout, signal)
  if (outcome.succeeded) {
    try {
      await deliver(shop, ids, outcome.spans)
    } catch (error) {
      outcome = { ...outcome, succeeded: false, error }
    }
  } else
    await deliver(shop, ids, outcome.spans).catch((error: unknown) =>
      shop.warn('Spans of a failed attempt are lost.', error),
    )
  await beat.stop()
  await shop.hooks('onRolloutEnd', rollout, outcome.spans)
  await report(shop, rollout, outcome)
  return outcome
}

async function runAgent(
  shop: Workshop,
  rollout: AttemptedRollout,
  signal: AbortSignal,
): Promise<AttemptOutcome> {
  const { rolloutId, attempt } = rollout
  const ids = { rolloutId, attemptId: attempt.attemptId }
  let parts: ResultParts = { spans: [] }
  const { spans, error, failed } = await shop.lightning
    .record(rolloutId, ids, async () => {
      signal.throwIfAborted()
      await shop.hooks('onTraceStart', rollout)
      const context: RolloutContext = { rollout, resources: await resourcesOf(shop.store, rollout), signal }
      parts = readResult(await shop.agent(rollout.input, context))
      if (parts.reward !== undefined) emitReward(parts.reward)
      await shop.hooks('onTraceEnd', rollout)
    })
    .then((recorded) => ({ ...recorded, failed: 'error' in recorded }))
  const root = spans.at(-1)
  const made = completeSpans(parts.spans, {
    ...ids,
    traceId: root?.traceId ?? '',
    parentId: root?.spanId ?? null,
  })
  return { succeeded: !failed, ...(failed ? { error } : {}), spans: [...spans, ...made] }
}

async function resourcesOf(store: Store, { resourcesId }: AttemptedRollout): Promise<NamedResources> {
  const found = resourcesId === null ? await store.latestResources() : await store.getResources(resourcesId)
  if (found === undefined && resourcesId !== null)
    throw new AglError(
      'not_found',
      `The store has no resources "${resourcesId}", which the rollout asks for.`,
    )
  return found?.resources ?? {}
}

/** Resolves when the store has all of `spans`, whether a sink has brought them or not. */
async function deliver(
  { lightning, store, flushTimeout }: Workshop,
  { rolloutId, attemptId }: { rolloutId: string; attemptId: string },
  spans: readonly Span[],
): Promise<void> {
  const traceId = spans[0]?.traceId
  if (traceId === undefined) return
  await lightning.flush({ timeout: flushTimeout })
  // Others may add to the attempt, such as a proxy: only what is of our trace counts.
  const recorded = spans.filter((span) => span.traceId === traceId)
  const { total } = await store.querySpans({ rolloutId, attemptId, traceId, limit: 1 })
  const missing = total >= recorded.length ? spans.filter((span) => span.traceId !== traceId) : spans
  if (missing.length === 0) return
  const { refused } = await store.addSpans(missing)
  const [first] = refused
  if (first !== undefined) {
    const message = `The store refused ${refused.length} spans of the attempt: ${first.reason}`
    throw new AglError('value_unserializable', message)
  }
}

/** Tells the store that the attempt lives, and learns from the answer when nobody waits for it any more. */
function heartbeat(
  { store, warn, heartbeatInterval }: Workshop,
  { rolloutId, attempt: { attemptId }, config }: AttemptedRollout,
  gone: () => void,
): { stop(): Promise<void> } {
  const seconds = Math.min(heartbeatInterval, (config.unresponsiveSeconds ?? Infinity) / 3)
  let beating: Promise<void> = Promise.resolve()
  const timer = setInterval(() => {
    beating = beating.then(async () => {
      try {
        const { status } = await store.updateAttempt(rolloutId, attemptId, { lastHeartbeatTime: 'now' })
        const rollout = status === 'timeout' ? undefined : await store.getRollout(rolloutId)
        if (status === 'timeout' || rollout?.status === 'cancelled') gone()
      } catch (error) {
        warn('A sign of life did not reach the store.', error)
      }
    })
  }, seconds * 1000)
  return {
    stop() {
      clearInterval(timer)
      return beating
    },
  }
}

async function report(
  { store, warn }: Workshop,
  rollout: AttemptedRollout,
  outcome: AttemptOutcome,
): Promise<void> {
  const { rolloutId, attempt } = rollout
  const { succeeded, error } = outcome
  const metadata = {
    ...attempt.metadata,
    error: error instanceof Error ? `${error.name}: ${error.message}` : String(error),
  }
  try {
    await store.updateAttempt(
      rolloutId,
      attempt.attemptId,
      succeeded ? { status: 'succeeded' } : { status: 'failed', metadata },
    )
  } catch (cause) {
    warn(
      `The end of attempt ${attempt.attemptId} could not be reported; the store will find it unresponsive.`,
      cause,
    )
  }
}
