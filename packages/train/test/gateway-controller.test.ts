import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  Controller,
  GatewayClient,
  type Command,
  type ControllerOptions,
  type EnqueueInput,
} from '@agl/train/gateway'
import { startGatewayServer, startRelay, type Relay } from './gateway-server.ts'
import { folder } from './support.ts'

const SOURCE = ['--conditions=@agl/source']
const KEY = 'a-key-that-nobody-may-see'
/** How long a machine with much else to do may take. */
const SOON = { timeout: 20_000 }
/** Runs longer than any test. */
const OUTLIVES = 'sleep 1000'
/** Waits for a file of the test. */
const UNTIL_GO = 'while [ ! -e go ]; do sleep 0.05; done'

interface Setting {
  client: GatewayClient
  relay: Relay
  /** A file in a folder of the test. */
  file(name: string): string
  lines(name: string): string[]
  controller(command: ControllerOptions['command'], options?: Partial<ControllerOptions>): Controller
}

async function setting(): Promise<Setting> {
  const server = await startGatewayServer({ key: KEY })
  const relay = await startRelay(server.url)
  onTestFinished(async () => {
    await relay[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
  })
  const client = new GatewayClient({ url: relay.url, key: KEY, retries: 0 })
  const home = folder()
  const file = (name: string): string => join(home, name)
  return {
    client,
    relay,
    file,
    lines: (name) =>
      existsSync(file(name)) ? readFileSync(file(name), 'utf8').split('\n').slice(0, -1) : [],
    controller: (command, options) =>
      new Controller({ client, command, cwd: home, pollInterval: 0.05, output: 'ignore', ...options }),
  }
}

function shell(script: string): Command {
  return ['/bin/sh', '-c', script]
}

async function statusOf(client: GatewayClient, rolloutId: string): Promise<{ state: string; why: string }> {
  const { state, errorMessage } = (await client.get(rolloutId)).rollout.status
  return { state, why: errorMessage ?? '' }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch {
    return false
  }
  const file = `/proc/${pid}/stat`
  // What has ended may still wait for its parent to ask how.
  return !existsSync(file) || !/^\d+ \(.*\) Z/.test(readFileSync(file, 'utf8'))
}

function hush(): () => string {
  const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
  onTestFinished(() => warn.mockRestore())
  return () => warn.mock.calls.flat().map(String).join('\n')
}

async function modelServer(): Promise<string> {
  const server = createServer((_, response) => {
    const choice = {
      index: 0,
      message: { role: 'assistant', content: 'Because.' },
      token_ids: [7, 8],
      logprobs: { content: [{ logprob: -0.25 }, { logprob: -0.5 }] },
    }
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ choices: [choice], prompt_token_ids: [1, 2, 3] }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.close()
    server.closeAllConnections()
  })
  const address = server.address()
  return `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}/v1`
}

