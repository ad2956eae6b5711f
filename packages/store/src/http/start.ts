import { attemptedRolloutFromJSON } from '../json.ts'
import { newRollout, worker } from '../requests.ts'
import type { Store } from '../store.ts'
import type { AttemptedRollout, StartRollout } from '../types.ts'
import type { Caller } from './caller.ts'
import { rolloutText } from './to-json.ts'

/**
 * Starts a rollout at a server that issues all ids itself, as Agent Lightning's does. A given id finds what is there;
 * what is not there begins under an id of the server's.
 */
export async function startThere(
  store: Store,
  caller: Caller,
  request: StartRollout,
): Promise<AttemptedRollout> {
  const { rolloutId, attemptId, workerId = null } = request
  const { attempt, ...known } = (rolloutId !== undefined && (await store.getRollout(rolloutId))) || {}
  if (rolloutId !== undefined && 'rolloutId' in known) {
    if (attempt?.attemptId === attemptId && attempt !== undefined) return { ...known, attempt }
    const { items } = await store.queryAttempts(rolloutId)
    const found = items.find((candidate) => candidate.attemptId === attemptId)
    return found === undefined ? store.startAttempt(rolloutId, { workerId }) : { ...known, attempt: found }
  }
  const body = rolloutText(newRollout(request), { worker_id: worker(workerId) })
  return attemptedRolloutFromJSON(await caller.call('POST', '/rollouts', { body, once: true }))
}
