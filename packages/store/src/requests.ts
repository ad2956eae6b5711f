import { AglError } from '@agl/core'
import { type NewRollout, type StartedRollout, newId } from './engine.ts'
import { LATEST_ATTEMPT, idFault } from './ids.ts'
import { ATTEMPT_STATUSES, MODES, ROLLOUT_STATUSES, namedResourcesFromJSON } from './json.ts'
import { isObject } from './json-reader.ts'
import { DEFAULT_CONFIG } from './lifecycle.ts'
import type { NamedResources, NamedResourcesInput } from './resources.ts'
import type {
  AttemptUpdate,
  EnqueueRollout,
  RolloutConfig,
  RolloutUpdate,
  StartRollout,
  WorkerUpdate,
} from './types.ts'

/*
 * What callers ask for, checked and with its defaults, as engines take it. A caller without types, or a client over
 * the network, must not get anything into the store that others cannot read.
 */

export function newRollout(
  request: EnqueueRollout | StartRollout,
  rolloutId: string = newId('ro'),
): NewRollout {
  const { input = null, mode = null, resourcesId = null } = request
  return {
    rolloutId: text('rolloutId', rolloutId),
    input: toJSON('input', input),
    metadata: toJSON('metadata', object('metadata', request.metadata ?? {})),
    mode: mode === null ? null : known('mode', mode, MODES),
    resourcesId: resourcesId === null ? null : text('resourcesId', resourcesId),
    config: config(request.config ?? {}),
  }
}

export function startedRollout(request: StartRollout): StartedRollout {
  const { attemptId, status = 'preparing', startTime } = request
  return {
    ...newRollout(request, request.rolloutId),
    attemptId: newAttemptId(attemptId),
    workerId: worker(request.workerId),
    startTime: startTime === undefined ? undefined : time('startTime', startTime),
    status: known('status', status, ['preparing', 'running'] as const),
  }
}

/** The update's own copy; absent and undefined are the same. */
export function rolloutUpdate(update: RolloutUpdate): RolloutUpdate {
  const { input, mode, resourcesId, status, metadata } = update
  const changes: RolloutUpdate = {}
  if (input !== undefined) changes.input = copy('input', input)
  if (mode !== undefined) changes.mode = mode === null ? null : known('mode', mode, MODES)
  if (resourcesId !== undefined) {
    changes.resourcesId = resourcesId === null ? null : text('resourcesId', resourcesId)
  }
  if (status !== undefined) changes.status = known('status', status, ROLLOUT_STATUSES)
  if (update.config !== undefined) changes.config = config(update.config)
  if (metadata !== undefined) {
    changes.metadata = metadata === null ? null : object('metadata', copy('metadata', metadata))
  }
  return changes
}

export function attemptUpdate(update: AttemptUpdate): AttemptUpdate {
  const { status, workerId, lastHeartbeatTime, metadata, endTime } = update
  const changes: AttemptUpdate = {}
  if (status !== undefined) changes.status = known('status', status, ATTEMPT_STATUSES)
  if (workerId !== undefined) changes.workerId = text('workerId', workerId, true)
  if (lastHeartbeatTime !== undefined) {
    changes.lastHeartbeatTime =
      lastHeartbeatTime === 'now' ? 'now' : time('lastHeartbeatTime', lastHeartbeatTime)
  }
  if (metadata !== undefined) changes.metadata = object('metadata', copy('metadata', metadata))
  if (endTime !== undefined) changes.endTime = time('endTime', endTime)
  return changes
}

export function heartbeatStats({ heartbeatStats: stats }: WorkerUpdate): Record<string, unknown> | undefined {
  return stats === undefined ? undefined : object('heartbeatStats', copy('heartbeatStats', stats))
}

