import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { expect, it, onTestFinished } from 'vitest'
import { offline, pythonEnvironment } from '../src/environment.ts'

const example = fileURLToPath(new URL('../../examples/train-with-python', import.meta.url))

interface Program {
  child: ChildProcess
  output(): string
  ended: Promise<number | null>
}

function run(command: string, args: readonly string[], env: Readonly<Record<string, string>>): Program {
  const child = spawn(command, args, { cwd: example, env: { ...process.env, ...offline, ...env } })
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (data: Buffer) => (text += data.toString()))
  const ended = once(child, 'close').then(() => child.exitCode)
  onTestFinished(() => void (child.exitCode ?? child.kill('SIGKILL')))
  return { child, output: () => text, ended }
}

async function freePort(): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  return String(typeof address === 'object' ? address?.port : '')
}

it('Agent Lightning trains the agent of examples/train-with-python, whoever starts first', async () => {
  const python = await pythonEnvironment('agentlightning')
  const port = await freePort()
  const runner = run(process.execPath, ['--conditions=@agl/source', 'main.ts'], {
    AGL_STORE: `http://127.0.0.1:${port}`,
  })
  const algorithm = run(python, [join(example, 'algorithm.py')], { AGL_SERVER_PORT: port })
  expect([await algorithm.ended, algorithm.output()]).toEqual([
    0,
    expect.stringContaining('the better prompt'),
  ])
  const lines = algorithm.output().split('\n')
  expect(lines).toEqual(
    expect.arrayContaining([
      expect.stringMatching(/^chatty: 4 calls, \d+ tokens, mean reward 0\.00, succeeded$/),
      expect.stringMatching(/^strict: 4 calls, \d+ tokens, mean reward 1\.00, succeeded$/),
      'the better prompt: strict',
    ]),
  )
  runner.child.kill('SIGTERM')
  await Promise.race([runner.ended, sleep(30_000)])
  expect(runner.output()).toContain('8 rollouts succeeded, 0 failed')
  expect(runner.child.exitCode).toBe(0)
}, 300_000)
