import { AglError } from '@agl/core'
import { Http, toJSON } from '../http.ts'

export interface RewardOptions {
  /** For people. */
  message?: string
  /** Who gave it, such as `agent`. */
  source?: string
  /** For programs. */
  reason?: string
}

/** What an agent has that a controller of Agent Lightning 1.0 has started. */
export interface GatewayAgent {
  /** For an OpenAI client: the model that is being trained, by way of the gateway, which keeps what is said. */
  baseURL: string
  /** For an OpenAI client; some text where the gateway has no key. */
  apiKey: string
  /** Whose run this is; undefined where the URL of the events does not say so. */
  rolloutId: string | undefined
  attemptId: string | undefined
  /**
   * An environment variable, by default the one that our controller puts the rollout's input into.
   *
   * @throws AglError `config_invalid` where it is not set
   */
  text(name?: string): string
  /**
   * The same, parsed. Everything but strings is JSON there; that it is of type `Value` is the caller's word.
   *
   * @throws AglError `config_invalid` where it is not set or no JSON
   */
  json<Value = unknown>(name?: string): Value
  /**
   * Tells how well it went: true is 1, false is 0. The last one counts.
   *
   * @throws AglError `value_invalid` for NaN and infinities, or as `sendEvent`
   */
  sendReward(value: number | boolean, options?: RewardOptions): Promise<void>
  /**
   * Adds an event of any type to the run; events arrive in the order in which they were sent.
   *
   * @throws AglError `store_unavailable`, `not_found` where the rollout was deleted, `value_unserializable`
   */
  sendEvent(eventType: string, data?: Readonly<Record<string, unknown>>): Promise<void>
}

/** An agent may return its reward. */
export type GatewayResult = void | null | undefined | number | boolean

/** Holds the rollout's input where the rollout has no `env_map` of its own. */
export const INPUT_VARIABLE = 'AGL_INPUT'

/**
 * Runs `fn` as the agent of this process, which a controller has started. Resolves when all that it sent has arrived, and
 * rejects as `fn` does: leave that uncaught, and the exit code tells the controller.
 *
 * @param env with `AGL_OPENAI_BASE_URL`, `AGL_EVENT_URL`, `AGL_KEY`
 * @throws AglError `config_invalid` where one is missing
 */
export async function gatewayAgent(
  fn: (agent: GatewayAgent) => GatewayResult | Promise<GatewayResult>,
  env: Readonly<Record<string, string | undefined>> = process.env,
): Promise<void> {
  const sending = new Set<Promise<void>>()
  const agent = agentOf(env, sending)
  try {
    const result = await fn(agent)
    if (result !== undefined && result !== null) await agent.sendReward(result)
  } finally {
    // Those that nobody has waited for; if one fails, Node ends the process for a rejection that nobody has handled.
    await Promise.allSettled(sending)
  }
}

function agentOf(
  env: Readonly<Record<string, string | undefined>>,
  sending: Set<Promise<void>>,
): GatewayAgent {
  const baseURL = required(env, 'AGL_OPENAI_BASE_URL')
  const eventURL = required(env, 'AGL_EVENT_URL')
  const key = env['AGL_KEY'] ?? ''
  const http = new Http('gateway', { url: eventURL, key })
  const [, rolloutId, attemptId] = /\/rollouts\/([^/]+)\/attempt\/([^/]+)\/events$/.exec(http.url) ?? []
  let before = Promise.resolve()
  const sendEvent: GatewayAgent['sendEvent'] = async (eventType, data = {}) => {
    // Now: `data` may be another when its turn has come.
    const json = toJSON({ event_type: eventType, data })
    const send = (): Promise<unknown> => http.send({ method: 'POST', path: '', json, repeatable: false })
    // One after the other: the last reward counts, and it is not to be overtaken by one that nobody has waited for.
    const sent = before.then(send).then(() => undefined)
    sending.add(sent)
    const forget = (): void => void sending.delete(sent)
    before = sent.then(forget, forget)
    await sent
  }
  return {
    baseURL,
    apiKey: key === '' ? 'none' : key,
    rolloutId: rolloutId && decodeURIComponent(rolloutId),
    attemptId: attemptId && decodeURIComponent(attemptId),
    text: (name = INPUT_VARIABLE) => required(env, name, true),
    json<Value>(name = INPUT_VARIABLE): Value {
      const text = required(env, name, true)
      try {
        return JSON.parse(text)
      } catch (cause) {
        throw new AglError('config_invalid', `The variable ${name} is no JSON; read it with text().`, {
          cause,
        })
      }
    },
    sendEvent,
    sendReward: async (value, options = {}) => sendEvent('reward', { ...options, value: rewardOf(value) }),
  }
}

function rewardOf(value: unknown): number {
  if (typeof value === 'boolean') return value ? 1 : 0
  if (typeof value === 'number' && Number.isFinite(value)) return value
  const what = typeof value === 'number' ? String(value) : `a value of type ${typeof value}`
  throw new AglError('value_invalid', `A reward is a finite number or a boolean, and not ${what}.`)
}

function required(
  env: Readonly<Record<string, string | undefined>>,
  name: string,
  mayBeEmpty = false,
): string {
  const value = env[name]
  if (value !== undefined && (value !== '' || mayBeEmpty)) return value
  throw new AglError(
    'config_invalid',
    `The environment variable ${name} is not set; a controller of the gateway sets it when it starts this program.`,
  )
}
