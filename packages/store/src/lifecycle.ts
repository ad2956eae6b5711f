import type {
  Attempt,
  AttemptStatus,
  AttemptUpdate,
  Rollout,
  RolloutConfig,
  RolloutStatus,
  RolloutUpdate,
  Worker,
} from './types.ts'

/*
 * What becomes of rollouts, attempts and workers: Agent Lightning v0.3's state machine, as pure functions that every
 * engine uses, so that all of them decide alike. `now` is always the store's own clock.
 */

export const DEFAULT_CONFIG: RolloutConfig = {
  timeoutSeconds: null,
  unresponsiveSeconds: null,
  maxAttempts: 1,
  retryCondition: [],
}

export function isFinished(status: RolloutStatus | AttemptStatus): boolean {
  return status === 'succeeded' || status === 'failed' || status === 'cancelled'
}

/** Whether a rollout of this status is to be in the queue. One that has another is passed over there. */
export function isQueued(status: RolloutStatus): boolean {
  return status === 'queuing' || status === 'requeuing'
}

/** Whether the watchdog has to look after rollouts of this config at all. */
export function isLimited({ timeoutSeconds, unresponsiveSeconds }: RolloutConfig): boolean {
  return timeoutSeconds !== null || unresponsiveSeconds !== null
}

/** What the latest attempt makes of its rollout. */
function rolloutStatus({ status, sequenceId }: Attempt, config: RolloutConfig): RolloutStatus {
  if (status === 'preparing' || status === 'running' || status === 'succeeded') return status
  const again = config.retryCondition.includes(status) && sequenceId < config.maxAttempts
  return again ? 'requeuing' : 'failed'
}

/** The part of a rollout that what happens to its attempts can change, or depends on. */
export type RolloutState = Pick<Rollout, 'rolloutId' | 'status' | 'endTime' | 'config'>

/** A rollout that is open again keeps the time of its former end, as in Agent Lightning. */
function withStatus<State extends RolloutState>(
  rollout: State,
  status: RolloutStatus,
  endTime: number,
): State {
  return { ...rollout, status, ...(isFinished(status) && { endTime }) }
}

export function newAttempt(
  given: Pick<Attempt, 'rolloutId' | 'attemptId' | 'workerId' | 'startTime'>,
  attempts: number,
  status: 'preparing' | 'running' = 'preparing',
): Attempt {
  const { rolloutId, attemptId, startTime, workerId } = given
  return {
    rolloutId,
    attemptId,
    sequenceId: attempts + 1,
    startTime,
    endTime: null,
    status,
    workerId,
    lastHeartbeatTime: null,
    metadata: null,
  }
}

/** The rollout after `update`. Where that gives a status which `isQueued`, the rollout has to be in the queue. */
export function updatedRollout(rollout: Rollout, update: RolloutUpdate, now: number): Rollout {
  const { status, input, mode, resourcesId, config, metadata } = update
  const changed: Rollout = {
    ...rollout,
    ...(input !== undefined && { input }),
    ...(mode !== undefined && { mode }),
    ...(resourcesId !== undefined && { resourcesId }),
    ...(config !== undefined && { config: { ...DEFAULT_CONFIG, ...config } }),
    ...(metadata !== undefined && { metadata }),
  }
  return status === undefined ? changed : withStatus(changed, status, now)
}

/** What an event changes; undefined where that stays as it is. */
export interface Change<State extends RolloutState> {
  attempt: Attempt
  rollout: State | undefined
  worker: WorkerChange | undefined
}

/** The fields of a worker that change; one that is not known yet begins with them. */
export type WorkerChange = Partial<Worker> & Pick<Worker, 'workerId'>

export function updatedAttempt<State extends RolloutState>(
  rollout: State,
  attempt: Attempt,
  isLatest: boolean,
  update: AttemptUpdate,
  now: number,
): Change<State> {
  const { status, workerId, lastHeartbeatTime, metadata, endTime = now } = update
  const changed: Attempt = {
    ...attempt,
    ...(status !== undefined && { status }),
    ...(status !== undefined && isFinished(status) && { endTime }),
    ...(workerId !== undefined && { workerId }),
    ...(lastHeartbeatTime !== undefined && {
      lastHeartbeatTime: lastHeartbeatTime === 'now' ? now : lastHeartbeatTime,
    }),
    ...(metadata !== undefined && { metadata }),
  }
  const next = rolloutStatus(changed, rollout.config)
  const passesOn = isLatest && status !== undefined && next !== rollout.status
  return {
    attempt: changed,
    rollout: passesOn ? withStatus(rollout, next, endTime) : undefined,
    worker: status === undefined && workerId === undefined ? undefined : workerAfter(changed, now),
  }
}

/** Spans of the attempt have arrived. */
export function heardFrom<State extends RolloutState>(
  rollout: State,
  attempt: Attempt,
  isLatest: boolean,
  now: number,
): Pick<Change<State>, 'attempt' | 'rollout'> {
  const revived = attempt.status === 'preparing' || attempt.status === 'unresponsive'
  const status = revived ? 'running' : attempt.status
  // One whose time is over stays so, and its rollout in the queue: a late span must not cost it the retry.
  const runs = status === 'running' && (rollout.status === 'preparing' || rollout.status === 'requeuing')
  return {
    attempt: { ...attempt, lastHeartbeatTime: now, status },
    rollout: isLatest && runs ? { ...rollout, status } : undefined,
  }
}

/** What the watchdog finds wrong with the latest attempt of a rollout that is preparing or running. */
export function ailment(
  attempt: Attempt,
  { timeoutSeconds, unresponsiveSeconds }: RolloutConfig,
  now: number,
): 'timeout' | 'unresponsive' | undefined {
  if (timeoutSeconds !== null && now - attempt.startTime > timeoutSeconds) return 'timeout'
  const heard = attempt.lastHeartbeatTime ?? attempt.startTime
  if (unresponsiveSeconds !== null && now - heard > unresponsiveSeconds) return 'unresponsive'
  return undefined
}

/** What an attempt's status says about its worker. */
export function workerAfter(
  { workerId, status, rolloutId, attemptId }: Attempt,
  now: number,
): WorkerChange | undefined {
  if (workerId === null || workerId === '') return undefined
  if (status === 'preparing' || status === 'running') {
    return {
      workerId,
      status: 'busy',
      lastBusyTime: now,
      currentRolloutId: rolloutId,
      currentAttemptId: attemptId,
    }
  }
  const ended = status === 'succeeded' || status === 'failed'
  const nothing = { currentRolloutId: null, currentAttemptId: null }
  return { workerId, status: ended ? 'idle' : 'unknown', lastIdleTime: now, ...nothing }
}

/** A worker has asked for work: `taken` is the last attempt that it got. */
export function workerAfterDequeue(
  workerId: string | null,
  taken: Attempt | undefined,
  known: Worker | undefined,
  now: number,
): WorkerChange | undefined {
  if (workerId === null || workerId === '') return undefined
  const asked = { workerId, lastDequeueTime: now }
  if (taken !== undefined) return { ...workerAfter(taken, now), ...asked }
  // What it last worked on stays, as in Agent Lightning.
  return known?.status === 'idle' ? asked : { ...asked, status: 'idle', lastIdleTime: now }
}

export function newWorker(workerId: string): Worker {
  return {
    workerId,
    status: 'unknown',
    heartbeatStats: null,
    lastHeartbeatTime: null,
    lastDequeueTime: null,
    lastBusyTime: null,
    lastIdleTime: null,
    currentRolloutId: null,
    currentAttemptId: null,
  }
}