export function namedResources(given: NamedResourcesInput): NamedResources {
  const snakeCase = Object.entries(object('resources', copy('resources', given))).map(([name, resource]) => {
    const { resourceType, apiKey, samplingParameters, ...rest } = object(`resource "${name}"`, resource)
    return [
      name,
      { ...rest, resource_type: resourceType, api_key: apiKey, sampling_parameters: samplingParameters },
    ]
  })
  return namedResourcesFromJSON(Object.fromEntries(snakeCase))
}

/** An id of a worker, where there is one. */
export function worker(id: string | null | undefined): string | null {
  return id === undefined || id === null ? null : text('workerId', id, true)
}

/** @throws AglError value_invalid for an id that some store could not find again */
export function text(name: string, value: string, mayBeEmpty = false): string {
  const fault = value === '' && !mayBeEmpty ? 'is empty' : idFault(value)
  if (fault === undefined) return value
  throw new AglError('value_invalid', `The ${name} ${fault}; give a short text.`)
}

/** @throws AglError value_invalid */
export function newAttemptId(id: string = newId('at')): string {
  if (id !== LATEST_ATTEMPT) return text('attemptId', id)
  throw invalid(
    'attemptId',
    `another text than "${LATEST_ATTEMPT}", which stands for a rollout's latest attempt`,
  )
}

/** @throws AglError value_invalid for what is not a text and can name nothing */
export function name(field: string, value: string): string {
  if (typeof value === 'string') return value
  throw invalid(field, 'a text')
}

/** @throws AglError value_invalid for what is not a number of seconds from 0 */
export function seconds(name: string, value: number): number {
  if (typeof value === 'number' && value >= 0) return value
  throw invalid(name, 'a number of seconds from 0')
}

function config(given: Partial<RolloutConfig>): RolloutConfig {
  const { timeoutSeconds, unresponsiveSeconds, maxAttempts, retryCondition } = {
    ...DEFAULT_CONFIG,
    ...defined(object('config', given)),
  }
  if (!Number.isSafeInteger(maxAttempts) || maxAttempts < 1) {
    throw invalid('config.maxAttempts', 'a whole number from 1')
  }
  if (!Array.isArray(retryCondition)) throw invalid('config.retryCondition', 'a list of statuses')
  return {
    timeoutSeconds: timeoutSeconds === null ? null : time('config.timeoutSeconds', timeoutSeconds),
    unresponsiveSeconds:
      unresponsiveSeconds === null ? null : time('config.unresponsiveSeconds', unresponsiveSeconds),
    maxAttempts,
    retryCondition: retryCondition.map((status) => known('config.retryCondition', status, ATTEMPT_STATUSES)),
  }
}

function defined(fields: object): Partial<RolloutConfig> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
}

function time(name: string, value: number): number {
  if (Number.isFinite(value)) return value
  throw invalid(name, 'a finite number')
}

function object(name: string, value: unknown): Record<string, unknown> {
  if (isObject(value)) return value
  throw invalid(name, 'an object')
}

function known<Known extends string>(name: string, value: unknown, values: readonly Known[]): Known {
  const found = values.find((candidate) => candidate === value)
  if (found !== undefined) return found
  throw invalid(name, `one of ${values.join(', ')}`)
}

function invalid(name: string, expected: string): AglError {
  return new AglError('value_invalid', `The ${name} is not possible; give ${expected}.`)
}

/** What JSON keeps of it: the caller's own may change. */
function copy(name: string, value: unknown): unknown {
  return JSON.parse(toJSON(name, value))
}

function toJSON(name: string, value: unknown): string {
  try {
    const json = JSON.stringify(value, finite)
    if (typeof json === 'string') return json
    throw new TypeError(`a ${typeof value} has no JSON`)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    const message = `The ${name} cannot be kept as JSON (${reason}); give it as plain data.`
    throw new AglError('value_unserializable', message, { cause })
  }
}

/** JSON would turn such a number into null without a word. */
function finite(_key: string, value: unknown): unknown {
  if (typeof value === 'number' && !Number.isFinite(value)) throw new TypeError(`${value} has no JSON`)
  return value
}
