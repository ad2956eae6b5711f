import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  AglError,
  emitMessage,
  emitReward,
  findFinalReward,
  start,
  type Lightning,
  type Span,
} from '@agl/core'
import { openStore, storeSink, type Store, type StoreOptions } from '@agl/store'
import {
  formatPrompt,
  llmRollout,
  promptRollout,
  rollout,
  Runner,
  type RolloutAgent,
  type RunnerOptions,
} from '@agl/train'

interface Setting {
  store: Store
  lightning: Lightning
  runner<Task>(agent: RolloutAgent<Task>, options?: Partial<RunnerOptions<Task>>): Runner<Task>
}

async function setting(options: { sink?: boolean; store?: StoreOptions } = {}): Promise<Setting> {
  const store = await openStore('memory:', options.store)
  const lightning = await start({ sinks: options.sink === true ? [storeSink(store)] : [] })
  onTestFinished(async () => {
    await lightning.shutdown()
    await store.close()
  })
  return {
    store,
    lightning,
    runner: (agent, more = {}) => new Runner({ lightning, store, agent, pollInterval: 0.05, ...more }),
  }
}

function hush(): () => string {
  const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
  onTestFinished(() => warn.mockRestore())
  return () => warn.mock.calls.flat().map(String).join('\n')
}

/** The store with some of its methods replaced. */
function replacing(store: Store, methods: Partial<Store>): Store {
  return new Proxy(store, {
    get(target, key) {
      if (Object.hasOwn(methods, key)) return Reflect.get(methods, key)
      const value: unknown = Reflect.get(target, key)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

async function stored(store: Store, rolloutId: string): Promise<Span[]> {
  return (await store.querySpans({ rolloutId })).items
}

describe('a runner', () => {
  it.each([{ sink: true }, { sink: false }])(
    'works through the queue and stores what it records, %o',
    async ({ sink }) => {
      const { store, runner } = await setting({ sink })
      const queued = await store.enqueueRollouts([1, 2, 3].map((input) => ({ input })))
      const agent = rollout<number>((task, { rollout: { rolloutId } }) => {
        emitMessage(`${rolloutId} ${task}`)
        return task / 10
      })
      expect(await runner(agent).run({ maxRollouts: 3 })).toEqual({ succeeded: 3, failed: 0 })
      for (const { rolloutId, input } of queued) {
        expect(await store.getRollout(rolloutId)).toMatchObject({
          status: 'succeeded',
          attempt: { status: 'succeeded' },
        })
        const spans = await stored(store, rolloutId)
        expect(findFinalReward(spans)).toBe(Number(input) / 10)
        expect(spans.map(({ name }) => name)).toEqual([
          'agentlightning.message',
          'agentlightning.annotation',
          `${rolloutId}.session`,
        ])
        expect(spans[0]?.attributes['agentlightning.message.body']).toBe(`${rolloutId} ${String(input)}`)
      }
      expect(await store.dequeueRollouts()).toEqual([])
    },
  )

  it('runs attempts side by side, each in its own trace, and is a worker for each', async () => {
    const { store, runner } = await setting()
    const queued = await store.enqueueRollouts(Array.from({ length: 12 }, (_, input) => ({ input })))
    let running = 0
    let most = 0
    const agent = rollout<number>(async (task) => {
      most = Math.max(most, ++running)
      await sleep(20)
      emitMessage(String(task))
      running--
    })
    await runner(agent, { concurrency: 4, workerId: 'w' }).run({ maxRollouts: 12 })
    expect(most).toBe(4)
    for (const { rolloutId, input } of queued) {
      const bodies = (await stored(store, rolloutId)).flatMap(
        (span) => span.attributes['agentlightning.message.body'] ?? [],
      )
      expect(bodies).toEqual([String(input)])
    }
    const workers = (await store.queryWorkers()).items
    expect(workers.map(({ workerId }) => workerId).toSorted()).toEqual(['w-0', 'w-1', 'w-2', 'w-3'])
    expect(workers.map(({ status }) => status)).toEqual(['idle', 'idle', 'idle', 'idle'])
    expect(workers[0]?.heartbeatStats).toMatchObject({
      host: expect.any(String),
      mem_total_gb: expect.any(Number),
    })
  })

  it('fails the attempt of an agent that throws, says why, and takes it again where its config asks for that', async () => {
    const said = hush()
    const { store, runner } = await setting()
    const config = { maxAttempts: 2, retryCondition: ['failed' as const] }
    const [queued] = await store.enqueueRollouts([{ input: null, config }])
    let calls = 0
    const agent = rollout(() => {
      if (++calls === 1) throw new TypeError('not today')
      return true
    })
    expect(await runner(agent).run({ maxRollouts: 2 })).toEqual({ succeeded: 1, failed: 1 })
    expect(said()).toMatch(/An attempt failed; .* not today$/)
    const attempts = (await store.queryAttempts(queued?.rolloutId ?? '')).items
    expect(attempts).toMatchObject([
      { status: 'failed', metadata: { error: 'TypeError: not today' } },
      { status: 'succeeded' },
    ])
    const spans = await stored(store, queued?.rolloutId ?? '')
    expect(spans.find(({ attemptId }) => attemptId === attempts[0]?.attemptId)?.status.statusCode).toBe(
      'ERROR',
    )
  })

  it('takes an attempt for failed whose spans the store does not acknowledge', async () => {
    const { store, lightning } = await setting()
    const full = new AglError('store_unavailable', 'The disk is full.')
    const broken = replacing(store, { addSpans: () => Promise.reject(full) })
    const [queued] = await store.enqueueRollouts([{ input: 1 }])
    const runner = new Runner({ lightning, store: broken, agent: rollout(() => 1) })
    expect(await runner.run({ maxRollouts: 1 })).toEqual({ succeeded: 0, failed: 1 })
    expect(await store.getRollout(queued?.rolloutId ?? '')).toMatchObject({
      status: 'failed',
      attempt: { metadata: { error: 'AglError: The disk is full.' } },
    })
  })

  it('keeps a long attempt alive', async () => {
    const { store, runner } = await setting({ store: { watchdogInterval: 0 } })
    const config = { unresponsiveSeconds: 0.3, maxAttempts: 3, retryCondition: ['unresponsive' as const] }
    const [queued] = await store.enqueueRollouts([{ input: 1, config }])
    const watching = setInterval(() => void store.queryRollouts(), 20)
    onTestFinished(() => clearInterval(watching))
    await runner(rollout(() => sleep(1000))).run({ maxRollouts: 1 })
    const { rolloutId = '' } = queued ?? {}
    expect((await store.queryAttempts(rolloutId)).items).toMatchObject([
      { status: 'succeeded', sequenceId: 1 },
    ])
  })

  it('tells an agent whose rollout was cancelled or whose time is over', async () => {
    const { store, runner } = await setting()
    const [late, cancelled] = await store.enqueueRollouts([
      { input: 'late', config: { timeoutSeconds: 0.05 } },
      { input: 'cancelled', config: { maxAttempts: 2, retryCondition: ['failed'] } },
    ])
    const agent = rollout<string>(async (task, { signal, rollout: { rolloutId } }) => {
      if (task === 'cancelled') await store.updateRollout(rolloutId, { status: 'cancelled' })
      await sleep(60_000, undefined, { signal })
    })
    const summary = await runner(agent, { heartbeatInterval: 0.02 }).run({ maxRollouts: 2 })
    expect(summary).toEqual({ succeeded: 0, failed: 2 })
    expect((await store.getRollout(late?.rolloutId ?? ''))?.status).toBe('failed')
    expect(await store.getRollout(cancelled?.rolloutId ?? '')).toMatchObject({
      status: 'cancelled',
      attempt: { metadata: { error: expect.stringContaining('taken back') } },
    })
  })

  it('ends gracefully: nothing new is taken, and what runs may end', async () => {
    const { store, runner } = await setting()
    await store.enqueueRollouts([{ input: 1 }, { input: 2 }])
    const stop = new AbortController()
    const agent = rollout(async () => {
      stop.abort()
      await sleep(30)
    })
    expect(await runner(agent).run({ signal: stop.signal })).toEqual({ succeeded: 1, failed: 0 })
    expect((await store.queryRollouts({ statusIn: ['queuing'] })).total).toBe(1)
  })

  it('gives up what still runs after the grace, and ends', async () => {
    const { store, runner } = await setting()
    const [queued] = await store.enqueueRollouts([{ input: 1 }])
    const stop = new AbortController()
    const agent = rollout(async (_, { signal }) => {
      stop.abort()
      await sleep(60_000, undefined, { signal })
    })
    expect(
      await runner(agent, { grace: 0.02, heartbeatInterval: Infinity }).run({ signal: stop.signal }),
    ).toEqual({
      succeeded: 0,
      failed: 1,
    })
    expect((await store.getRollout(queued?.rolloutId ?? ''))?.status).toBe('failed')
  })

  it('leaves an agent to itself that does not listen, and ends', async () => {
    const { store, runner } = await setting()
    const [queued] = await store.enqueueRollouts([{ input: 1 }])
    const stop = new AbortController()
    const agent = rollout(async () => {
      stop.abort()
      await new Promise(() => {})
    })
    expect(await runner(agent, { grace: 0 }).run({ signal: stop.signal })).toEqual({
      succeeded: 0,
      failed: 1,
    })
    expect((await store.getRollout(queued?.rolloutId ?? ''))?.status).toBe('failed')
  })

  it.each([1.001, 3e6, 1e7])('takes a limit of %d seconds for what it is', async (timeoutSeconds) => {
    const { store, runner } = await setting()
    await store.enqueueRollouts([{ input: 1, config: { timeoutSeconds } }])
    const agent = rollout((_, { signal }) => sleep(20, undefined, { signal }))
    expect(await runner(agent).run({ maxRollouts: 1 })).toEqual({ succeeded: 1, failed: 0 })
  })

  it('records under the ids of the attempt, inside a traced program too', async () => {
    const { store, lightning, runner } = await setting()
    const [queued] = await store.enqueueRollouts([{ input: 1 }])
    const { rolloutId = '' } = queued ?? {}
    await lightning.trace('program', () => runner(rollout(() => 0.5)).run({ maxRollouts: 1 }))
    const spans = await stored(store, rolloutId)
    expect(spans.map((span) => [span.name, span.rolloutId])).toEqual([
      ['agentlightning.annotation', rolloutId],
      [`${rolloutId}.session`, rolloutId],
    ])
  })

  it('lets a rollout be tried again whose attempt took too long, though the agent fails afterwards', async () => {
    const { store, runner } = await setting({ store: { watchdogInterval: 0 } })
    const config = { timeoutSeconds: 0.05, maxAttempts: 2, retryCondition: ['timeout' as const] }
    const [queued] = await store.enqueueRollouts([{ input: 1, config }])
    let calls = 0
    const agent = rollout(async () => {
      if (++calls > 1) return
      await sleep(80)
      await store.queryRollouts()
      throw new Error('too late')
    })
    expect(await runner(agent).run({ maxRollouts: 2 })).toEqual({ succeeded: 1, failed: 1 })
    const { rolloutId = '' } = queued ?? {}
    const attempts = (await store.queryAttempts(rolloutId)).items
    expect(attempts.map(({ status }) => status)).toEqual(['timeout', 'succeeded'])
    expect((await store.getRollout(rolloutId))?.status).toBe('succeeded')
  })

  it('waits for a store that is away, and ends with the error of one that refuses', async () => {
    const said = hush()
    const { store, lightning } = await setting()
    await store.enqueueRollouts([{ input: 1 }])
    let asked = 0
    const errors = [new AglError('store_unavailable', 'Nobody is there.')]
    const shaky = (later: () => AglError | undefined): Store =>
      replacing(store, {
        dequeueRollouts(options) {
          asked++
          const error = later()
          return error === undefined ? store.dequeueRollouts(options) : Promise.reject(error)
        },
      })
    const away = new Runner({ lightning, store: shaky(() => errors.shift()), agent: rollout(() => 1) })
    expect(await away.run({ maxRollouts: 1 })).toEqual({ succeeded: 1, failed: 0 })
    expect(asked).toBe(2)
    expect(said()).toContain('does not answer')
    const refusal = new AglError('value_invalid', 'The token is wrong.')
    const refused = new Runner({
      lightning,
      store: shaky(() => refusal),
      agent: rollout(() => 1),
      concurrency: 3,
    })
    await expect(refused.run()).rejects.toBe(refusal)
  })

  it('ends at once where it is stopped while the store is away', async () => {
    hush()
    const { store, lightning } = await setting()
    const stop = new AbortController()
    const away = replacing(store, {
      dequeueRollouts() {
        stop.abort()
        return Promise.reject(new AglError('store_unavailable', 'Nobody is there.'))
      },
    })
    // A pause would not end.
    vi.useFakeTimers({ toFake: ['setTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const running = new Runner({ lightning, store: away, agent: rollout(() => 1) }).run({
      signal: stop.signal,
    })
    expect(await running).toEqual({ succeeded: 0, failed: 0 })
  })

  it('calls its hooks in order, inside the trace where they belong there, and survives those that throw', async () => {
    const said = hush()
    const { store, runner } = await setting()
    await store.enqueueRollouts([{ input: 1 }])
    const order: string[] = []
    const hooks: RunnerOptions<unknown>['hooks'] = {
      onRolloutStart: ({ rollout: { attempt } }) => void order.push(`start ${attempt.status}`),
      onTraceStart: () => {
        emitMessage('from a hook')
        throw new Error('hook')
      },
      onTraceEnd: () => void order.push('trace end'),
      onRolloutEnd: ({ spans }) =>
        void order.push(`end ${spans.map(({ name }) => name.split('.').at(-1)).join(' ')}`),
    }
    await runner(
      rollout(() => void order.push('agent')),
      { hooks },
    ).run({ maxRollouts: 1 })
    expect(order).toEqual(['start preparing', 'agent', 'trace end', 'end message session'])
    expect(said()).toContain('The hook onTraceStart failed')
  })

  it.each(['onRolloutStart', 'onTraceStart', 'onTraceEnd', 'onRolloutEnd'] as const)(
    'goes on without %s where it does not end',
    async (name) => {
      const said = hush()
      const { store, runner } = await setting()
      const [queued] = await store.enqueueRollouts([{ input: 1 }])
      const stop = new AbortController()
      const hooks = {
        [name]: async () => {
          stop.abort()
          await new Promise(() => {})
        },
      }
      const running = runner(
        rollout(() => 1),
        { hooks, grace: 0 },
      ).run({ signal: stop.signal })
      const { succeeded } = await running
      const status = succeeded === 1 ? 'succeeded' : 'failed'
      expect((await store.getRollout(queued?.rolloutId ?? ''))?.status).toBe(status)
      expect(said()).toContain(`The hook ${name} did not end`)
    },
  )

  it('does not start the agent of an attempt whose time is over', async () => {
    const { store, runner } = await setting()
    const [queued] = await store.enqueueRollouts([{ input: 1, config: { timeoutSeconds: 0.02 } }])
    const agent = rollout(() => new Promise<never>(() => {}))
    const hooks = { onTraceStart: () => sleep(200) }
    expect(await runner(agent, { hooks }).run({ maxRollouts: 1 })).toEqual({ succeeded: 0, failed: 1 })
    expect(await store.getRollout(queued?.rolloutId ?? '')).toMatchObject({
      attempt: { status: 'failed', metadata: { error: expect.stringContaining('took too long') } },
    })
  })

  it('gives signs of life until the last hook has ended', async () => {
    const { store, runner } = await setting({ store: { watchdogInterval: 0 } })
    const config = { unresponsiveSeconds: 0.3, maxAttempts: 3, retryCondition: ['unresponsive' as const] }
    await store.enqueueRollouts([{ input: 1, config }])
    const seen = new Set<string | undefined>()
    const hooks = {
      async onRolloutEnd({ rollout: { rolloutId } }: { rollout: { rolloutId: string } }) {
        for (let i = 0; i < 40; i++) {
          await sleep(20)
          seen.add((await store.getRollout(rolloutId))?.attempt?.status)
        }
      },
    }
    const agent = rollout(() => sleep(150))
    expect(await runner(agent, { hooks }).run({ maxRollouts: 1 })).toEqual({ succeeded: 1, failed: 0 })
    expect([...seen]).toEqual(['running'])
  })

  it('sends no sign of life while another is under way', async () => {
    const { store, lightning } = await setting()
    await store.enqueueRollouts([{ input: 1 }])
    let answer = (): void => {}
    const answered = new Promise<void>((resolve) => {
      answer = resolve
    })
    let signs = 0
    const slow = replacing(store, {
      async updateAttempt(rolloutId, attemptId, update) {
        if (update.lastHeartbeatTime !== undefined && ++signs > 0) await answered
        return store.updateAttempt(rolloutId, attemptId, update)
      },
    })
    const hooks = { onRolloutEnd: () => answer() }
    const agent = rollout(() => sleep(300))
    await new Runner({ lightning, store: slow, agent, hooks, heartbeatInterval: 0.01 }).run({
      maxRollouts: 1,
    })
    // One more can begin between the answer and the end.
    expect(signs).toBeGreaterThan(0)
    expect(signs).toBeLessThan(3)
  })

  it.each([
    Object.create(null),
    {
      toString(): string {
        throw new Error('no text')
      },
    },
    undefined,
  ])('fails the attempt of an agent that throws what is no text', async (thrown: unknown) => {
    const { store, runner } = await setting()
    const [queued] = await store.enqueueRollouts([{ input: 1 }])
    const agent = rollout(() => Promise.reject(thrown))
    expect(await runner(agent).run({ maxRollouts: 1 })).toEqual({ succeeded: 0, failed: 1 })
    expect((await store.getRollout(queued?.rolloutId ?? ''))?.status).toBe('failed')
  })

  it('steps past the queue, and throws what the agent throws', async () => {
    const { store, runner } = await setting()
    const agent = llmRollout<string>((task, { model }) => {
      if (task === 'fail') throw new RangeError('no')
      emitReward(model.length)
    })
    const resources = {
      main: { resourceType: 'llm' as const, endpoint: 'http://127.0.0.1:1/v1', model: 'tiny' },
    }
    const done = await runner(agent).step('go', { resources, mode: 'val' })
    expect(done).toMatchObject({ status: 'succeeded', mode: 'val', input: 'go' })
    expect(findFinalReward([...done.spans])).toBe(4)
    await expect(runner(agent).step('fail')).rejects.toThrow(RangeError)
    expect((await store.queryRollouts({ statusIn: ['failed'] })).total).toBe(1)
  })

  it('refuses settings that make no sense', async () => {
    const { runner } = await setting()
    const agent = rollout(() => 1)
    expect(() => runner(agent, { concurrency: 0 })).toThrow('concurrency must be a whole number from 1')
    expect(() => runner(agent, { grace: Number.NaN })).toThrow('grace must be a number of seconds')
    expect(() => runner(agent, { heartbeatInterval: 0 })).toThrow('heartbeatInterval must be more than 0')
  })

  it('killed in the middle, leaves an attempt that another one takes up', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'agl-runner-'))
    const url = `sqlite:${join(folder, 'agl.db')}`
    const store = await openStore(url, { watchdogInterval: 0 })
    const lightning = await start({})
    onTestFinished(async () => {
      await lightning.shutdown()
      await store.close()
      rmSync(folder, { recursive: true })
    })
    const config = { unresponsiveSeconds: 0.5, maxAttempts: 2, retryCondition: ['unresponsive' as const] }
    const [queued] = await store.enqueueRollouts([{ input: 'work', config }])
    const file = fileURLToPath(new URL('fixtures/runner.ts', import.meta.url))
    const child = spawn(process.execPath, ['--conditions=@agl/source', file, url], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await once(child.stdout, 'data')
    child.kill('SIGKILL')
    await once(child, 'exit')
    const second = new Runner({ lightning, store, agent: rollout(() => 0.5), pollInterval: 0.1 })
    expect(await second.run({ maxRollouts: 1 })).toEqual({ succeeded: 1, failed: 0 })
    const { rolloutId = '' } = queued ?? {}
    expect((await store.queryAttempts(rolloutId)).items.map(({ status }) => status)).toEqual([
      'unresponsive',
      'succeeded',
    ])
    expect((await store.getRollout(rolloutId))?.status).toBe('succeeded')
  })
})

describe('an agent', () => {
  it('stays callable as the function that it was made of', () => {
    expect(rollout<number>((task) => task)(2, Object.create(null))).toBe(2)
  })

  const span = {
    name: 'mine',
    attributes: { a: 1 },
    status: { statusCode: 'OK' as const, description: null },
  }
  it.each([
    ['nothing', undefined, []],
    ['null', null, []],
    ['a number', 0.25, ['agentlightning.annotation']],
    ['a boolean', true, ['agentlightning.annotation']],
    ['an empty list', [], []],
    ['spans without ids', [span, span], ['mine', 'mine']],
  ])('may return %s', async (_, value, names) => {
    const { store, runner } = await setting()
    const { rolloutId, status } = await runner(rollout(() => value)).step(null)
    expect(status).toBe('succeeded')
    const spans = (await stored(store, rolloutId)).filter(({ name }) => !name.endsWith('.session'))
    expect(spans.map(({ name }) => name)).toEqual(names)
    expect(new Set(spans.map(({ rolloutId: id }) => id)).size).toBe(names.length === 0 ? 0 : 1)
  })

  it.each(['"text"', '{ "reward": 1 }', '1e999', '[1, 2]'])(
    'fails its attempt when it returns %s',
    async (json) => {
      const { store, runner } = await setting()
      const agent: RolloutAgent = { runRollout: () => JSON.parse(json) }
      await expect(runner(agent).step(null)).rejects.toMatchObject({ code: 'value_invalid' })
      expect((await store.queryRollouts()).items).toMatchObject([{ status: 'failed' }])
    },
  )

  it.each([
    ['llm', 'http://127.0.0.1:4000/v1', (): string => 'http://127.0.0.1:4000/v1'],
    [
      'proxy_llm',
      'http://127.0.0.1:4000/v1',
      (id: string): string => `http://127.0.0.1:4000/rollout/${id}/v1`,
    ],
    ['proxy_llm', 'http://127.0.0.1:4000/', (id: string): string => `http://127.0.0.1:4000/rollout/${id}`],
  ] as const)('gets the base URL of a %s at %s for its attempt', async (resourceType, endpoint, expected) => {
    const { runner } = await setting()
    const seen: string[] = []
    const agent = llmRollout((_, llm, { rollout: { rolloutId, attempt } }) => {
      seen.push(llm.baseURL, expected(`${rolloutId}/attempt/${attempt.attemptId}`))
    })
    await runner(agent).step(null, { resources: { main: { resourceType, endpoint, model: 'm' } } })
    expect(seen[0]).toBe(seen[1])
  })

  it('gets the template that is being tuned, which it can fill', async () => {
    const { runner } = await setting()
    const filled: string[] = []
    const agent = promptRollout<string>((task, template) => {
      filled.push(formatPrompt(template, { task }))
    })
    const template = 'Solve {{carefully}}: {task}'
    await runner(agent).step('2 + 2', {
      resources: { p: { resourceType: 'prompt_template', template, engine: 'f-string' } },
    })
    expect(filled).toEqual(['Solve {carefully}: 2 + 2'])
    await expect(runner(agent).step('2 + 2', { resources: {} })).rejects.toThrow(
      'no resource of type prompt_template',
    )
  })

  it.each(['{', 'a } b', '{"json": {task}}', '{task!r}', '{}'])(
    'does not fill the template %s',
    (template) => {
      const resource = { resourceType: 'prompt_template', template, engine: 'f-string' } as const
      expect(() => formatPrompt(resource, { task: 1 })).toThrow(AglError)
    },
  )

  it('does not start without the resources that its rollout names', async () => {
    const { store, runner } = await setting()
    const [queued] = await store.enqueueRollouts([{ input: 1, resourcesId: 'rs-gone' }])
    await runner(rollout(() => 1)).run({ maxRollouts: 1 })
    expect(await store.getRollout(queued?.rolloutId ?? '')).toMatchObject({
      status: 'failed',
      attempt: { metadata: { error: expect.stringContaining('rs-gone') } },
    })
  })
})
