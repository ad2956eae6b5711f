import { Fields, isObject } from '../json.ts'
import type {
  EnqueueInput,
  GatewayEvent,
  GatewayModel,
  GatewayRollout,
  GatewayState,
  ProxyState,
  StatusPatch,
  TerminalPage,
  TripletEvent,
} from './types.ts'

/*
 * Records in the JSON of Agent Lightning 1.0, to and fro.
 */

const STATES: readonly GatewayState[] = ['queuing', 'running', 'succeeded', 'failed']

export function rolloutFromJSON(value: unknown): GatewayRollout {
  const json = new Fields('rollout', value)
  const config = new Fields('rollout', json.record('config'))
  const status = new Fields('rollout', json.record('status'))
  const local = config.optionalRecord('local')
  const k8s = config.optionalRecord('k8s')
  return {
    rolloutId: json.text('rollout_id'),
    input: json.object['input'],
    isTrain: json.boolean('is_train'),
    config: {
      timeoutSeconds: config.number('timeout_seconds'),
      local: local === null ? null : localFromJSON(new Fields('rollout', local)),
      k8s: k8s === null ? null : { jobTemplate: new Fields('rollout', k8s).optionalText('job_template') },
    },
    metadata: json.optionalRecord('metadata') ?? {},
    status: {
      state: status.oneOf('state', STATES),
      k8sJobName: status.optionalText('k8s_job_name'),
      lastAttemptId: status.optionalText('last_attempt_id'),
      errorMessage: status.optionalText('error_message'),
      version: status.number('version'),
      createdAt: status.number('created_at'),
      updatedAt: status.number('updated_at'),
    },
  }
}

function localFromJSON(json: Fields): NonNullable<GatewayRollout['config']['local']> {
  const map = new Fields('env_map', json.optionalRecord('env_map') ?? {})
  return {
    agentClass: json.optionalText('agent_class'),
    envMap: Object.fromEntries(Object.keys(map.object).map((name) => [name, map.text(name)])),
  }
}

/** Without what was not given: the gateway has its own defaults. */
export function enqueueToJSON(rollout: EnqueueInput & { rolloutId: string }): unknown {
  const { input = null, isTrain, config, metadata, rolloutId } = rollout
  return {
    // An absent input would be refused; JSON has no undefined.
    input,
    is_train: isTrain,
    config: config && {
      timeout_seconds: config.timeoutSeconds,
      local: config.local && { agent_class: config.local.agentClass, env_map: config.local.envMap },
      k8s: config.k8s && { job_template: config.k8s.jobTemplate },
    },
    metadata,
    rollout_id: rolloutId,
  }
}

export function statusToJSON({ state, k8sJobName, lastAttemptId, errorMessage }: StatusPatch): unknown {
  return {
    state,
    k8s_job_name: k8sJobName,
    last_attempt_id: lastAttemptId,
    error_message: errorMessage,
  }
}

export function terminalFromJSON(value: unknown): TerminalPage {
  const json = new Fields('page', value)
  return {
    items: json.list('items', (item) => {
      const one = new Fields('rollout', item)
      return {
        rolloutId: one.text('rollout_id'),
        state: one.oneOf('state', STATES),
        dataId: one.text('data_id'),
        isTrain: one.boolean('is_train'),
      }
    }),
    nextAfter: json.number('next_after'),
    totalTerminal: json.number('total_terminal'),
  }
}

export function eventFromJSON(value: unknown): GatewayEvent {
  const json = new Fields('event', value)
  return {
    eventType: json.text('event_type'),
    rolloutId: json.text('rollout_id'),
    attemptId: json.text('attempt_id'),
    timestamp: json.number('timestamp'),
    data: json.record('data'),
  }
}

export function tripletFromJSON(value: unknown): TripletEvent {
  const { data, ...event } = eventFromJSON(value)
  if (event.eventType === 'reward') {
    const reward = { value: numberOr(data['value']), source: textOr(data['source']) }
    return { ...event, kind: 'reward', data: { ...reward, reason: textOr(data['reason']) } }
  }
  if (event.eventType !== 'model_request') return { ...event, kind: 'other', data }
  const server = isObject(data['server']) ? data['server'] : {}
  const logProbs = data['response_log_probs']
  return {
    ...event,
    kind: 'model_request',
    data: {
      promptTokenIds: idsOf(data['prompt_token_ids']),
      responseTokenIds: idsOf(data['response_token_ids']),
      responseLogProbs: isNumbers(logProbs) ? logProbs : null,
      server: { model: textOr(server['model']), version: numberOr(server['version']) },
      httpStatus: numberOr(data['http_status']),
      status: textOr(data['status']),
      ...('error' in data ? { error: data['error'] } : {}),
    },
  }
}

export function modelFromJSON(value: unknown): Required<GatewayModel> {
  const json = new Fields('model', value)
  return { model: json.text('model'), endpoint: json.text('endpoint'), version: json.number('version') }
}

export function proxyStateFromJSON(value: unknown): ProxyState {
  const json = new Fields('state of the proxy', value)
  return {
    paused: json.boolean('paused'),
    retryAfterSeconds: json.number('retry_after_seconds'),
    reason: json.optionalText('reason'),
    inflight: json.number('inflight'),
  }
}

/** The gateway passes on whatever a model server put there. */
function idsOf(value: unknown): number[] {
  return isNumbers(value) && value.every(Number.isInteger) ? value : []
}

function isNumbers(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'number')
}

function numberOr(value: unknown): number | null {
  return typeof value === 'number' ? value : null
}

function textOr(value: unknown): string | null {
  return typeof value === 'string' ? value : null
}
