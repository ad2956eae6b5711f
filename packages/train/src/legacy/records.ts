import { AglError } from '@agl/core'
import type { NamedResources, NamedResourcesInput, Resource, ResourceInput, RolloutMode } from '@agl/store'
import { Fields } from '../json.ts'
import type { LegacyResources, LegacyRollout, LegacyTask, LegacyTriplet } from './types.ts'

/*
 * Records in the JSON of Agent Lightning before its store, to and fro.
 */

const MODES: readonly RolloutMode[] = ['train', 'val', 'test']
const ENGINES = ['jinja', 'f-string', 'poml'] as const

export function taskToJSON(task: LegacyTask): Record<string, unknown> {
  return {
    rollout_id: task.rolloutId,
    input: task.input,
    mode: task.mode,
    resources_id: task.resourcesId,
    create_time: task.createTime,
    last_claim_time: task.lastClaimTime,
    num_claims: task.numClaims,
    metadata: task.metadata,
  }
}

export function taskFromJSON(value: unknown): LegacyTask {
  const json = new Fields('task', value)
  return {
    rolloutId: json.text('rollout_id'),
    input: json.object['input'],
    mode: json.optionalText('mode') === null ? null : json.oneOf('mode', MODES),
    resourcesId: json.optionalText('resources_id'),
    createTime: json.optionalNumber('create_time'),
    lastClaimTime: json.optionalNumber('last_claim_time'),
    numClaims: json.optionalNumber('num_claims'),
    metadata: json.optionalRecord('metadata') ?? {},
  }
}

export function rolloutToJSON(rollout: LegacyRollout): Record<string, unknown> {
  return {
    rollout_id: rollout.rolloutId,
    task: rollout.task === undefined ? null : taskToJSON(rollout.task),
    final_reward: rollout.finalReward ?? null,
    triplets: rollout.triplets ?? null,
    trace: rollout.trace ?? null,
    logs: rollout.logs ?? null,
    metadata: rollout.metadata ?? {},
  }
}

export function rolloutFromJSON(value: unknown): LegacyRollout {
  const json = new Fields('rollout', value)
  const reward = json.optionalNumber('final_reward')
  const has = (name: string): boolean => (json.object[name] ?? null) !== null
  return {
    rolloutId: json.text('rollout_id'),
    ...(has('task') ? { task: taskFromJSON(json.object['task']) } : {}),
    ...(reward === null ? {} : { finalReward: reward }),
    ...(has('triplets') ? { triplets: json.list('triplets', tripletFromJSON) } : {}),
    ...(has('trace') ? { trace: json.list('trace', (span) => new Fields('span', span).object) } : {}),
    ...(has('logs') ? { logs: json.list('logs', (line) => new Fields('log', { line }).text('line')) } : {}),
    metadata: json.optionalRecord('metadata') ?? {},
  }
}

function tripletFromJSON(value: unknown): LegacyTriplet {
  const json = new Fields('triplet', value)
  return {
    prompt: json.object['prompt'],
    response: json.object['response'],
    reward: json.optionalNumber('reward'),
    metadata: json.optionalRecord('metadata') ?? {},
  }
}

export function resourcesToJSON(update: LegacyResources): Record<string, unknown> {
  const { resourcesId, resources, createTime, updateTime, version } = update
  const entries = Object.entries(resources).map(([name, resource]) => [name, resourceToJSON(resource)])
  return {
    resources_id: resourcesId,
    create_time: createTime,
    update_time: updateTime,
    version,
    resources: Object.fromEntries(entries),
  }
}

export function resourcesFromJSON(value: unknown): LegacyResources {
  const json = new Fields('resources', value)
  const entries = Object.entries(json.record('resources')).map(([name, one]) => [name, resourceFromJSON(one)])
  const createTime = json.optionalNumber('create_time')
  const updateTime = json.optionalNumber('update_time')
  const version = json.optionalNumber('version')
  return {
    resourcesId: json.text('resources_id'),
    resources: Object.fromEntries(entries),
    ...(createTime === null ? {} : { createTime }),
    ...(updateTime === null ? {} : { updateTime }),
    ...(version === null ? {} : { version }),
  }
}

/** With the values of what was left out. */
export function namedResources(resources: NamedResourcesInput): NamedResources {
  const whole = (resource: ResourceInput): Resource =>
    resource.resourceType === 'prompt_template'
      ? resource
      : {
          ...resource,
          apiKey: resource.apiKey ?? null,
          samplingParameters: resource.samplingParameters ?? {},
        }
  return Object.fromEntries(Object.entries(resources).map(([name, resource]) => [name, whole(resource)]))
}

function resourceToJSON(resource: Resource): Record<string, unknown> {
  const { resourceType } = resource
  if (resourceType === 'prompt_template')
    return { resource_type: resourceType, template: resource.template, engine: resource.engine }
  return {
    resource_type: resourceType,
    endpoint: resource.endpoint,
    model: resource.model,
    api_key: resource.apiKey,
    sampling_parameters: resource.samplingParameters,
  }
}

function resourceFromJSON(value: unknown): Resource {
  const json = new Fields('resource', value)
  const resourceType = json.text('resource_type')
  if (resourceType === 'prompt_template')
    return { resourceType, template: json.text('template'), engine: json.oneOf('engine', ENGINES) }
  if (resourceType !== 'llm' && resourceType !== 'proxy_llm')
    throw new AglError('body_invalid', `A resource of type "${resourceType}" is not known here.`)
  return {
    resourceType,
    endpoint: json.text('endpoint'),
    model: json.text('model'),
    apiKey: json.optionalText('api_key'),
    samplingParameters: json.optionalRecord('sampling_parameters') ?? {},
  }
}
