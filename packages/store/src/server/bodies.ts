import { ATTEMPT_STATUSES, ENGINES, MODES, ROLLOUT_STATUSES } from '../json.ts'
import type { NamedResourcesInput, ResourceInput } from '../resources.ts'
import type {
  AttemptUpdate,
  DequeueOptions,
  EnqueueRollout,
  RolloutConfig,
  RolloutUpdate,
  StartRollout,
  WorkerUpdate,
} from '../types.ts'
import type { Fields } from './fields.ts'
import { notAllowedNull } from './problems.ts'

/*
 * What requests carry, in Agent Lightning v0.3's names, as the store takes it. Fields beyond that version, which our
 * own client sends and others ignore, are marked with "Ours".
 */

export function readEnqueue(body: Fields): EnqueueRollout[] {
  return body.inners('rollouts').map(readRequest)
}

function readRequest(body: Fields): EnqueueRollout {
  const input = body.any('input')
  return {
    input,
    mode: body.maybeChoice('mode', MODES) ?? null,
    resourcesId: body.maybeText('resources_id') ?? null,
    config: readConfig(body.maybeInner('config')) ?? null,
    metadata: body.maybeObject('metadata') ?? null,
  }
}

function readConfig(config: Fields | undefined): RolloutConfig | undefined {
  if (config === undefined) return undefined
  const maxAttempts = config.whole('max_attempts', 1)
  if (maxAttempts < 1) {
    const msg = 'Input should be greater than or equal to 1'
    config.refuse('max_attempts', 'greater_than_equal', msg, maxAttempts)
  }
  return {
    timeoutSeconds: config.maybeNumber('timeout_seconds') ?? null,
    unresponsiveSeconds: config.maybeNumber('unresponsive_seconds') ?? null,
    maxAttempts,
    retryCondition: config.maybeChoices('retry_condition', ATTEMPT_STATUSES) ?? [],
  }
}

export function readDequeue(body: Fields): DequeueOptions {
  return {
    limit: body.whole('limit', 1),
    workerId: body.maybeText('worker_id') ?? null,
    // Ours.
    timeout: Math.max(0, body.maybeNumber('timeout') ?? 0),
  }
}

export function readStart(body: Fields): StartRollout {
  const { input, ...request } = readRequest(body)
  // Ours: the ids, the time and the status.
  const [rolloutId, attemptId] = [body.maybeText('rollout_id'), body.maybeText('attempt_id')]
  const startTime = body.maybeNumber('start_time')
  const status = body.maybeChoice('status', ['preparing', 'running'] as const)
  return {
    ...request,
    input,
    workerId: body.maybeText('worker_id') ?? null,
    ...(rolloutId !== undefined && { rolloutId }),
    ...(attemptId !== undefined && { attemptId }),
    ...(startTime !== undefined && { startTime }),
    ...(status !== undefined && { status }),
  }
}

export function readStartAttempt(body: Fields): { workerId: string | null; attemptId?: string } {
  // Ours.
  const attemptId = body.maybeText('attempt_id')
  return { workerId: body.maybeText('worker_id') ?? null, ...(attemptId !== undefined && { attemptId }) }
}

/** @throws HttpError 400 for null where the store keeps none */
export function readRolloutUpdate(body: Fields): RolloutUpdate {
  const mode = body.maybeChoice('mode', MODES) ?? null
  const resourcesId = body.maybeText('resources_id') ?? null
  const metadata = body.maybeObject('metadata') ?? null
  const status = body.maybeChoice('status', ROLLOUT_STATUSES)
  const config = readConfig(body.maybeInner('config'))
  mandatory(body, ['status', 'config'])
  return {
    ...(body.has('input') && { input: body.get('input') }),
    ...(body.has('mode') && { mode }),
    ...(body.has('resources_id') && { resourcesId }),
    ...(body.has('metadata') && { metadata }),
    ...(status !== undefined && { status }),
    ...(config !== undefined && { config }),
  }
}

/** @throws HttpError 400 for null */
export function readAttemptUpdate(body: Fields): AttemptUpdate {
  const status = body.maybeChoice('status', ATTEMPT_STATUSES)
  const workerId = body.maybeText('worker_id')
  const metadata = body.maybeObject('metadata')
  // Ours: "now" by this store's clock, and the time of the end.
  const lastHeartbeatTime =
    body.get('last_heartbeat_time') === 'now' ? 'now' : body.maybeNumber('last_heartbeat_time')
  const endTime = body.maybeNumber('end_time')
  mandatory(body, ['status', 'worker_id', 'last_heartbeat_time', 'metadata'])
  return {
    ...(status !== undefined && { status }),
    ...(workerId !== undefined && { workerId }),
    ...(lastHeartbeatTime !== undefined && { lastHeartbeatTime }),
    ...(metadata !== undefined && { metadata }),
    ...(endTime !== undefined && { endTime }),
  }
}

/** @throws HttpError 400 for null */
export function readWorkerUpdate(body: Fields): WorkerUpdate {
  const heartbeatStats = body.maybeObject('heartbeat_stats')
  mandatory(body, ['heartbeat_stats'])
  return heartbeatStats === undefined ? {} : { heartbeatStats }
}

function mandatory(body: Fields, names: readonly string[]): void {
  for (const name of names) if (body.has(name) && body.get(name) === null) throw notAllowedNull(name)
}

export function readWait(body: Fields): { rolloutIds: string[]; timeout: number | null } {
  body.list('rollout_ids')
  const timeout = body.maybeNumber('timeout')
  return {
    rolloutIds: body.maybeTexts('rollout_ids') ?? [],
    timeout: timeout === undefined ? null : Math.max(0, timeout),
  }
}

export function readNextSequenceId(body: Fields): { rolloutId: string; attemptId: string } {
  return { rolloutId: body.text('rollout_id'), attemptId: body.text('attempt_id') }
}

export function readResources(body: Fields): NamedResourcesInput {
  const resources = body
    .entries()
    .map(([name]): [string, ResourceInput] => [name, readResource(body.inner(name))])
  return Object.fromEntries(resources)
}

const RESOURCE_TYPES = ['llm', 'proxy_llm', 'prompt_template'] as const

function readResource(resource: Fields): ResourceInput {
  const given = resource.get('resource_type')
  const resourceType = RESOURCE_TYPES.find((known) => known === given)
  if (resourceType === 'prompt_template') {
    return { resourceType, template: resource.text('template'), engine: resource.choice('engine', ENGINES) }
  }
  if (resourceType === undefined) {
    const tags = RESOURCE_TYPES.map((known) => `'${known}'`).join(', ')
    const absent = given === undefined
    const msg = absent
      ? "Unable to extract tag using discriminator 'resource_type'"
      : `Input tag '${typeof given === 'string' ? given : JSON.stringify(given)}' found using 'resource_type' does not match any of the expected tags: ${tags}`
    resource.refuse(undefined, absent ? 'union_tag_not_found' : 'union_tag_invalid', msg, given)
    return { resourceType: 'prompt_template', template: '', engine: 'f-string' }
  }
  return {
    resourceType,
    endpoint: resource.text('endpoint'),
    model: resource.text('model'),
    apiKey: resource.maybeText('api_key') ?? null,
    samplingParameters: resource.maybeObject('sampling_parameters') ?? {},
  }
}
