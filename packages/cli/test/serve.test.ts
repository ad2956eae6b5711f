import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { openStore } from '@agl/store'
import { describe, expect, it, onTestFinished } from 'vitest'
import { App } from './support.ts'

interface Serving {
  url: string
  /** What it said first. */
  line: string
  process: ChildProcess
  errors: () => string
  end(signal?: NodeJS.Signals): Promise<number | null>
}

/** `agl serve` in an app, once it says where. */
async function serve(app: App, args: readonly string[], env: Record<string, string> = {}): Promise<Serving> {
  const child = spawn(
    process.execPath,
    ['--conditions=@agl/source', '--no-warnings', app.bin, 'serve', '--port', '0', ...args],
    { cwd: app.folder, env: { PATH: process.env['PATH'], ...env }, stdio: ['ignore', 'pipe', 'pipe'] },
  )
  onTestFinished(() => void child.kill('SIGKILL'))
  let errors = ''
  child.stderr.on('data', (text: Buffer) => (errors += text.toString()))
  const [line] = await once(createInterface({ input: child.stdout }), 'line')
  const ended = once(child, 'close')
  return {
    url: /http:\S+/.exec(String(line))?.[0] ?? '',
    line: String(line),
    process: child,
    errors: () => errors,
    end: async (signal = 'SIGTERM') => {
      child.kill(signal)
      await ended
      return child.exitCode
    },
  }
}

