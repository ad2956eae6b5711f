import { setTimeout as sleep } from 'node:timers/promises'
import { attemptedRolloutFromJSON, rolloutFromJSON } from '../json.ts'
import { AglError } from '@agl/core'
import { seconds, worker } from '../requests.ts'
import type { AttemptedRollout, DequeueOptions, Rollout, WaitOptions } from '../types.ts'
import type { Caller } from './caller.ts'
import { listOf, pageOf } from './from-json.ts'

/**
 * Seconds that our server is asked to wait for work at once. A request is never given up, since the server may have
 * handed out a rollout by then; so this is how long an end of the waiting takes at most.
 */
const DEQUEUE_SLICE = 1
/** Seconds that our server is asked to wait for rollouts at once. */
const WAIT_SLICE = 20
/** Seconds between two looks where the server does not wait for us, as for Agent Lightning's: growing up to the second. */
const FIRST_PAUSE = 0.1
const LONGEST_PAUSE = 1

export async function dequeue(
  caller: Caller,
  options: DequeueOptions,
  closing: AbortSignal,
): Promise<AttemptedRollout[]> {
  const { limit = 1, timeout = 0, signal } = options
  if (!Number.isSafeInteger(limit)) {
    throw new AglError('value_invalid', `The limit ${limit} is not possible; give a whole number.`)
  }
  const workerId = worker(options.workerId)
  const patience = seconds('timeout', timeout) * 1000
  // Who wants nothing does not wait for it.
  const deadline = performance.now() + (limit > 0 ? patience : 0)
  let pause = FIRST_PAUSE
  for (;;) {
    const begin = performance.now()
    const isOver = signal?.aborted === true || closing.aborted
    const left = isOver ? 0 : (deadline - begin) / 1000
    const slice = Math.max(0, Math.min(left, DEQUEUE_SLICE))
    const body = JSON.stringify({ limit, worker_id: workerId, ...(slice > 0 && { timeout: slice }) })
    const answer = await caller.call('POST', '/queues/rollouts/dequeue', { body, once: true, until: signal })
    const taken = listOf(answer, attemptedRolloutFromJSON)
    const now = performance.now()
    if (taken.length > 0 || now >= deadline || signal?.aborted === true || closing.aborted) return taken
    if ((now - begin) / 1000 >= slice) continue
    await rest(Math.min(pause, (deadline - now) / 1000), signal, closing)
    pause = Math.min(pause * 2, LONGEST_PAUSE)
  }
}

export async function waitFor(
  caller: Caller,
  rolloutIds: readonly string[],
  { timeout = null, signal }: WaitOptions,
  closing: AbortSignal,
): Promise<Rollout[]> {
  const deadline = performance.now() + (timeout === null ? Infinity : seconds('timeout', timeout) * 1000)
  const finished = new Map<string, Rollout>()
  const open = new Set(rolloutIds)
  const isOurs = await caller.isOurs()
  // Ours does not wait for what it does not have; Agent Lightning's would.
  if (!isOurs) await forgetUnknown(caller, open)
  let pause = FIRST_PAUSE
  while (open.size > 0) {
    const begin = performance.now()
    const isOver = signal?.aborted === true || closing.aborted
    const left = isOver ? 0 : Math.max(0, (deadline - begin) / 1000)
    const slice = isOurs ? Math.min(left, WAIT_SLICE) : 0
    for (const rollout of await look(caller, open, slice, signal, closing)) {
      finished.set(rollout.rolloutId, rollout)
      open.delete(rollout.rolloutId)
    }
    const now = performance.now()
    if (open.size === 0 || now >= deadline || signal?.aborted === true || closing.aborted) break
    // It did not wait as it was asked to: what is left is not there. Its clock may be faster than ours.
    if (isOurs && (now - begin) / 1000 < slice / 2) break
    if (isOurs) continue
    await rest(Math.min(pause, (deadline - now) / 1000), signal, closing)
    pause = Math.min(pause * 2, LONGEST_PAUSE)
  }
  return rolloutIds.flatMap((rolloutId) => finished.get(rolloutId) ?? [])
}

/** Those of `open` that are finished, at the latest after `timeout` seconds. */
async function look(
  caller: Caller,
  open: ReadonlySet<string>,
  timeout: number,
  signal: AbortSignal | undefined,
  closing: AbortSignal,
): Promise<Rollout[]> {
  const body = (limit: number): string => JSON.stringify({ rollout_ids: [...open], timeout: limit })
  const end = new AbortController()
  const abort = (): void => end.abort()
  for (const source of [signal, closing]) source?.addEventListener('abort', abort)
  try {
    const options = { body: body(timeout), patience: timeout * 1000, signal: end.signal }
    return listOf(await caller.call('POST', '/waits/rollouts', options), rolloutFromJSON)
  } catch (error) {
    if (!end.signal.aborted) throw error
    if (closing.aborted) return []
    return listOf(await caller.call('POST', '/waits/rollouts', { body: body(0) }), rolloutFromJSON)
  } finally {
    for (const source of [signal, closing]) source?.removeEventListener('abort', abort)
  }
}

async function forgetUnknown(caller: Caller, open: Set<string>): Promise<void> {
  const ids = [...open]
  const known = new Set<string>()
  for (let start = 0; start < ids.length; start += 100) {
    const body = JSON.stringify({ rollout_id_in: ids.slice(start, start + 100) })
    const { items } = pageOf(await caller.call('POST', '/rollouts/search', { body }), rolloutFromJSON)
    for (const { rolloutId } of items) known.add(rolloutId)
  }
  for (const rolloutId of ids) if (!known.has(rolloutId)) open.delete(rolloutId)
}

async function rest(time: number, signal: AbortSignal | undefined, closing: AbortSignal): Promise<void> {
  const end = new AbortController()
  const abort = (): void => end.abort()
  for (const source of [signal, closing]) source?.addEventListener('abort', abort)
  await sleep(Math.max(0, time) * 1000, undefined, { signal: end.signal }).catch(() => undefined)
  for (const source of [signal, closing]) source?.removeEventListener('abort', abort)
}
