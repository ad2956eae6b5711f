import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { LegacyClient, serveLegacy, type LegacyServer } from '@agl/train/legacy'
import { startPython, type PythonProgram } from '../src/python.ts'

/** The time that making the environment may take. */
const ENVIRONMENT = 20 * 60_000
const TRIPLET = { prompt: { token_ids: [1] }, response: { token_ids: [2] }, reward: 1, metadata: { a: 1 } }

function textOf(value: unknown): string {
  expect(value).toBeTypeOf('string')
  return String(value)
}

describe('our client with the real legacy server', () => {
  let python: PythonProgram
  let client: LegacyClient

  beforeAll(async () => {
    python = await startPython('agentlightning', 'legacy.py', ['server'])
    const { url } = { url: '', ...(python.hello as object) }
    client = new LegacyClient({ url, pollInterval: 0.1 })
  }, ENVIRONMENT)

  afterAll(() => python?.[Symbol.asyncDispose]())

  it('takes tasks, again after the time-out, and gives back what came of them', async () => {
    const rolloutId = textOf(await python.ask({ do: 'queue_task', input: { q: 'why? ✓' } }))
    expect(await client.nextTask()).toMatchObject({ rolloutId, numClaims: 1 })
    const task = await client.nextTask()
    expect(task).toEqual({
      rolloutId,
      input: { q: 'why? ✓' },
      mode: 'train',
      resourcesId: null,
      createTime: expect.any(Number),
      lastClaimTime: expect.any(Number),
      numClaims: 2,
      metadata: { n: 1 },
    })
    await client.postRollout({
      rolloutId,
      ...(task === undefined ? {} : { task }),
      finalReward: 0.5,
      triplets: [TRIPLET, { prompt: 'p', response: 'r' }],
      trace: [{ name: 'span' }],
      logs: ['one'],
      metadata: { worker: 'w' },
    })
    expect(await python.ask({ do: 'rollout', id: rolloutId })).toMatchObject({
      rollout_id: rolloutId,
      task: { rollout_id: rolloutId, input: { q: 'why? ✓' }, num_claims: 2 },
      final_reward: 0.5,
      triplets: [TRIPLET, { prompt: 'p', response: 'r', reward: null, metadata: {} }],
      trace: [{ name: 'span' }],
      logs: ['one'],
      metadata: { worker: 'w' },
    })
  }, 30_000)

  it('reads resources', async () => {
    expect(await client.latestResources()).toBeUndefined()
    const id = textOf(await python.ask({ do: 'update_resources' }))
    const expected = {
      resourcesId: id,
      version: 1,
      resources: {
        main: {
          resourceType: 'llm',
          endpoint: 'http://m/v1',
          model: 'm',
          apiKey: null,
          samplingParameters: { top_p: 0.5 },
        },
        prompt: { resourceType: 'prompt_template', template: '{x}', engine: 'f-string' },
      },
    }
    expect(await client.latestResources()).toMatchObject(expected)
    expect(await client.resources(id)).toMatchObject(expected)
    expect(await client.resources('none')).toBeUndefined()
  }, 30_000)
})

describe('our legacy server with the real client', () => {
  let python: PythonProgram
  let server: LegacyServer

  beforeAll(async () => {
    server = await serveLegacy({ port: 0, taskTimeout: 0.5 })
    python = await startPython('agentlightning', 'legacy.py', ['client', server.url])
  }, ENVIRONMENT)

  afterAll(async () => {
    await python?.[Symbol.asyncDispose]()
    await server?.close()
  })

  it('gives out tasks, again after the time-out, and takes what came of them', async () => {
    const rolloutId = server.queueTask({ q: 'why? ✓' }, { mode: 'test', metadata: { n: 1 } })
    expect(await python.ask({ do: 'task' })).toMatchObject({ rollout_id: rolloutId, num_claims: 1 })
    const task = await python.ask({ do: 'task' })
    expect(task).toEqual({
      rollout_id: rolloutId,
      input: { q: 'why? ✓' },
      mode: 'test',
      resources_id: null,
      create_time: expect.any(Number),
      last_claim_time: expect.any(Number),
      num_claims: 2,
      metadata: { n: 1 },
    })
    const rollout = { rollout_id: rolloutId, task, final_reward: 0.5, triplets: [TRIPLET], logs: ['one'] }
    expect(await python.ask({ do: 'post', rollout })).toEqual({
      status: 'ok',
      message: `Rollout ${rolloutId} received and stored.`,
      data: null,
    })
    expect(await server.waitForRollout(rolloutId)).toMatchObject({
      rolloutId,
      task: { rolloutId, numClaims: 2 },
      finalReward: 0.5,
      triplets: [TRIPLET],
      logs: ['one'],
    })
  }, 30_000)

  it('gives out resources', async () => {
    expect(await python.ask({ do: 'latest' })).toBeNull()
    const id = server.updateResources({
      main: { resourceType: 'proxy_llm', endpoint: 'http://m/v1', model: 'm' },
      prompt: { resourceType: 'prompt_template', template: '{x}', engine: 'f-string' },
    })
    const expected = {
      resources_id: id,
      version: 1,
      resources: {
        main: { resource_type: 'proxy_llm', endpoint: 'http://m/v1', model: 'm', sampling_parameters: {} },
        prompt: { resource_type: 'prompt_template', template: '{x}', engine: 'f-string' },
      },
    }
    expect(await python.ask({ do: 'latest' })).toMatchObject(expected)
    expect(await python.ask({ do: 'resources', id })).toMatchObject(expected)
    expect(await python.ask({ do: 'resources', id: 'none' })).toBeNull()
  }, 30_000)
})
