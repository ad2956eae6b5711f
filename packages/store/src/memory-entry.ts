import type { Attempt, Rollout } from './types.ts'

/** One rollout with what belongs to it. `attempts` is in order of their sequence ids, `spans` in order of arrival. */
export interface Entry {
  rollout: Rollout
  attempts: Attempt[]
  spans: number[]
  spanKeys: Set<string>
}

export function findAttempt(entry: Entry, attemptId: string): Attempt | undefined {
  return entry.attempts.find((attempt) => attempt.attemptId === attemptId)
}
