import { Reader, oneOf, unexpected } from './json-reader.ts'
import type { NamedResources, Resource, ResourcesUpdate } from './resources.ts'
import type {
  Attempt,
  AttemptStatus,
  AttemptedRollout,
  Rollout,
  RolloutConfig,
  RolloutMode,
  RolloutStatus,
  Worker,
  WorkerStatus,
} from './types.ts'

/*
 * Records in the JSON of Agent Lightning v0.3, to and fro. What comes in is checked: it may be anybody's.
 */

export const ROLLOUT_STATUSES: readonly RolloutStatus[] = [
  'queuing',
  'preparing',
  'running',
  'failed',
  'succeeded',
  'cancelled',
  'requeuing',
]
export const ATTEMPT_STATUSES: readonly AttemptStatus[] = [
  'preparing',
  'running',
  'failed',
  'succeeded',
  'unresponsive',
  'timeout',
]
export const WORKER_STATUSES: readonly WorkerStatus[] = ['idle', 'busy', 'unknown']
export const MODES: readonly RolloutMode[] = ['train', 'val', 'test']
export const ENGINES: readonly ['jinja', 'f-string', 'poml'] = ['jinja', 'f-string', 'poml']

interface ConfigJSON {
  timeout_seconds: number | null
  unresponsive_seconds: number | null
  max_attempts: number
  retry_condition: AttemptStatus[]
}

export interface AttemptJSON {
  rollout_id: string
  attempt_id: string
  sequence_id: number
  start_time: number
  end_time: number | null
  status: AttemptStatus
  worker_id: string | null
  last_heartbeat_time: number | null
  metadata: Record<string, unknown> | null
}

export interface RolloutJSON {
  rollout_id: string
  input: unknown
  start_time: number
  end_time: number | null
  mode: RolloutMode | null
  resources_id: string | null
  status: RolloutStatus
  config: ConfigJSON
  metadata: Record<string, unknown> | null
  attempt?: AttemptJSON
}

export interface WorkerJSON {
  worker_id: string
  status: WorkerStatus
  heartbeat_stats: Record<string, unknown> | null
  last_heartbeat_time: number | null
  last_dequeue_time: number | null
  last_busy_time: number | null
  last_idle_time: number | null
  current_rollout_id: string | null
  current_attempt_id: string | null
}

export type ResourceJSON =
  | {
      resource_type: 'llm' | 'proxy_llm'
      endpoint: string
      model: string
      api_key: string | null
      sampling_parameters: Record<string, unknown>
    }
  | { resource_type: 'prompt_template'; template: string; engine: (typeof ENGINES)[number] }

export interface ResourcesJSON {
  resources_id: string
  create_time: number
  update_time: number
  version: number
  resources: Record<string, ResourceJSON>
}

export function configToJSON(config: RolloutConfig): ConfigJSON {
  return {
    timeout_seconds: config.timeoutSeconds,
    unresponsive_seconds: config.unresponsiveSeconds,
    max_attempts: config.maxAttempts,
    retry_condition: config.retryCondition,
  }
}

/** Absent fields have their defaults. */
function configFromJSON(value: unknown): RolloutConfig {
  const json = new Reader('config', value)
  return {
    timeoutSeconds: json.optionalNumber('timeout_seconds'),
    unresponsiveSeconds: json.optionalNumber('unresponsive_seconds'),
    maxAttempts: json.optionalNumber('max_attempts') ?? 1,
    retryCondition: json
      .list('retry_condition')
      .map((status) => oneOf('retry_condition', ATTEMPT_STATUSES, status)),
  }
}

export function attemptToJSON(attempt: Attempt): AttemptJSON {
  return {
    rollout_id: attempt.rolloutId,
    attempt_id: attempt.attemptId,
    sequence_id: attempt.sequenceId,
    start_time: attempt.startTime,
    end_time: attempt.endTime,
    status: attempt.status,
    worker_id: attempt.workerId,
    last_heartbeat_time: attempt.lastHeartbeatTime,
    metadata: attempt.metadata,
  }
}

export function attemptFromJSON(value: unknown): Attempt {
  const json = new Reader('attempt', value)
  return {
    rolloutId: json.text('rollout_id'),
    attemptId: json.text('attempt_id'),
    sequenceId: json.number('sequence_id'),
    startTime: json.number('start_time'),
    endTime: json.optionalNumber('end_time'),
    status: oneOf('status', ATTEMPT_STATUSES, json.field('status')),
    workerId: json.optionalText('worker_id'),
    lastHeartbeatTime: json.optionalNumber('last_heartbeat_time'),
    metadata: json.optionalObject('metadata'),
  }
}

