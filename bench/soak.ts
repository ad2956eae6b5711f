import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { spanToJSON } from '@agl/core'
import { openStore } from '@agl/store'
import { spanOf, Template } from './soak-spans.ts'
import type { Memory, Question, Reply } from './soak-subject.ts'
import { Wire } from './wire.ts'

/*
 * Whether memory stays flat while very many spans pass through: `npm run bench:soak -- [SPANS] [URL] [--sink]`.
 *
 * Without a URL, a new SQLite file in the folder for temporary files. The server is a process of its own; this one
 * does what an algorithm and its runners do, with bytes that were made before. With `--sink` there is no server, but an
 * agent that records into the store by itself.
 */

const { values, positionals } = parseArgs({
  options: { sink: { type: 'boolean', default: false } },
  allowPositionals: true,
})
const [count = '300000', given] = positionals
const SPANS = Number(count)
const ROWS = 20
/** Runners, each of which has one rollout at a time and a connection of its own. */
const RUNNERS = 8
const BATCH = 64
/** Requests with spans of one rollout. */
const BATCHES = 2
const PER_ROLLOUT = BATCH * BATCHES
/** Rollouts that an algorithm queues at once, and then waits for. */
const QUEUED = 64
/** One in so many rollouts is read back. */
const READ_EVERY = 16
const MEBIBYTE = 1024 * 1024

let written = 0
const folder = mkdtempSync(join(tmpdir(), 'agl-soak-'))
const url = given ?? `sqlite:${join(folder, 'agl.db')}`
const subject = fork(
  fileURLToPath(new URL('soak-subject.ts', import.meta.url)),
  [values.sink ? 'sink' : 'serve', url],
  { execArgv: ['--expose-gc', '--conditions=@agl/source', '--no-warnings'] },
)
try {
  await soak()
} finally {
  subject.kill()
  rmSync(folder, { recursive: true })
}

async function soak(): Promise<void> {
  const started = await reply()
  if (!('url' in started)) throw new Error('the process did not start as expected')
  const bytes = JSON.stringify(spanToJSON(spanOf(0))).length
  console.log(`${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}`)
  console.log(values.sink ? 'An agent that records into SQLite\n' : `Spans of ${bytes} bytes as JSON\n`)
  console.log('| spans | per second | RSS, MB | of it no file’s | heap, collected | buffers |')
  console.log('|---:|---:|---:|---:|---:|---:|')
  await row(0, 0)
  const pass = values.sink ? recorded : await clients(started.url)
  const portion = Math.ceil(SPANS / ROWS / PER_ROLLOUT) * PER_ROLLOUT
  for (let passed = 0; passed < SPANS;) {
    const begin = performance.now()
    const more = await pass(portion)
    passed += more
    await row(passed, (more / (performance.now() - begin)) * 1000)
  }
  ask('end')
  await once(subject, 'exit')
  const sizes = readdirSync(folder).map((name) => statSync(join(folder, name)).size)
  if (given === undefined) {
    console.log(`\nThe file has ${megabytes(sizes.reduce((sum, size) => sum + size, 0))} MB.`)
  }
}

async function row(passed: number, rate: number): Promise<void> {
  ask('memory')
  const memory = await reply()
  if (!('rss' in memory)) throw new Error('the process did not tell its memory')
  const { rss, anonymous, heap, buffers }: Memory = memory
  const cells = [passed, Math.round(rate)].map((value) => value.toLocaleString('en'))
  console.log(`| ${[...cells, ...[rss, anonymous, heap, buffers].map(megabytes)].join(' | ')} |`)
}

function megabytes(bytes: number): string {
  return (bytes / MEBIBYTE).toFixed(1)
}

function ask(question: Question): void {
  subject.send(question)
}

async function reply(): Promise<Reply> {
  const over = new AbortController()
  const ended = once(subject, 'exit', over).then(() => Promise.reject(new Error('the process ended')))
  // Where there was a reply, nobody waits for the end.
  ended.catch(() => undefined)
  try {
    const [message]: Reply[] = await Promise.race([once(subject, 'message', over), ended])
    if (message === undefined) throw new Error('the process said nothing')
    return message
  } finally {
    over.abort()
  }
}

/** Lets the agent record, and resolves to how many spans its store has taken since. */
async function recorded(spans: number): Promise<number> {
  ask({ record: spans })
  const result = await reply()
  if (!('written' in result)) throw new Error('the process did not tell what it wrote')
  if (result.dropped > 0) throw new Error(`${result.dropped} spans were dropped`)
  const more = result.written - written
  written = result.written
  return more
}

/** An algorithm and its runners: sends as many spans as it is told to, and resolves to how many there were. */
async function clients(server: string): Promise<(spans: number) => Promise<number>> {
  const store = await openStore(server)
  const runners = await Promise.all(
    Array.from({ length: RUNNERS }, async (_, i) => {
      const requests = Array.from({ length: BATCHES }, (_, batch) => new Template(batch * BATCH, BATCH))
      return { workerId: `Worker-${i}`, wire: await Wire.open(server), requests }
    }),
  )
  let finished = 0

  async function run({ workerId, wire, requests }: (typeof runners)[number]): Promise<boolean> {
    const [rollout] = await store.dequeueRollouts({ workerId })
    if (rollout === undefined) return false
    const { rolloutId, attempt } = rollout
    for (const request of requests) await wire.send(request.of(rolloutId, attempt.attemptId))
    await store.updateWorker(workerId, { heartbeatStats: { rolloutId } })
    await store.updateAttempt(rolloutId, attempt.attemptId, { status: 'succeeded' })
    if (finished++ % READ_EVERY > 0) return true
    const { total } = await store.querySpans({ rolloutId })
    if (total !== PER_ROLLOUT) throw new Error(`${rolloutId} has ${total} spans instead of ${PER_ROLLOUT}`)
    return true
  }

  return async (spans) => {
    let passed = 0
    while (passed < spans) {
      const config = { timeoutSeconds: 600, maxAttempts: 2, retryCondition: ['timeout' as const] }
      const requests = Array.from({ length: QUEUED }, (_, input) => ({ input, config }))
      const ids = (await store.enqueueRollouts(requests)).map(({ rolloutId }) => rolloutId)
      const waiting = store.waitForRollouts(ids, { timeout: 600 })
      await Promise.all(
        runners.map(async (runner) => {
          while (await run(runner)) passed += PER_ROLLOUT
        }),
      )
      if ((await waiting).length !== QUEUED) throw new Error('not all rollouts were finished')
    }
    return passed
  }
}
