import { spanToJSON } from '@agl/core'
import { describe, expect, it } from 'vitest'
import { type Served, served } from './served.ts'
import { llmSpan, stored } from './spans.ts'

const CONFIG = { timeout_seconds: null, unresponsive_seconds: null, max_attempts: 1, retry_condition: [] }

async function started(server: Served): Promise<{ rolloutId: string; attemptId: string }> {
  const { rolloutId, attempt } = await server.store.startRollout({ input: 1 })
  return { rolloutId, attemptId: attempt.attemptId }
}

/** Every field that a rollout has, in Agent Lightning's names. */
const rolloutShape = (over: object = {}): object => ({
  rollout_id: expect.stringMatching(/^ro-[0-9a-f]{12}$/),
  input: null,
  start_time: expect.any(Number),
  end_time: null,
  mode: null,
  resources_id: null,
  status: 'queuing',
  config: CONFIG,
  metadata: {},
  ...over,
})

const attemptShape = (over: object = {}): object => ({
  rollout_id: expect.any(String),
  attempt_id: expect.stringMatching(/^at-[0-9a-f]{8}$/),
  sequence_id: 1,
  start_time: expect.any(Number),
  end_time: null,
  status: 'preparing',
  worker_id: null,
  last_heartbeat_time: null,
  metadata: null,
  ...over,
})