/** The key `attempt` is there only where the rollout has one. */
export function rolloutToJSON(rollout: Rollout): RolloutJSON {
  return {
    rollout_id: rollout.rolloutId,
    input: rollout.input,
    start_time: rollout.startTime,
    end_time: rollout.endTime,
    mode: rollout.mode,
    resources_id: rollout.resourcesId,
    status: rollout.status,
    config: configToJSON(rollout.config),
    metadata: rollout.metadata,
    ...(rollout.attempt && { attempt: attemptToJSON(rollout.attempt) }),
  }
}

export function rolloutFromJSON(value: unknown): Rollout {
  const json = new Reader('rollout', value)
  const mode = json.optionalText('mode')
  const attempt = json.field('attempt')
  return {
    rolloutId: json.text('rollout_id'),
    input: json.field('input') ?? null,
    startTime: json.number('start_time'),
    endTime: json.optionalNumber('end_time'),
    mode: mode === null ? null : oneOf('mode', MODES, mode),
    resourcesId: json.optionalText('resources_id'),
    status: oneOf('status', ROLLOUT_STATUSES, json.field('status')),
    config: configFromJSON(json.field('config') ?? {}),
    metadata: json.optionalObject('metadata'),
    ...(attempt != null && { attempt: attemptFromJSON(attempt) }),
  }
}

export function attemptedRolloutFromJSON(value: unknown): AttemptedRollout {
  const { attempt, ...rollout } = rolloutFromJSON(value)
  if (attempt === undefined) throw unexpected('rollout', 'attempt')
  return { ...rollout, attempt }
}

export function workerToJSON(worker: Worker): WorkerJSON {
  return {
    worker_id: worker.workerId,
    status: worker.status,
    heartbeat_stats: worker.heartbeatStats,
    last_heartbeat_time: worker.lastHeartbeatTime,
    last_dequeue_time: worker.lastDequeueTime,
    last_busy_time: worker.lastBusyTime,
    last_idle_time: worker.lastIdleTime,
    current_rollout_id: worker.currentRolloutId,
    current_attempt_id: worker.currentAttemptId,
  }
}

export function workerFromJSON(value: unknown): Worker {
  const json = new Reader('worker', value)
  return {
    workerId: json.text('worker_id'),
    status: oneOf('status', WORKER_STATUSES, json.field('status')),
    heartbeatStats: json.optionalObject('heartbeat_stats'),
    lastHeartbeatTime: json.optionalNumber('last_heartbeat_time'),
    lastDequeueTime: json.optionalNumber('last_dequeue_time'),
    lastBusyTime: json.optionalNumber('last_busy_time'),
    lastIdleTime: json.optionalNumber('last_idle_time'),
    currentRolloutId: json.optionalText('current_rollout_id'),
    currentAttemptId: json.optionalText('current_attempt_id'),
  }
}

function resourceToJSON(resource: Resource): ResourceJSON {
  const { resourceType } = resource
  if (resourceType === 'prompt_template') {
    return { resource_type: resourceType, template: resource.template, engine: resource.engine }
  }
  return {
    resource_type: resourceType,
    endpoint: resource.endpoint,
    model: resource.model,
    api_key: resource.apiKey,
    sampling_parameters: resource.samplingParameters,
  }
}

function resourceFromJSON(value: unknown): Resource {
  const json = new Reader('resource', value)
  const resourceType = json.text('resource_type')
  if (resourceType === 'prompt_template') {
    return {
      resourceType,
      template: json.text('template'),
      engine: oneOf('engine', ENGINES, json.field('engine')),
    }
  }
  if (resourceType !== 'llm' && resourceType !== 'proxy_llm') throw unexpected('resource', 'resource_type')
  return {
    resourceType,
    endpoint: json.text('endpoint'),
    model: json.text('model'),
    apiKey: json.optionalText('api_key'),
    samplingParameters: json.optionalObject('sampling_parameters') ?? {},
  }
}

export function namedResourcesToJSON(resources: NamedResources): Record<string, ResourceJSON> {
  return Object.fromEntries(
    Object.entries(resources).map(([name, resource]) => [name, resourceToJSON(resource)]),
  )
}

/** @throws AglError value_invalid where one is of no known type or lacks a field */
export function namedResourcesFromJSON(value: unknown): NamedResources {
  const entries = Object.entries(new Reader('resources', value).object)
  return Object.fromEntries(entries.map(([name, resource]) => [name, resourceFromJSON(resource)]))
}

export function resourcesToJSON(update: ResourcesUpdate): ResourcesJSON {
  return {
    resources_id: update.resourcesId,
    create_time: update.createTime,
    update_time: update.updateTime,
    version: update.version,
    resources: namedResourcesToJSON(update.resources),
  }
}

export function resourcesFromJSON(value: unknown): ResourcesUpdate {
  const json = new Reader('resources', value)
  return {
    resourcesId: json.text('resources_id'),
    createTime: json.number('create_time'),
    updateTime: json.number('update_time'),
    version: json.number('version'),
    resources: namedResourcesFromJSON(json.field('resources')),
  }
}
