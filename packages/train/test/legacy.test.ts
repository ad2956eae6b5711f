import { createServer, request } from 'node:http'
import { describe, expect, it, onTestFinished } from 'vitest'
import { LegacyClient, serveLegacy, type LegacyServer, type ServeLegacyOptions } from '@agl/train/legacy'

async function setting(
  options: ServeLegacyOptions = {},
): Promise<{ server: LegacyServer; client: LegacyClient }> {
  const server = await serveLegacy({ port: 0, ...options })
  onTestFinished(() => server.close())
  return { server, client: new LegacyClient({ url: server.url, pollInterval: 0.02 }) }
}

async function answerOf(response: Promise<Response>): Promise<{ status: number; body: unknown }> {
  const { status, text } = await response.then(async (given) => ({
    status: given.status,
    text: await given.text(),
  }))
  return { status, body: JSON.parse(text) }
}

function post(url: string, body: string): Promise<{ status: number; body: unknown }> {
  return answerOf(fetch(`${url}/rollout`, { method: 'POST', body }))
}

describe('the legacy protocol', () => {
  it('gives out tasks in order, and takes what came of them', async () => {
    const { server, client } = await setting()
    const waiting = client.nextTask()
    const first = server.queueTask({ q: 'why? ✓' }, { mode: 'val', metadata: { n: 1 } })
    const second = server.queueTask(null)
    const task = await waiting
    expect(task).toEqual({
      rolloutId: first,
      input: { q: 'why? ✓' },
      mode: 'val',
      resourcesId: null,
      createTime: expect.any(Number),
      lastClaimTime: expect.any(Number),
      numClaims: 1,
      metadata: { n: 1 },
    })
    expect(first).toMatch(/^rollout-[\da-f-]{36}$/)
    expect(await client.nextTask()).toMatchObject({ rolloutId: second, input: null, mode: null })
    const given = {
      rolloutId: first,
      ...(task === undefined ? {} : { task }),
      finalReward: 0.5,
      triplets: [{ prompt: { token_ids: [1] }, response: { token_ids: [2] }, reward: 1, metadata: { a: 1 } }],
      trace: [{ name: 'span' }],
      logs: ['one'],
      metadata: { worker: 'w' },
    }
    const arriving = server.waitForRollout(first)
    await client.postRollout(given)
    expect(await arriving).toEqual(given)
    expect(server.takeRollout(first)).toBeUndefined()
    await client.postRollout({ rolloutId: second })
    expect(server.takeRollouts()).toEqual([{ rolloutId: second, metadata: {} }])
    expect(server.takeRollouts()).toEqual([])
    expect(await server.waitForRollout(second, { timeout: 0.01 })).toBeUndefined()
  })

  it('queues only what JSON keeps, and nothing as null', async () => {
    const { server, client } = await setting()
    for (const n of [10n, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => server.queueTask({ n })).toThrow('cannot be JSON')
      const samplingParameters = { temperature: n }
      const resources = {
        m: { resourceType: 'llm' as const, endpoint: 'http://h/v1', model: 'm', samplingParameters },
      }
      expect(() => server.updateResources(resources)).toThrow('cannot be JSON')
    }
    const rolloutId = server.queueTask(undefined)
    expect(await client.nextTask()).toMatchObject({ rolloutId, input: null })
    expect(await client.latestResources()).toBeUndefined()
  })

  it('gives out again what nobody answers, until somebody does', async () => {
    const { server, client } = await setting({ taskTimeout: 0.1 })
    const rolloutId = server.queueTask('hard')
    await client.nextTask()
    expect(await client.nextTask()).toMatchObject({ rolloutId, numClaims: 2 })
    await client.postRollout({ rolloutId })
    server.queueTask('next')
    expect(await client.nextTask()).toMatchObject({ input: 'next' })
  })

  it('waits for tasks until its signal aborts, past a server that is away', async () => {
    const first = await serveLegacy({ port: 0 })
    const port = Number(new URL(first.url).port)
    await first.close()
    const client = new LegacyClient({ url: first.url, pollInterval: 0.02 })
    const waiting = client.nextTask()
    const { server } = await setting({ port })
    server.queueTask(7)
    expect(await waiting).toMatchObject({ input: 7 })
    const stop = new AbortController()
    const endless = client.nextTask({ signal: stop.signal })
    stop.abort()
    expect(await endless).toBeUndefined()
  })

  it('gives out resources under ids, and the latest', async () => {
    const { server, client } = await setting()
    expect(await client.latestResources()).toBeUndefined()
    expect(await client.resources('none')).toBeUndefined()
    const id = server.updateResources({
      main: { resourceType: 'llm', endpoint: 'http://m/v1', model: 'm', samplingParameters: { top_p: 1 } },
      proxied: { resourceType: 'proxy_llm', endpoint: 'http://p/v1', model: 'p', apiKey: 'k' },
      prompt: { resourceType: 'prompt_template', template: '{x}', engine: 'f-string' },
    })
    const last = server.updateResources({})
    expect(await client.resources(id)).toEqual({
      resourcesId: id,
      createTime: expect.any(Number),
      updateTime: expect.any(Number),
      version: 1,
      resources: {
        main: {
          resourceType: 'llm',
          endpoint: 'http://m/v1',
          model: 'm',
          apiKey: null,
          samplingParameters: { top_p: 1 },
        },
        proxied: {
          resourceType: 'proxy_llm',
          endpoint: 'http://p/v1',
          model: 'p',
          apiKey: 'k',
          samplingParameters: {},
        },
        prompt: { resourceType: 'prompt_template', template: '{x}', engine: 'f-string' },
      },
    })
    expect(await client.latestResources()).toMatchObject({ resourcesId: last, resources: {} })
    await server.close()
    expect((await client.resources(id))?.resourcesId).toBe(id)
    await expect(client.latestResources()).rejects.toMatchObject({ code: 'store_unavailable' })
  })

  it('answers in the JSON of the protocol', async () => {
    const { server } = await setting()
    expect(await answerOf(fetch(`${server.url}/task`))).toEqual({
      status: 200,
      body: { is_available: false, task: null },
    })
    const rolloutId = server.queueTask([1])
    expect(await answerOf(fetch(`${server.url}/task`))).toEqual({
      status: 200,
      body: {
        is_available: true,
        task: {
          rollout_id: rolloutId,
          input: [1],
          mode: null,
          resources_id: null,
          create_time: expect.any(Number),
          last_claim_time: expect.any(Number),
          num_claims: 1,
          metadata: {},
        },
      },
    })
    expect(await post(server.url, JSON.stringify({ rollout_id: rolloutId }))).toEqual({
      status: 200,
      body: { status: 'ok', message: `Rollout ${rolloutId} received and stored.`, data: null },
    })
    expect(await answerOf(fetch(`${server.url}/resources/latest`))).toEqual({
      status: 404,
      body: { detail: 'No resources have been set on the server.' },
    })
    expect(await answerOf(fetch(`${server.url}/resources/a%20b`))).toEqual({
      status: 404,
      body: { detail: "Resource ID 'a b' not found." },
    })
  })

  it.each([
    ['', 422],
    ['{', 422],
    ['[]', 422],
    ['{"rollout_id":7}', 422],
    ['{"rollout_id":"r","final_reward":"much"}', 422],
    ['{"rollout_id":"r","triplets":[1]}', 422],
    ['{"rollout_id":"r","logs":[1]}', 422],
    [`{"rollout_id":"r","logs":["${'x'.repeat(2000)}"]}`, 413],
  ])('refuses what is no rollout, %.40s', async (body, status) => {
    const { server } = await setting({ maxBody: 1000 })
    expect(await post(server.url, body)).toMatchObject({ status, body: { detail: expect.any(String) } })
    expect(server.takeRollouts()).toEqual([])
  })

  it.each([{ origin: 'http://evil.example' }, { 'sec-fetch-site': 'same-origin' }])(
    'does not serve web pages, %o',
    async (headers) => {
      const { server } = await setting()
      const asked = new Promise<number | undefined>((resolve, reject) => {
        request(`${server.url}/task`, { headers }, (response) => resolve(response.resume().statusCode))
          .on('error', reject)
          .end()
      })
      expect(await asked).toBe(403)
    },
  )

  it('refuses other paths and methods, and serves on', async () => {
    const { server, client } = await setting()
    const status = async (path: string, method = 'GET'): Promise<number> =>
      (await fetch(`${server.url}${path}`, { method })).status
    expect(await status('/')).toBe(404)
    expect(await status('/resources')).toBe(404)
    expect(await status('/task', 'POST')).toBe(405)
    expect(await status('/rollout')).toBe(405)
    expect(await status('/resources/%ff')).toBe(422)
    server.queueTask(1)
    expect(await client.nextTask()).toMatchObject({ input: 1 })
    const { port } = new URL(server.url)
    await expect(serveLegacy({ port: Number(port) })).rejects.toMatchObject({ code: 'store_unavailable' })
  })

  it('reads resources of servers that know no versions', async () => {
    const resources = { main: { resource_type: 'llm', endpoint: 'http://m/v1', model: 'm' } }
    const old = createServer((_, response) =>
      response.end(JSON.stringify({ resources_id: 'old', resources })),
    )
    await new Promise<void>((resolve) => old.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void old.close())
    const address = old.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const client = new LegacyClient({ url: `http://127.0.0.1:${port}` })
    expect(await client.latestResources()).toEqual({
      resourcesId: 'old',
      resources: {
        main: {
          resourceType: 'llm',
          endpoint: 'http://m/v1',
          model: 'm',
          apiKey: null,
          samplingParameters: {},
        },
      },
    })
  })
})