describe('the API of Agent Lightning v0.3', () => {
  it('says that it is well', async () => {
    const { get } = await served()
    expect(await get('health')).toMatchObject({ status: 200, body: { status: 'ok' } })
  })

  it('counts what it holds', async () => {
    const server = await served()
    await started(server)
    expect((await server.get('statistics')).body).toEqual({
      name: 'memory:',
      total_rollouts: 1,
      total_attempts: 1,
      total_spans: 0,
      total_resources: 0,
      total_workers: 0,
      uptime: expect.any(Number),
    })
  })

  it('queues rollouts in order, and hands each out once with an attempt', async () => {
    const { post } = await served()
    const rollouts = [{ input: { a: [1, null] }, mode: 'val', metadata: { k: 1 } }, { input: null }]
    const enqueued = await post('queues/rollouts/enqueue', { rollouts })
    expect(enqueued).toMatchObject({ status: 201 })
    expect(enqueued.body).toEqual([
      rolloutShape({ input: { a: [1, null] }, mode: 'val', metadata: { k: 1 } }),
      rolloutShape(),
    ])
    expect(await post('queues/rollouts/enqueue', { rollouts: [] })).toMatchObject({ status: 201, body: [] })

    const first = await post('queues/rollouts/dequeue')
    expect(first.status).toBe(200)
    expect(first.body).toEqual([
      rolloutShape({
        input: { a: [1, null] },
        mode: 'val',
        metadata: { k: 1 },
        status: 'preparing',
        attempt: attemptShape(),
      }),
    ])
    expect((await post('queues/rollouts/dequeue', { limit: 0 })).body).toEqual([])
    expect((await post('queues/rollouts/dequeue', { limit: 5, worker_id: 'Worker-1' })).body).toEqual([
      rolloutShape({ status: 'preparing', attempt: attemptShape({ worker_id: 'Worker-1' }) }),
    ])
    expect((await post('queues/rollouts/dequeue', { worker_id: 'Worker-1' })).body).toEqual([])
    expect((await post('workers/search', {})).body).toMatchObject({ items: [{ status: 'idle' }], total: 1 })
  })

  it('names all that is missing or of a wrong type, as pydantic does', async () => {
    const { post, get } = await served()
    expect(await post('queues/rollouts/enqueue', {})).toMatchObject({
      status: 422,
      body: { detail: [{ type: 'missing', loc: ['body', 'rollouts'], msg: 'Field required' }] },
    })
    const wrong = [{ mode: 'play' }, { input: 1, config: { max_attempts: 0, retry_condition: 'timeout' } }]
    expect(await post('queues/rollouts/enqueue', { rollouts: wrong })).toMatchObject({
      status: 422,
      body: {
        detail: [
          { type: 'missing', loc: ['body', 'rollouts', 0, 'input'] },
          {
            type: 'literal_error',
            loc: ['body', 'rollouts', 0, 'mode'],
            msg: "Input should be 'train', 'val' or 'test'",
            input: 'play',
          },
          { type: 'greater_than_equal', loc: ['body', 'rollouts', 1, 'config', 'max_attempts'] },
          { type: 'list_type', loc: ['body', 'rollouts', 1, 'config', 'retry_condition'] },
        ],
      },
    })
    expect(await post('rollouts')).toMatchObject({ status: 422, body: { detail: [{ loc: ['body'] }] } })
    expect(await post('rollouts', '[1]')).toMatchObject({ status: 422 })
    expect(await post('rollouts', { input: 1 }, { headers: { 'content-type': 'text/plain' } })).toMatchObject(
      { status: 422 },
    )
    expect(await get('rollouts?sort_order=up&limit=x')).toMatchObject({
      status: 422,
      body: {
        detail: [
          { type: 'int_parsing', loc: ['query', 'limit'] },
          { type: 'literal_error', loc: ['query', 'sort_order'] },
        ],
      },
    })
  })

  it.each(['{"input": NaN}', '{"input": [Infinity]}', '{"input": -Infinity}', '{"input": 1', '{'])(
    'refuses %s, which is no JSON',
    async (text) => {
      const { post, store } = await served()
      expect(await post('rollouts', text)).toMatchObject({
        status: 422,
        body: { detail: [{ type: 'json_invalid', loc: ['body', expect.any(Number)] }] },
      })
      expect((await store.statistics()).totalRollouts).toBe(0)
    },
  )

  it('takes text in UTF-8 as it is, and no other', async () => {
    const { post, store } = await served()
    expect(await post('rollouts', '\uFEFF{"input": "½ – \\ud83e"}')).toMatchObject({
      status: 201,
      body: { input: '½ – \ud83e' },
    })
    const latin = { body: Buffer.from('{"input": "½"}', 'latin1') }
    const headers = { 'content-type': 'application/json' }
    expect(await post('rollouts', undefined, { ...latin, headers })).toMatchObject({
      status: 400,
      body: { detail: expect.stringContaining('error parsing the body') },
    })
    expect((await store.statistics()).totalRollouts).toBe(1)
  })

  it('tells whoever runs it of its own trouble only', async () => {
    const heard: unknown[] = []
    const { get, post, store } = await served({ onError: (error) => heard.push(error) })
    await post('rollouts/ro-none', { status: 'failed' })
    await get('rollouts/ro-none')
    await post('rollouts', {})
    expect(heard).toEqual([])
    await store.close()
    expect(await get('statistics')).toMatchObject({ status: 503 })
    expect(heard).toMatchObject([{ code: 'store_unavailable' }])
  })

  it('starts rollouts and attempts past the queue', async () => {
    const { post } = await served()
    const rollout = await post('rollouts', { input: 'x', worker_id: 'w', config: { timeout_seconds: 9.5 } })
    expect(rollout.status).toBe(201)
    expect(rollout.body).toEqual(
      rolloutShape({
        input: 'x',
        status: 'preparing',
        config: { ...CONFIG, timeout_seconds: 9.5 },
        attempt: attemptShape({ worker_id: 'w' }),
      }),
    )
    const { rollout_id: rolloutId } = Object(rollout.body)
    const again = await post(`rollouts/${rolloutId}/attempts`)
    expect(again.status).toBe(201)
    expect(again.body).toMatchObject({ attempt: { sequence_id: 2, worker_id: null } })
    expect(await post(`rollouts/${rolloutId}/attempts`, { worker_id: 'v' })).toMatchObject({
      status: 201,
      body: { attempt: { sequence_id: 3, worker_id: 'v' } },
    })
  })

  it('has the key attempt where there is one, and only there', async () => {
    const server = await served()
    const { rolloutId } = await started(server)
    await server.store.enqueueRollouts([{ input: 2 }])
    const { body } = await server.get('rollouts')
    expect(body).toEqual({
      items: [
        rolloutShape({ input: 1, status: 'preparing', attempt: attemptShape() }),
        rolloutShape({ input: 2 }),
      ],
      limit: -1,
      offset: 0,
      total: 2,
    })
    expect((await server.get(`rollouts/${rolloutId}`)).body).toMatchObject({ attempt: {} })
    const { body: updated } = await server.post(`rollouts/${rolloutId}`, { metadata: { a: 1 } })
    expect(updated).toEqual(rolloutShape({ input: 1, status: 'preparing', metadata: { a: 1 } }))
  })

  it('pages, sorts and filters by URL and by body alike', async () => {
    const { store, get, post } = await served()
    const ids = (await store.enqueueRollouts([1, 2, 3].map((input) => ({ input })))).map((it) => it.rolloutId)
    await store.updateRollout(ids[1] ?? '', { status: 'succeeded' })
    const inputs = ({ body }: { body: unknown }): unknown =>
      Object(body).items.map(({ input }: { input: unknown }) => input)
    const queries: [url: string, body: object, expected: number[], total: number][] = [
      ['limit=2&offset=1', { limit: 2, offset: 1 }, [2, 3], 3],
      ['status_in=queuing&status_in=failed', { status_in: ['queuing', 'failed'] }, [1, 3], 2],
      [`rollout_id_in=${ids[2]}`, { rollout_id_in: [ids[2]] }, [3], 1],
      [
        `status_in=succeeded&rollout_id_contains=${ids[0]}&filter_logic=or`,
        { status_in: ['succeeded'], rollout_id_contains: ids[0], filter_logic: 'or' },
        [1, 2],
        2,
      ],
    ]
    for (const [url, body, expected, total] of queries) {
      const [byURL, byBody] = [await get(`rollouts?${url}`), await post('rollouts/search', body)]
      expect(inputs(byURL)).toEqual(expected)
      expect(byURL.body).toEqual(byBody.body)
      expect(byBody).toMatchObject({ status: 200, body: { total } })
    }
    expect(await get('rollouts?rollout_id_contains=ro-?')).toMatchObject({ body: { total: 0 } })
    const sorted = await get('rollouts?sort_by=start_time&sort_order=desc&limit=1')
    expect(sorted).toMatchObject({ status: 200, body: { limit: 1, total: 3 } })
  })

  it.each([
    ['limit=0', 'Limit must be'],
    ['limit=-2', 'Limit must be'],
    ['offset=-1', 'Offset must be'],
    ['sort_by=nothing', 'Invalid sort_by: nothing, allowed fields are: '],
    ['sort_by=metadata', 'Invalid sort_by: metadata has no order'],
  ])('answers %s with 400', async (query, detail) => {
    const { get } = await served()
    expect(await get(`rollouts?${query}`)).toMatchObject({
      status: 400,
      body: { detail: expect.stringContaining(detail) },
    })
  })

  it('tells absent from null', async () => {
    const server = await served()
    const { rolloutId, attemptId } = await started(server)
    const path = `rollouts/${rolloutId}`
    await server.post(path, { input: 5, mode: 'test', resources_id: 'rs', metadata: { a: 1 } })
    expect((await server.post(path, {})).body).toMatchObject({ input: 5, mode: 'test', resources_id: 'rs' })
    const nothing = { input: null, mode: null, resources_id: null, metadata: null }
    expect((await server.post(path, nothing)).body).toMatchObject(nothing)

    const refused = (name: string): object => ({
      status: 400,
      body: { detail: `${name} is invalid; it cannot be a null value.` },
    })
    for (const name of ['status', 'config']) {
      expect(await server.post(path, { [name]: null })).toMatchObject(refused(name))
    }
    for (const name of ['status', 'worker_id', 'last_heartbeat_time', 'metadata']) {
      expect(await server.post(`${path}/attempts/${attemptId}`, { [name]: null })).toMatchObject(
        refused(name),
      )
    }
    expect(await server.post('workers/w', { heartbeat_stats: null })).toMatchObject(
      refused('heartbeat_stats'),
    )
    expect(await server.post(`${path}/attempts/latest`, {})).toMatchObject({ status: 200 })
  })

  it('knows what is not there as Agent Lightning does', async () => {
    const { get, post } = await served()
    const internal = { status: 500, body: { detail: 'Internal server error', error_type: 'ValueError' } }
    expect(await get('rollouts/ro-none')).toMatchObject({
      status: 500,
      body: { error_type: 'ResponseValidationError' },
    })
    expect(await post('rollouts/ro-none', { status: 'failed' })).toMatchObject(internal)
    expect(await post('rollouts/ro-none/attempts', {})).toMatchObject(internal)
    expect(await post('rollouts/ro-none/attempts/latest', { status: 'failed' })).toMatchObject(internal)
    expect(await post('spans', spanToJSON(llmSpan()))).toMatchObject(internal)
    const empty = { status: 200, body: { items: [], total: 0 } }
    expect(await get('rollouts/ro-none/attempts')).toMatchObject(empty)
    expect(await get('spans?rollout_id=ro-none')).toMatchObject(empty)
    for (const path of [
      'rollouts/ro-none/attempts/latest',
      'workers/none',
      'resources/none',
      'resources/latest',
    ]) {
      expect(await get(path)).toMatchObject({ status: 200, body: null })
    }
    expect(await post('waits/rollouts', { rollout_ids: ['ro-none'] })).toMatchObject({
      status: 200,
      body: [],
    })
    expect(await get('nothing')).toMatchObject({ status: 404, body: { detail: 'Not Found' } })
    expect(await get('/')).toMatchObject({ status: 404 })
    expect(await get('queues/rollouts/enqueue')).toMatchObject({
      status: 405,
      body: { detail: 'Method Not Allowed' },
    })
  })

  it('lists attempts, and passes the end of the latest on', async () => {
    const server = await served()
    const { rolloutId, attemptId } = await started(server)
    const ended = await server.post(`rollouts/${rolloutId}/attempts/latest`, { status: 'succeeded' })
    expect(ended.body).toEqual(
      attemptShape({ attempt_id: attemptId, status: 'succeeded', end_time: expect.any(Number) }),
    )
    expect((await server.get(`rollouts/${rolloutId}/attempts/latest`)).body).toEqual(ended.body)
    const page = { items: [ended.body], limit: -1, offset: 0, total: 1 }
    expect((await server.get(`rollouts/${rolloutId}/attempts`)).body).toEqual(page)
    expect((await server.post(`rollouts/${rolloutId}/attempts/search`, {})).body).toEqual(page)
    expect((await server.get(`rollouts/${rolloutId}`)).body).toMatchObject({ status: 'succeeded' })
  })

  it('keeps resources with versions, the last that changed as the latest', async () => {
    const { get, post } = await served()
    const llm = { resource_type: 'llm', endpoint: 'http://h/v1', model: 'm' }
    const prompt = { resource_type: 'prompt_template', template: '{x}', engine: 'f-string' }
    const added = await post('resources', { main: llm, prompt })
    expect(added.status).toBe(201)
    expect(added.body).toEqual({
      resources_id: expect.stringMatching(/^rs-[0-9a-f]{12}$/),
      create_time: expect.any(Number),
      update_time: expect.any(Number),
      version: 1,
      resources: { main: { ...llm, api_key: null, sampling_parameters: {} }, prompt },
    })
    const { resources_id: id } = Object(added.body)
    expect(await post('resources/mine', { main: llm })).toMatchObject({ status: 200, body: { version: 1 } })
    expect((await get('resources/latest')).body).toMatchObject({ resources_id: 'mine' })
    expect((await post(`resources/${id}`, {})).body).toMatchObject({ version: 2, resources: {} })
    expect((await get('resources/latest')).body).toMatchObject({ resources_id: id })
    expect((await get('resources?sort_by=resources_id&resources_id_contains=mi')).body).toMatchObject({
      items: [{ resources_id: 'mine' }],
      total: 1,
    })
    for (const wrong of [{ a: {} }, { a: { resource_type: 'tool' } }, { a: { resource_type: 'llm' } }]) {
      expect(await post('resources', wrong)).toMatchObject({ status: 422 })
    }
  })

  it('notes workers, known or not, with or without a body', async () => {
    const { get, post } = await served()
    const beat = await post('workers/Worker-1', { heartbeat_stats: { cpu: 0.5 } })
    expect(beat).toMatchObject({ status: 200 })
    expect(beat.body).toEqual({
      worker_id: 'Worker-1',
      status: 'unknown',
      heartbeat_stats: { cpu: 0.5 },
      last_heartbeat_time: expect.any(Number),
      last_dequeue_time: null,
      last_busy_time: null,
      last_idle_time: null,
      current_rollout_id: null,
      current_attempt_id: null,
    })
    expect(await post('workers/Worker-1')).toMatchObject({
      status: 200,
      body: { heartbeat_stats: { cpu: 0.5 } },
    })
    expect((await get('workers/Worker-1')).body).toMatchObject({ worker_id: 'Worker-1' })
  })

  it('reads ids that have to be written differently in a URL', async () => {
    const { get, post } = await served()
    for (const id of ['a b/ü?', '%41', 'wörker#1', '...']) {
      expect((await post(`workers/${encodeURIComponent(id)}`)).body).toMatchObject({ worker_id: id })
    }
    expect((await get('workers')).body).toMatchObject({ total: 4 })
    expect((await get('workers/%')).status).toBe(404)
  })

  it('takes spans one by one, and answers null for one that it has', async () => {
    const server = await served()
    const ids = await started(server)
    const span = llmSpan({ ...ids, sequenceId: 7 })
    const first = await server.post('spans', spanToJSON(span))
    expect(first).toMatchObject({ status: 201, body: spanToJSON(stored(span, 7)) })
    expect(await server.post('spans', spanToJSON(span))).toMatchObject({ status: 201, body: null })
    expect((await server.post('spans/next', { rollout_id: ids.rolloutId, attempt_id: 'x' })).body).toEqual({
      sequence_id: 8,
    })
    expect((await server.get(`spans?rollout_id=${ids.rolloutId}&attempt_id=latest`)).body).toEqual({
      items: [spanToJSON(stored(span, 7))],
      limit: -1,
      offset: 0,
      total: 1,
    })
    expect((await server.post('spans/search', { limit: 1 })).status).toBe(422)
  })

  it.each([
    ['null', null],
    ['an object', { a: 1 }],
    ['a list of mixed types', [1, 'a']],
    ['a list with null', [null]],
    ['a list of lists', [[1]]],
  ])('refuses a span with %s as an attribute', async (_name, value) => {
    const server = await served()
    const json = spanToJSON(llmSpan(await started(server)))
    expect(await server.post('spans', { ...json, attributes: { a: value } })).toMatchObject({
      status: 422,
      body: { detail: [{ loc: ['body', 'attributes', 'a'] }] },
    })
    expect((await server.store.statistics()).totalSpans).toBe(0)
  })

  it('requires every key of a span, be it null', async () => {
    const server = await served()
    const json = spanToJSON(llmSpan(await started(server)))
    for (const key of Object.keys(json)) {
      const { [key]: _, ...rest } = Object(json)
      expect(await server.post('spans', rest)).toMatchObject({
        status: 422,
        body: { detail: expect.arrayContaining([expect.objectContaining({ loc: ['body', key] })]) },
      })
    }
  })

  it('gives pages of spans of any size', async () => {
    const server = await served()
    const ids = await started(server)
    const spans = Array.from({ length: 3000 }, (_, i) => llmSpan({ ...ids, name: `n${i}` }))
    await server.store.addSpans(spans)
    const { body } = await server.post('spans/search', { rollout_id: ids.rolloutId, limit: 2500, offset: 10 })
    const { items, ...rest } = Object(body)
    expect(rest).toEqual({ limit: 2500, offset: 10, total: 3000 })
    expect(items.map(({ name }: { name: string }) => name)).toEqual(
      Array.from({ length: 2500 }, (_, i) => `n${i + 10}`),
    )
  })

  it('lets a client wait until its rollouts are finished', async () => {
    const server = await served()
    const { rolloutId } = await started(server)
    expect((await server.post('waits/rollouts', { rollout_ids: [rolloutId], timeout: 0.05 })).body).toEqual(
      [],
    )
    const waiting = server.post('waits/rollouts', { rollout_ids: [rolloutId], timeout: null })
    await server.store.updateRollout(rolloutId, { status: 'cancelled' })
    expect(await waiting).toMatchObject({
      status: 200,
      body: [{ rollout_id: rolloutId, status: 'cancelled' }],
    })
  })
})