describe('agl serve', () => {
  it('serves the store of this folder on this machine, and keeps it', async () => {
    const app = new App()
    const server = await serve(app, [])
    expect(server.line).toMatch(/^sqlite:\.agl\/agl\.db is served at http:\/\/127\.0\.0\.1:\d+$/)
    const store = await openStore(server.url)
    await store.startRollout({ rolloutId: 'ro-1', attemptId: 'at-1', metadata: { name: 'kept' } })
    await store.close()
    expect(await server.end()).toBe(0)
    expect(server.errors()).toBe('')
    const traces = await app.agl(['traces', '--json'])
    expect(JSON.parse(traces.stdout)).toMatchObject([{ name: 'kept' }])
  })

  it('takes the lines of an export as OTLP, and gives back the same spans', async () => {
    const app = new App()
    await app.agl(['demo', '--problems', '2'])
    await app.agl(['export', '--format', 'otlp', '--store', 'sqlite:.agl/demo.db', '--out', 'spans.jsonl'])
    const traces = await app.traces('.agl/demo.db')
    const server = await serve(app, ['--store', 'memory:'])
    await using store = await openStore(server.url)
    for (const { rollout, spans } of traces) {
      const { rolloutId } = rollout
      await store.startRollout({ rolloutId, attemptId: spans[0]?.attemptId ?? '' })
    }
    for (const body of readFileSync(join(app.folder, 'spans.jsonl'), 'utf8').trimEnd().split('\n')) {
      const headers = { 'content-type': 'application/json' }
      const response = await fetch(`${server.url}/v1/traces`, { method: 'POST', headers, body })
      expect({ status: response.status, answer: await response.json() }).toEqual({ status: 200, answer: {} })
    }
    for (const { rollout, spans } of traces) {
      const { items } = await store.querySpans({ rolloutId: rollout.rolloutId })
      expect(items).toEqual(spans)
    }
  })

  it.each(['SIGINT', 'SIGTERM'] as const)('ends at %s though somebody waits', async (signal) => {
    const server = await serve(new App(), ['--store', 'memory:'])
    const waiting = fetch(`${server.url}/v1/agl/queues/rollouts/dequeue`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"timeout": 60}',
    })
    await fetch(`${server.url}/v1/agl/health`)
    const code = await server.end(signal)
    expect(await (await waiting).json()).toEqual([])
    expect(code).toBe(0)
  })

  it('ends at once at a second signal, whichever it is', async () => {
    const server = await serve(new App(), ['--store', 'memory:'])
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
    onTestFinished(() => void socket.destroy())
    socket.on('error', () => undefined)
    await once(socket, 'connect')
    // A request that never ends, for which the server would wait a while.
    socket.write('POST /v1/agl/rollouts HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{')
    await sleep(200)
    server.process.kill('SIGINT')
    await sleep(200)
    expect(await server.end('SIGTERM')).toBe(1)
  })

  it('takes a token from the command or the environment, and prints it nowhere', async () => {
    const app = new App()
    for (const server of [
      await serve(app, ['--store', 'memory:', '--token', 'the-token']),
      await serve(app, ['--store', 'memory:'], { AGL_STORE_TOKEN: 'the-token' }),
    ]) {
      expect((await fetch(`${server.url}/v1/agl/rollouts`)).status).toBe(401)
      await using store = await openStore(server.url, { token: 'the-token' })
      expect((await store.queryRollouts()).total).toBe(0)
      await server.end()
      expect(server.line + server.errors()).not.toContain('the-token')
    }
  })

  it('is recorded to with a token in its URL, which agl run does not print', async () => {
    const app = new App()
    app.write('app.mjs', '')
    const server = await serve(app, ['--store', 'memory:', '--token', 'the-token'])
    const url = server.url.replace('://', '://agl:the-token@')
    const { stderr } = await app.agl(['run', '--store', url, 'app.mjs'])
    expect(stderr).toContain('1 spans written, 0 dropped')
    expect(stderr).toContain('--store http://agl:***@127.0.0.1')
    expect(stderr).not.toContain('the-token')
    await server.end()
  })

  it('warns where everybody can reach it without a token', async () => {
    const server = await serve(new App(), ['--store', 'memory:', '--host', '0.0.0.0'])
    await server.end()
    expect(server.errors()).toContain('everybody who reaches this address')
  })

  it.each([
    ['ends by itself', '', 'succeeded'],
    ['exits at once', 'process.exit(3)', 'failed'],
  ])('keeps what agl run records of a program that %s', async (_name, ending, status) => {
    const app = new App()
    app.write(
      'agl.config.ts',
      "import { defineConfig } from '@agl/core'\nexport default defineConfig({ plugins: [] })\n",
    )
    app.write('app.ts', `import { emitReward } from '@agl/core'\nemitReward(0.5)\n${ending}\n`)
    const server = await serve(app, ['--store', 'memory:'])
    const { stderr } = await app.agl(['run', '--store', server.url, 'app.ts'])
    expect(stderr).toContain('2 spans written, 0 dropped')
    const traces = await app.agl(['traces', '--json', '--store', server.url])
    expect(JSON.parse(traces.stdout)).toMatchObject([{ name: 'app.ts', status }])
    await server.end()
  })

  it.each([
    [['--port', 'x'], 'The port "x" is none'],
    [['--store', 'http://127.0.0.1:1'], 'is served already'],
    [['--store', 'nothing'], 'names no kind of store'],
    [['--host', '192.0.2.1'], 'cannot be served at 192.0.2.1'],
  ])('refuses %j in one sentence', async (args, sentence) => {
    const { code, stderr } = await new App().agl(['serve', ...args])
    expect(stderr).toContain(sentence)
    expect(stderr.trim().split('\n')).toHaveLength(1)
    expect(code).toBe(2)
  })

  it('says that a port is taken', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    onTestFinished(() => void other.close())
    const address = other.address()
    const port = typeof address === 'object' ? String(address?.port) : ''
    const { code, stderr } = await new App().agl(['serve', '--store', 'memory:', '--port', port])
    expect(stderr).toContain('EADDRINUSE')
    expect(code).toBe(2)
  })

  it('helps with an example', async () => {
    const { code, stdout } = await new App().agl(['serve', '--help'])
    expect(stdout).toContain('agl serve --store sqlite:agl.db --port 4747')
    expect(code).toBe(0)
  })
})
