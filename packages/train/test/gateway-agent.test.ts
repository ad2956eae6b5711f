import { describe, expect, it, onTestFinished } from 'vitest'
import { gatewayAgent, GatewayClient, type GatewayAgent, type TripletEvent } from '@agl/train/gateway'
import { startGatewayServer, startRelay, type Relay } from './gateway-server.ts'

interface Setting {
  client: GatewayClient
  relay: Relay
  env: Record<string, string>
  events(): Promise<TripletEvent[]>
}

/** A rollout, and the environment that a controller would give its agent. */
async function setting(): Promise<Setting> {
  const server = await startGatewayServer({ key: 'a-key' })
  const relay = await startRelay(server.url)
  onTestFinished(async () => {
    await relay[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
  })
  const client = new GatewayClient({ url: relay.url, key: 'a-key' })
  await client.enqueue([{ rolloutId: 'r 1', input: 1 }])
  const env = client.agentEnvironment({ rolloutId: 'r 1', isTrain: false })
  return { client, relay, env, events: () => client.events('r 1', { format: 'triplet' }) }
}

async function rewards(events: Promise<TripletEvent[]>): Promise<(number | null)[]> {
  return (await events).flatMap((event) => (event.kind === 'reward' ? [event.data.value] : []))
}

describe('an agent for the gateway', () => {
  it('gets the model and whose run it is from the environment', async () => {
    const { relay, env } = await setting()
    let seen: Partial<GatewayAgent> = {}
    await gatewayAgent((agent) => void (seen = agent), env)
    expect(seen).toMatchObject({
      baseURL: `${relay.url}/proxy/rollout/r%201/attempt/0/mode/val/openai/v1`,
      apiKey: 'a-key',
      rolloutId: 'r 1',
      attemptId: '0',
    })
    await gatewayAgent((agent) => void (seen = agent), { ...env, AGL_KEY: '' })
    expect(seen.apiKey).toBe('none')
  })

  it.each(['AGL_OPENAI_BASE_URL', 'AGL_EVENT_URL'])('says that %s is missing', async (name) => {
    const { env } = await setting()
    await expect(gatewayAgent(() => 1, { ...env, [name]: undefined })).rejects.toMatchObject({
      code: 'config_invalid',
      message: `The environment variable ${name} is not set; a controller of the gateway sets it when it starts this program.`,
    })
  })

  it('reads its input as text and as JSON', async () => {
    const { env } = await setting()
    const given = { ...env, AGL_INPUT: '{"a":[1]}', QUESTION: 'why?', EMPTY: '' }
    await gatewayAgent((agent) => {
      expect(agent.json<{ a: number[] }>().a).toEqual([1])
      expect(agent.text()).toBe('{"a":[1]}')
      expect(agent.text('QUESTION')).toBe('why?')
      expect(agent.text('EMPTY')).toBe('')
      expect(() => agent.json('QUESTION')).toThrow(expect.objectContaining({ code: 'config_invalid' }))
      expect(() => agent.text('OTHER')).toThrow('The environment variable OTHER is not set')
    }, given)
  })

  it('sends rewards as numbers, and what it returns', async () => {
    const { client, env, events } = await setting()
    await gatewayAgent(async (agent) => {
      await agent.sendReward(0.25, { message: 'm', source: 'agent', reason: 'r' })
      await agent.sendReward(true)
      await agent.sendReward(false)
      return true
    }, env)
    expect(await rewards(events())).toEqual([0.25, 1, 0, 1])
    expect((await client.events('r 1'))[0]?.data).toEqual({
      value: 0.25,
      message: 'm',
      source: 'agent',
      reason: 'r',
    })
    await gatewayAgent(() => 0, env)
    await gatewayAgent(() => undefined, env)
    expect(await rewards(events())).toEqual([0.25, 1, 0, 1, 0])
  })

  it.each([Number.NaN, Number.POSITIVE_INFINITY, '1', {}])('refuses the reward %o', async (value) => {
    const { env, events } = await setting()
    const wrong: number = JSON.parse('0', () => value)
    for (const agent of [() => wrong, ({ sendReward }: GatewayAgent) => sendReward(wrong)])
      await expect(gatewayAgent(agent, env)).rejects.toMatchObject({ code: 'value_invalid' })
    expect(await events()).toEqual([])
  })

  it('ends when all it sent has arrived, in order, whether it waited or not', async () => {
    const { env, events } = await setting()
    await gatewayAgent(({ sendEvent }) => {
      const step = { i: 0 }
      for (; step.i < 20; step.i++) void sendEvent('step', step)
    }, env)
    expect((await events()).map(({ data }) => data)).toEqual(Array.from({ length: 20 }, (_, i) => ({ i })))
    const failing = gatewayAgent(({ sendEvent }) => {
      void sendEvent('last words')
      throw new Error('no')
    }, env)
    await expect(failing).rejects.toThrow('no')
    expect(await events()).toHaveLength(21)
  })

  it('fails when a reward does not arrive', async () => {
    const { relay, env, events } = await setting()
    relay.faults.push('busy')
    await expect(gatewayAgent(() => 1, env)).rejects.toMatchObject({ code: 'store_unavailable' })
    relay.faults.push('busy')
    await expect(gatewayAgent(({ sendReward }) => sendReward(1), env)).rejects.toMatchObject({
      code: 'store_unavailable',
    })
    expect(await events()).toEqual([])
  })
})