describe('a controller', () => {
  it('runs an agent whose calls and reward the gateway keeps, and says how it ended', async () => {
    const { client, controller } = await setting()
    await client.registerModels([{ model: 'scripted', endpoint: await modelServer(), version: 4 }])
    await client.enqueue([
      { rolloutId: 'good', input: { question: 'why?', reward: 0.5 } },
      { rolloutId: 'bad', input: { question: 'impossible', reward: 1 } },
    ])
    const agent = fileURLToPath(new URL('fixtures/gateway-agent.ts', import.meta.url))
    const running = controller([process.execPath, ...SOURCE, agent], { concurrency: 2 })
    expect(await running.run({ maxRollouts: 2 })).toEqual({ succeeded: 1, failed: 1 })
    expect((await client.get('good')).rollout.status).toMatchObject({
      state: 'succeeded',
      lastAttemptId: '0',
      version: 3,
      errorMessage: null,
    })
    const triplets = await client.events('good', { format: 'triplet' })
    expect(triplets.map(({ kind, data }) => ({ kind, data }))).toMatchObject([
      {
        kind: 'model_request',
        data: {
          promptTokenIds: [1, 2, 3],
          responseTokenIds: [7, 8],
          responseLogProbs: [-0.25, -0.5],
          server: { model: 'scripted', version: 4 },
        },
      },
      { kind: 'other', data: { rolloutId: 'good', attemptId: '0', answer: { choices: [{}] } } },
      { kind: 'reward', data: { value: 0.5 } },
    ])
    expect(await statusOf(client, 'bad')).toEqual({
      state: 'failed',
      why: expect.stringMatching(/^The agent ended with exit code 1: [^]*RangeError: There is no answer\./),
    })
    expect((await client.events('bad')).map(({ eventType }) => eventType)).toEqual(['model_request', 'heard'])
  })

  it('gives agents the environment that the rollout asks for', async () => {
    const { client, controller, relay, file } = await setting()
    const input = { q: 'why?', list: [{ n: 1.5 }, null], 'a.b': 1, '0': 'zero', ü: 'é✓' }
    const envMap = {
      ALL: 'input',
      Q: 'input.q',
      N: 'input.list.0.n',
      NIL: 'input.list.1',
      LIST: 'input.list',
      ZERO: 'input.0',
      U: 'input.ü',
      LITERAL: 'inputs',
      EMPTY: '',
    }
    await client.enqueue([
      { rolloutId: 'a', input, isTrain: false, config: { local: { envMap } } },
      { rolloutId: 'b', input: ['x'] },
      { rolloutId: 'c', input: 'plain' },
    ])
    const program = `require('fs').writeFileSync(process.env.AGL_EVENT_URL.split('/')[5] + '.json', JSON.stringify(process.env))`
    await controller([process.execPath, '-e', program], { env: { OWN: 'mine', Q: 'other' } }).run({
      maxRollouts: 3,
    })
    const env = (name: string): unknown => JSON.parse(readFileSync(file(`${name}.json`), 'utf8'))
    expect(env('a')).toEqual({
      OWN: 'mine',
      AGL_OPENAI_BASE_URL: `${relay.url}/proxy/rollout/a/attempt/0/mode/val/openai/v1`,
      AGL_EVENT_URL: `${relay.url}/api/rollouts/a/attempt/0/events`,
      AGL_KEY: KEY,
      ALL: JSON.stringify(input),
      Q: 'why?',
      N: '1.5',
      NIL: 'null',
      LIST: '[{"n":1.5},null]',
      ZERO: 'zero',
      U: 'é✓',
      LITERAL: 'inputs',
      EMPTY: '',
    })
    expect(env('b')).toMatchObject({ AGL_INPUT: '["x"]', Q: 'other' })
    expect(env('b')).toMatchObject({ AGL_OPENAI_BASE_URL: expect.stringContaining('/mode/train/') })
    expect(env('c')).toMatchObject({ AGL_INPUT: 'plain' })
  })

  it.each([
    'input.b',
    'input.a.1',
    'input.a.x',
    'input.a.0.c',
    'input.',
    'input.__proto__',
    'input.a.length',
  ])('fails a rollout that has no %s, without a process', async (path) => {
    const { client, controller, lines } = await setting()
    const config = { local: { envMap: { X: path } } }
    await client.enqueue([{ rolloutId: 'r', input: { a: [1] }, config }])
    const summary = await controller(shell('echo ran >> log')).run({ maxRollouts: 1 })
    expect(summary).toEqual({ succeeded: 0, failed: 1 })
    expect(await statusOf(client, 'r')).toEqual({
      state: 'failed',
      why: `The env_map asks for ${path} as X, and the input has no such part; correct the path.`,
    })
    expect(lines('log')).toEqual([])
  })

  it.each<{ name: string; command: Command; input?: unknown; why: RegExp }>([
    {
      name: 'fails',
      command: shell('echo one >&2; echo two >&2; exit 3'),
      why: /^The agent ended with exit code 3: one\ntwo$/,
    },
    { name: 'fails in silence', command: shell('exit 7'), why: /^The agent ended with exit code 7\.$/ },
    { name: 'is killed', command: shell('kill -SEGV $$'), why: /^The agent was ended by SIGSEGV/ },
    {
      name: 'tells the key',
      command: shell('echo "Bearer $AGL_KEY" >&2; exit 1'),
      why: /: Bearer \[key\]$/,
    },
    {
      name: 'says a lot',
      command: shell('seq 100000 >&2; exit 1'),
      why: /^The agent ended with exit code 1: \d{5}\n[^]{1900,1990}\n99999\n100000$/,
    },
    { name: 'does not exist', command: ['./no-such-program'], why: /could not be started: .*ENOENT/ },
    {
      name: 'has an input that no environment can hold',
      command: shell('exit 0'),
      input: 'x'.repeat(200_000),
      why: /could not be started: .*E2BIG/,
    },
    {
      name: 'has an input with a NUL',
      command: shell('exit 0'),
      input: 'a\0b',
      why: /could not be started: .*null bytes/,
    },
  ])('says why an agent failed that $name', async ({ command, input = null, why }) => {
    const { client, controller } = await setting()
    await client.enqueue([{ rolloutId: 'r', input }])
    expect(await controller(command).run({ maxRollouts: 1 })).toEqual({ succeeded: 0, failed: 1 })
    expect(await statusOf(client, 'r')).toEqual({ state: 'failed', why: expect.stringMatching(why) })
  })

  it('kills an agent that takes too long, and all that it has started', async () => {
    const { client, controller, lines } = await setting()
    await client.enqueue([{ rolloutId: 'r', input: 1, config: { timeoutSeconds: 2 } }])
    const stubborn = `trap '' TERM INT HUP; (trap '' TERM; ${OUTLIVES}) & echo $! > pids; echo $$ >> pids; wait`
    await controller(shell(stubborn)).run({ maxRollouts: 1 })
    expect(await statusOf(client, 'r')).toEqual({
      state: 'failed',
      why: 'The agent took more than its 2 s and was killed.',
    })
    const pids = lines('pids').map(Number)
    expect(pids).toHaveLength(2)
    expect(pids.filter(isAlive)).toEqual([])
  })

  it('ends what a successful agent has left behind', async () => {
    const { client, controller, lines } = await setting()
    await client.enqueue([{ rolloutId: 'r', input: 1 }])
    await controller(shell(`${OUTLIVES} & echo $! > pids`)).run({ maxRollouts: 1 })
    expect((await statusOf(client, 'r')).state).toBe('succeeded')
    expect(lines('pids')).toHaveLength(1)
    expect(lines('pids').map(Number).filter(isAlive)).toEqual([])
  })

  it('runs as many at once as it may, each in a process of its own', async () => {
    const { client, controller, lines } = await setting()
    const inputs: EnqueueInput[] = Array.from({ length: 12 }, (_, i) => ({ rolloutId: `r${i}`, input: i }))
    await client.enqueue(inputs)
    const summary = await controller(shell('echo + $AGL_INPUT >> log; sleep 0.2; echo - >> log'), {
      concurrency: 4,
      pollInterval: 60,
    }).run({ maxRollouts: 12 })
    expect(summary).toEqual({ succeeded: 12, failed: 0 })
    let running = 0
    const most = Math.max(...lines('log').map((line) => (running += line === '-' ? -1 : 1)))
    expect(most).toBe(4)
    expect(
      lines('log')
        .filter((line) => line !== '-')
        .toSorted(),
    ).toEqual(inputs.map(({ input }) => `+ ${String(input)}`).toSorted())
  })

  it('shares a gateway with others: each rollout runs once', async () => {
    const { client, controller, lines } = await setting()
    await client.enqueue(Array.from({ length: 40 }, (_, input) => ({ input })))
    const stop = new AbortController()
    const running = ['a', 'b', 'c'].map((name) =>
      controller(shell('echo $AGL_INPUT >> log'), { name, concurrency: 4 }).run({ signal: stop.signal }),
    )
    await expect.poll(() => client.list(['queuing', 'running']), SOON).toEqual([])
    stop.abort()
    const summaries = await Promise.all(running)
    expect(summaries.reduce((sum, { succeeded }) => sum + succeeded, 0)).toBe(40)
    expect(new Set(lines('log')).size).toBe(40)
    expect(lines('log')).toHaveLength(40)
  })

  it('passes over a rollout that nobody can speak of, and goes on with the rest', async () => {
    const said = hush()
    const { client, controller, relay } = await setting()
    const headers = { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' }
    const body = JSON.stringify([{ rollout_id: '..', input: 1 }])
    expect((await fetch(`${relay.url}/api/rollouts`, { method: 'POST', headers, body })).status).toBe(201)
    await client.enqueue(['a', 'b'].map((rolloutId) => ({ rolloutId, input: 1 })))
    expect(await controller(shell('exit 0')).run({ maxRollouts: 3 })).toEqual({ succeeded: 2, failed: 1 })
    expect(said().match(/could not be attended to/g)).toHaveLength(1)
  })

  it('fails rollouts that run nowhere, with a name only its own', async () => {
    const { client, controller } = await setting()
    await client.enqueue(['mine', 'theirs', 'nobodys'].map((rolloutId) => ({ rolloutId, input: 1 })))
    await client.patchStatus('mine', { state: 'running', k8sJobName: 'a' })
    await client.patchStatus('theirs', { state: 'running', k8sJobName: 'b' })
    await client.patchStatus('nobodys', { state: 'running' })
    await client.enqueue([{ rolloutId: 'next', input: 1 }])
    await controller(shell('exit 0'), { name: 'a' }).run({ maxRollouts: 1 })
    const states = async (): Promise<string[]> =>
      Promise.all(['mine', 'theirs', 'nobodys', 'next'].map(async (id) => (await statusOf(client, id)).state))
    expect(await states()).toEqual(['failed', 'running', 'running', 'succeeded'])
    expect((await statusOf(client, 'mine')).why).toBe('The agent has no process: its controller was killed.')
    await client.enqueue([{ rolloutId: 'last', input: 1 }])
    await controller(shell('exit 0')).run({ maxRollouts: 1 })
    expect(await states()).toEqual(['failed', 'failed', 'failed', 'succeeded'])
  })

  it('kills the agent of a rollout that was ended or deleted', async () => {
    const { client, controller, lines } = await setting()
    await client.enqueue(['ended', 'deleted'].map((rolloutId) => ({ rolloutId, input: 1 })))
    const running = controller(shell(`echo $$ >> pids; exec ${OUTLIVES}`), { concurrency: 2 }).run({
      maxRollouts: 2,
    })
    await expect.poll(() => lines('pids'), SOON).toHaveLength(2)
    await client.patchStatus('ended', { state: 'failed', errorMessage: 'enough' })
    await client.delete('deleted')
    expect(await running).toEqual({ succeeded: 0, failed: 2 })
    expect(lines('pids').map(Number).filter(isAlive)).toEqual([])
    expect((await statusOf(client, 'ended')).why).toBe('enough')
  })

  it('ends gracefully: nothing new is started, and what runs may end', async () => {
    const { client, controller, file, lines } = await setting()
    await client.enqueue(['a', 'b'].map((rolloutId) => ({ rolloutId, input: rolloutId })))
    const stop = new AbortController()
    const running = controller(shell(`echo $AGL_INPUT >> log; ${UNTIL_GO}`)).run({ signal: stop.signal })
    await expect.poll(() => lines('log'), SOON).toEqual(['a'])
    stop.abort()
    writeFileSync(file('go'), '')
    expect(await running).toEqual({ succeeded: 1, failed: 0 })
    expect((await statusOf(client, 'a')).state).toBe('succeeded')
    expect((await statusOf(client, 'b')).state).toBe('queuing')
    expect(await controller(shell('exit 1')).run({ signal: stop.signal })).toEqual({
      succeeded: 0,
      failed: 0,
    })
  })

  it('waits as long as it is told to, be it for ever', async () => {
    const { client, controller, relay, file, lines } = await setting()
    await client.enqueue([{ rolloutId: 'r', input: 1 }])
    const stop = new AbortController()
    const limits = { grace: Infinity, pollInterval: Infinity }
    const running = controller(shell(`echo $$ >> pids; ${UNTIL_GO}`), limits).run({ signal: stop.signal })
    await expect.poll(() => lines('pids'), SOON).toHaveLength(1)
    const looks = (): number => relay.seen.filter((line) => line.startsWith('GET')).length
    const before = looks()
    await sleep(200)
    expect(looks()).toBe(before)
    stop.abort()
    await sleep(100)
    writeFileSync(file('go'), '')
    expect(await running).toEqual({ succeeded: 1, failed: 0 })
  })

  it('kills what has not ended when its grace is over', async () => {
    const { client, controller, lines } = await setting()
    await client.enqueue([{ rolloutId: 'r', input: 1 }])
    const stop = new AbortController()
    const running = controller(shell(`echo $$ >> pids; exec ${OUTLIVES}`), { grace: 0.1 }).run({
      signal: stop.signal,
    })
    await expect.poll(() => lines('pids'), SOON).toHaveLength(1)
    stop.abort()
    expect(await running).toEqual({ succeeded: 0, failed: 1 })
    expect(await statusOf(client, 'r')).toEqual({ state: 'failed', why: 'The controller was stopped.' })
    expect(lines('pids').map(Number).filter(isAlive)).toEqual([])
  })

  it('leaves nothing behind', async () => {
    const { client, controller } = await setting()
    await client.enqueue([{ input: 1 }])
    const before = process.getActiveResourcesInfo().filter((name) => /Process|Pipe/.test(name))
    await controller(shell('exit 0')).run({ maxRollouts: 1 })
    await expect
      .poll(() => process.getActiveResourcesInfo().filter((name) => /Process|Pipe/.test(name)), SOON)
      .toEqual(before)
  })
})

describe('a controller in bad weather', () => {
  it('starts one process where the answer to its claim was lost', async () => {
    const { client, controller, relay, lines } = await setting()
    const warned = hush()
    await client.enqueue([{ rolloutId: 'r', input: 1 }])
    let claims = 0
    relay.judge = (request) => (request.startsWith('PATCH') && claims++ === 0 ? 'lost answer' : undefined)
    expect(await controller(shell('echo ran >> log')).run({ maxRollouts: 1 })).toEqual({
      succeeded: 1,
      failed: 0,
    })
    expect(lines('log')).toEqual(['ran'])
    expect(warned()).toContain('The gateway does not answer')
    expect(warned()).not.toContain(KEY)
  })

  it('reports an end as soon as the gateway is back, and once', async () => {
    const { client, controller, relay, file, lines } = await setting()
    hush()
    await client.enqueue([{ rolloutId: 'r', input: 1 }])
    let away = false
    relay.judge = () => (away ? 'busy' : undefined)
    const running = controller(shell(`echo ran >> log; ${UNTIL_GO}; echo over >> log`)).run({
      maxRollouts: 1,
    })
    await expect.poll(() => lines('log'), SOON).toEqual(['ran'])
    away = true
    writeFileSync(file('go'), '')
    await expect.poll(() => lines('log'), SOON).toEqual(['ran', 'over'])
    await expect.poll(() => relay.seen.filter((line) => line.startsWith('PATCH')).length, SOON).toBe(2)
    away = false
    expect(await running).toEqual({ succeeded: 1, failed: 0 })
    expect((await client.get('r')).rollout.status).toMatchObject({ state: 'succeeded', version: 3 })
  })

  it('waits for a gateway that is not there yet', async () => {
    const first = await startGatewayServer()
    const port = Number(new URL(first.url).port)
    await first[Symbol.asyncDispose]()
    const warned = hush()
    const client = new GatewayClient({ url: first.url, retries: 0 })
    const running = new Controller({ client, command: shell('exit 0'), pollInterval: 0.05 }).run({
      maxRollouts: 1,
    })
    await expect.poll(warned, SOON).toContain('ECONNREFUSED')
    const server = await startGatewayServer({ port })
    onTestFinished(() => server[Symbol.asyncDispose]())
    await client.enqueue([{ input: 1 }])
    expect(await running).toEqual({ succeeded: 1, failed: 0 })
  })

  it('ends when the gateway refuses its key', async () => {
    const { client, controller } = await setting()
    const wrong = new GatewayClient({ url: client.url, key: 'wrong' })
    await expect(controller(shell('exit 0'), { client: wrong }).run()).rejects.toMatchObject({
      code: 'config_invalid',
    })
  })

  it('fails the rollouts of a controller that was killed, whose agents have ended with it, and runs the rest', async () => {
    const server = await startGatewayServer()
    onTestFinished(() => server[Symbol.asyncDispose]())
    const client = new GatewayClient({ url: server.url })
    const home = folder()
    const log = (): string[] => readFileSync(join(home, 'log'), 'utf8').split('\n').slice(0, -1)
    const pids = (): number[] => log().map((line) => Number(line.split(' ')[1]))
    const ids = Array.from({ length: 10 }, (_, i) => `r${i}`)
    await client.enqueue(ids.map((rolloutId) => ({ rolloutId, input: rolloutId })))
    // An agent, and a child of it, which would both outlive their controller.
    const script = `echo $AGL_INPUT $$ >> log; ${OUTLIVES} & echo $AGL_INPUT $! >> log; wait`
    const program = fileURLToPath(new URL('fixtures/gateway-controller.ts', import.meta.url))
    const child = spawn(process.execPath, [...SOURCE, program, server.url, '3', ...shell(script)], {
      cwd: home,
      stdio: 'inherit',
    })
    const exited = once(child, 'exit')
    await expect.poll(() => existsSync(join(home, 'log')) && log().length, SOON).toBe(6)
    expect(pids().filter(isAlive)).toHaveLength(6)
    child.kill('SIGKILL')
    await exited
    await expect.poll(() => pids().filter(isAlive), SOON).toEqual([])
    expect((await client.list(['running'])).map(({ rolloutId }) => rolloutId)).toEqual(['r0', 'r1', 'r2'])
    const next = new Controller({
      client,
      command: shell('echo $AGL_INPUT $$ >> log'),
      cwd: home,
      concurrency: 3,
      output: 'ignore',
      pollInterval: 0.05,
    })
    expect(await next.run({ maxRollouts: 7 })).toEqual({ succeeded: 7, failed: 0 })
    const states = await Promise.all(ids.map(async (id) => (await statusOf(client, id)).state))
    expect(states).toEqual(ids.map((_, i) => (i < 3 ? 'failed' : 'succeeded')))
    // Two lines of each of the first three, one of each other.
    expect(
      log()
        .map((line) => line.split(' ', 1).join())
        .toSorted(),
    ).toEqual([...ids, 'r0', 'r1', 'r2'].toSorted())
  })

  it.each([
    { concurrency: 0 },
    { concurrency: 1.5 },
    { pollInterval: Number.NaN },
    { grace: -1 },
    { command: JSON.parse('[]') },
  ])('refuses options that make no sense, %o', async (options) => {
    const client = new GatewayClient({ url: 'http://127.0.0.1:1' })
    expect(() => new Controller({ client, command: shell('exit 0'), ...options })).toThrow(
      expect.objectContaining({ code: 'value_invalid' }),
    )
  })
})
