import { setTimeout as sleep } from 'node:timers/promises'
import { AglError } from '@agl/core'
import { ATTEMPT_ID, type GatewayClient } from './client.ts'
import { environmentOf } from './environment.ts'
import { startProcess, type Command, type ProcessEnd, type ProcessOptions } from './process.ts'
import type { GatewayRollout, StatusPatch } from './types.ts'

/** What the rollouts of one controller share. */
export interface Workshop extends Pick<ProcessOptions, 'cwd' | 'output' | 'reaper' | 'env'> {
  client: GatewayClient
  command: Command | ((rollout: GatewayRollout) => Command)
  envMap: Readonly<Record<string, string>>
  agentURL: string
  /** Marks what this controller runs. */
  name: string | undefined
  /** Aborts when agents have to end at once. */
  killed: AbortSignal
  /** Aborts when the gateway is no longer waited for. */
  givenUp: AbortSignal
  warn: (message: string, cause?: unknown) => void
}

/** `taken`: another one has it, or it is no more. `refused`: the gateway did not take what we said of it. */
type Outcome = 'succeeded' | 'failed' | 'taken' | 'refused'

/** A rollout from its claim until its end is reported. */
export interface Attended {
  /** Whether the gateway knows that it runs here. */
  claimed: boolean
  /** Ends the agent of a rollout that somebody else has ended. */
  drop(): void
  outcome: Promise<Outcome>
}

const PAUSE_FIRST = 0.5
const PAUSE_MOST = 15
/** The most that a timer can wait. */
const MOST_SECONDS = 2 ** 31 / 1000 - 1

/** Runs one rollout's agent; the outcome never rejects. */
export function attend(shop: Workshop, rollout: GatewayRollout): Attended {
  const dropped = new AbortController()
  const attended: Attended = {
    claimed: false,
    drop: () => dropped.abort(),
    outcome: run().catch((error: unknown) => {
      shop.warn(`The rollout ${rollout.rolloutId} could not be attended to.`, error)
      return 'refused' as const
    }),
  }
  return attended

  async function run(): Promise<Outcome> {
    const { rolloutId } = rollout
    let prepared: Pick<ProcessOptions, 'command' | 'env'>
    try {
      prepared = prepare(shop, rollout)
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      await report(shop, rolloutId, failure(shop, rollout, why))
      return 'failed'
    }
    // The claim comes first: of two controllers the gateway lets one through, and no process can run for a rollout that
    // still looks free.
    if (!(await claim(shop, rollout))) return 'taken'
    attended.claimed = true
    const { succeeded, why } = await runProcess(shop, rollout, prepared, dropped.signal)
    if (dropped.signal.aborted) return 'failed'
    await report(
      shop,
      rolloutId,
      succeeded ? { state: 'succeeded', lastAttemptId: ATTEMPT_ID } : failure(shop, rollout, why),
    )
    return succeeded ? 'succeeded' : 'failed'
  }
}

/** The failure, in words that may hold what an agent has printed, but not the key. */
function failure({ client }: Workshop, { rolloutId, isTrain }: GatewayRollout, why: string): StatusPatch {
  const { AGL_KEY: key } = client.agentEnvironment({ rolloutId, isTrain })
  return { state: 'failed', errorMessage: key === '' ? why : why.replaceAll(key, '[key]') }
}

function prepare(
  { client, command, env, envMap, agentURL }: Workshop,
  rollout: GatewayRollout,
): Pick<ProcessOptions, 'command' | 'env'> {
  const own = rollout.config.local?.envMap ?? {}
  const asked = Object.keys(own).length > 0 ? own : envMap
  return {
    command: typeof command === 'function' ? command(rollout) : command,
    env: {
      ...env,
      ...client.agentEnvironment(rollout, agentURL),
      ...environmentOf(rollout.input, asked),
    },
  }
}

async function runProcess(
  shop: Workshop,
  { config: { timeoutSeconds } }: GatewayRollout,
  prepared: Pick<ProcessOptions, 'command' | 'env'>,
  dropped: AbortSignal,
): Promise<ProcessEnd> {
  if (shop.killed.aborted) return { succeeded: false, why: 'The controller was stopped.' }
  const agent = startProcess({ ...shop, ...prepared })
  let cut: string | undefined
  const end = (why: string): void => {
    if (agent.kill()) cut ??= why
  }
  const stop = (): void => end('The controller was stopped.')
  const drop = (): void => end('The rollout was ended by somebody else.')
  shop.killed.addEventListener('abort', stop)
  dropped.addEventListener('abort', drop)
  const late = (): void => end(`The agent took more than its ${timeoutSeconds} s and was killed.`)
  const limited = timeoutSeconds > 0 && timeoutSeconds < MOST_SECONDS
  const timer = limited ? setTimeout(late, timeoutSeconds * 1000) : undefined
  const ended = await agent.ended
  clearTimeout(timer)
  shop.killed.removeEventListener('abort', stop)
  dropped.removeEventListener('abort', drop)
  return cut === undefined ? ended : { succeeded: false, why: cut }
}

/** Whether the rollout is ours now. Where an answer was lost, the gateway is asked what has become of it. */
async function claim(shop: Workshop, { rolloutId, status }: GatewayRollout): Promise<boolean> {
  const { client, name } = shop
  const patch: StatusPatch = { state: 'running', lastAttemptId: ATTEMPT_ID }
  const isOurs = (now: GatewayRollout['status']): boolean =>
    now.state === 'running' && now.version === status.version + 1 && now.k8sJobName === (name ?? null)
  let unclear = false
  const claimed = await untilAnswered(shop, async () => {
    if (unclear) {
      const { rollout } = await client.get(rolloutId)
      if (rollout.status.state !== 'queuing') return isOurs(rollout.status)
    }
    unclear = true
    await client.patchStatus(rolloutId, name === undefined ? patch : { ...patch, k8sJobName: name })
    return true
  })
  return claimed === true
}

async function report(shop: Workshop, rolloutId: string, status: StatusPatch): Promise<void> {
  await untilAnswered(shop, () => shop.client.patchStatus(rolloutId, status))
}

/** What the gateway answers, however long it is away; undefined where the rollout is not there or not in that state any more. */
async function untilAnswered<Answer>(
  { givenUp, warn }: Workshop,
  ask: () => Promise<Answer>,
): Promise<Answer | undefined> {
  for (let pause = PAUSE_FIRST; ; pause = Math.min(pause * 2, PAUSE_MOST)) {
    try {
      return await ask()
    } catch (error) {
      if (AglError.is(error) && (error.code === 'conflict' || error.code === 'not_found')) return undefined
      if (!AglError.is(error) || error.code !== 'store_unavailable' || givenUp.aborted) throw error
      warn(`The gateway does not answer; it is asked again in ${pause} s.`, error)
      await sleep(pause * 1000, undefined, { signal: givenUp }).catch(() => undefined)
    }
  }
}
