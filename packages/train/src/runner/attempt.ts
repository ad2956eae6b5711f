import { AglError, emitReward, type Lightning, type Span } from '@agl/core'
import type { AttemptedRollout, AttemptStatus, NamedResources, Store } from '@agl/store'
import type { RolloutContext, RolloutResult } from './agent.ts'
import type { Hooks } from './hooks.ts'
import { completeSpans, readResult, type ResultParts } from './result.ts'
import { milliseconds } from '../time.ts'

/** What running attempts share. */
export interface Workshop {
  lightning: Lightning
  store: Store
  agent: (input: unknown, context: RolloutContext) => RolloutResult | Promise<RolloutResult>
  hooks: (name: keyof Hooks, rollout: AttemptedRollout, spans?: readonly Span[]) => Promise<void>
  warn: (message: string, cause?: unknown) => void
  /** Seconds between two signs of life. */
  heartbeatInterval: number
}

export interface AttemptOutcome {
  succeeded: boolean
  error?: unknown
  spans: Span[]
}

/** Milliseconds that an agent, or a hook, has to end after the attempt's signal has aborted. */
const LEAVE = 1000

/**
 * Runs the agent on one rollout, in a trace of the attempt's ids. The attempt is a success once the agent has returned
 * and the store has acknowledged its spans; it never rejects.
 */
export async function runAttempt(
  shop: Workshop,
  rollout: AttemptedRollout,
  stop: AbortSignal,
): Promise<AttemptOutcome> {
  const over = new AbortController()
  const end = (message: string) => (): void => over.abort(new AglError('not_found', message))
  const late = rollout.config.timeoutSeconds
  const timer = late === null ? undefined : setTimeout(end('The attempt took too long.'), milliseconds(late))
  const beat = heartbeat(shop, rollout, end('The attempt was taken back.'))
  const signal = AbortSignal.any([stop, over.signal])
  let outcome: AttemptOutcome
  try {
    await callHook(shop, 'onRolloutStart', rollout, signal)
    outcome = await runAgent(shop, rollout, signal)
    try {
      await deliver(shop, outcome.spans)
    } catch (error) {
      if (outcome.succeeded) outcome = { ...outcome, succeeded: false, error }
      else shop.warn('Spans of a failed attempt are lost.', error)
    }
  } catch (error) {
    outcome = { succeeded: false, error, spans: [] }
  }
  await callHook(shop, 'onRolloutEnd', rollout, signal, outcome.spans)
  clearTimeout(timer)
  await beat.stop()
  await report(shop, rollout, outcome, signal.aborted ? signal.reason : undefined)
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
  const recorded = await shop.lightning.record(rolloutId, ids, async () => {
    signal.throwIfAborted()
    await callHook(shop, 'onTraceStart', rollout, signal)
    const context: RolloutContext = { rollout, resources: await resourcesOf(shop.store, rollout), signal }
    signal.throwIfAborted()
    parts = readResult(await orGivenUp(async () => shop.agent(rollout.input, context), signal))
    if (parts.reward !== undefined) emitReward(parts.reward)
    await callHook(shop, 'onTraceEnd', rollout, signal)
  })
  const root = recorded.spans.at(-1)
  const made = completeSpans(parts.spans, {
    ...ids,
    traceId: root?.traceId ?? '',
    parentId: root?.spanId ?? null,
  })
  const spans = [...recorded.spans, ...made]
  return 'error' in recorded ? { succeeded: false, error: recorded.error, spans } : { succeeded: true, spans }
}

/** What `work` gives; an agent that does not listen to its signal is left to itself. */
async function orGivenUp<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined
  let leave = (): void => {}
  const givenUp = new Promise<never>((_, reject) => {
    leave = () => {
      timer = setTimeout(() => reject(signal.reason), LEAVE)
    }
    if (signal.aborted) leave()
    else signal.addEventListener('abort', leave)
  })
  try {
    return await Promise.race([work(), givenUp])
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', leave)
  }
}

/** Whatever a hook does, the attempt goes on. */
async function callHook(
  { hooks, warn }: Workshop,
  name: keyof Hooks,
  rollout: AttemptedRollout,
  signal: AbortSignal,
  spans?: readonly Span[],
): Promise<void> {
  try {
    await orGivenUp(() => hooks(name, rollout, spans), signal)
  } catch {
    warn(`The hook ${name} did not end; the attempt goes on without it.`)
  }
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

/**
 * Resolves when the store has acknowledged all of `spans`. Those that a sink has brought already, it recognises: whether it
 * has done so cannot be told from a count, since others may add to the attempt, such as a proxy.
 */
async function deliver({ store }: Workshop, spans: readonly Span[]): Promise<void> {
  const { refused } = await store.addSpans(spans)
  const [first] = refused
  if (first === undefined) return
  const message = `The store refused ${refused.length} spans of the attempt: ${first.reason}`
  throw new AglError('value_unserializable', message)
}

/** Tells the store that the attempt lives, and learns from the answer when nobody waits for it any more. */
function heartbeat(
  { store, warn, heartbeatInterval }: Workshop,
  { rolloutId, attempt: { attemptId }, config }: AttemptedRollout,
  gone: () => void,
): { stop(): Promise<void> } {
  const seconds = Math.min(heartbeatInterval, (config.unresponsiveSeconds ?? Infinity) / 3)
  let beating: Promise<void> | undefined
  const beat = async (): Promise<void> => {
    try {
      const { status } = await store.updateAttempt(rolloutId, attemptId, { lastHeartbeatTime: 'now' })
      const rollout = status === 'timeout' ? undefined : await store.getRollout(rolloutId)
      if (status === 'timeout' || rollout?.status === 'cancelled') gone()
    } catch (error) {
      warn('A sign of life did not reach the store.', error)
    }
    beating = undefined
  }
  const timer = setInterval(() => {
    // At a store that is slow or away they would queue up, and the attempt's end behind them.
    beating ??= beat()
  }, milliseconds(seconds))
  return {
    async stop() {
      clearInterval(timer)
      await beating
    },
  }
}

const TAKEN_BACK: ReadonlySet<AttemptStatus> = new Set(['timeout', 'unresponsive'])

async function report(
  { store, warn }: Workshop,
  rollout: AttemptedRollout,
  outcome: AttemptOutcome,
  abortedBy: unknown,
): Promise<void> {
  const { rolloutId, attempt } = rollout
  const { succeeded, error } = outcome
  const because = abortedBy instanceof Error && abortedBy !== error ? ` (${abortedBy.message})` : ''
  const metadata = {
    ...attempt.metadata,
    error: describe(error) + because,
  }
  try {
    const now = await store.getRollout(rolloutId)
    const isTaken = now?.attempt?.attemptId === attempt.attemptId && TAKEN_BACK.has(now.attempt.status)
    // Its end would go on to the rollout, and bring one back that was cancelled, or end one that is to be retried.
    const isSettled = now?.status === 'cancelled' || (isTaken && !succeeded)
    await store.updateAttempt(rolloutId, attempt.attemptId, {
      ...(isSettled ? {} : { status: succeeded ? 'succeeded' : 'failed' }),
      ...(succeeded ? {} : { metadata }),
    })
  } catch (cause) {
    warn(
      `The end of attempt ${attempt.attemptId} could not be reported; the store will find it unresponsive.`,
      cause,
    )
  }
}

/** Agents may throw anything, such as objects that are no text. */
function describe(error: unknown): string {
  try {
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  } catch {
    return `a value of type ${typeof error}`
  }
}
