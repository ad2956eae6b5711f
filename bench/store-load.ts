import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Span } from '@agl/core'
import { openStore, type Store } from '@agl/store'

/*
 * How fast a store gives rollouts to many runners, and how fast it finds one rollout's spans among very many:
 * `node --conditions=@agl/source store-load.ts [SPANS] [URL…]`. Without a URL, a new SQLite file in the folder for
 * temporary files, and the Postgres of AGL_TEST_POSTGRES where that is set.
 */

const [count = '1000000', ...given] = process.argv.slice(2)
const SPANS = Number(count)
const PER_ROLLOUT = 20
/** Rollouts whose spans arrive side by side, as those of many runners do. */
const AT_ONCE = 32
const RUNNERS = 64
const ROLLOUTS = 5000
const READS = 300

const text = 'A farmer has some hens and each of them lays five eggs a week; how many are there? '
const ids = (length: number): number[] => Array.from({ length }, (_, i) => (i * 7919) % 150_000)
const attributes = {
  'gen_ai.system': 'openai',
  'gen_ai.prompt.0.role': 'user',
  'gen_ai.prompt.0.content': text.repeat(12),
  'gen_ai.completion.0.content': text.repeat(6),
  prompt_token_ids: ids(160),
  response_token_ids: ids(40),
  'logprobs.content': JSON.stringify(
    Array.from({ length: 12 }, (_, i) => ({ token: ` w${i}`, logprob: -0.12 * i })),
  ),
}

function span(rolloutId: string): Span {
  return {
    rolloutId,
    attemptId: 'at-1',
    sequenceId: 0,
    traceId: crypto.randomUUID().replaceAll('-', ''),
    spanId: crypto.randomUUID().slice(0, 8) + crypto.randomUUID().slice(0, 8),
    parentId: null,
    name: 'openai.chat.completion',
    status: { statusCode: 'OK', description: null },
    attributes,
    events: [],
    links: [],
    startTime: 1_700_000_000,
    endTime: 1_700_000_001,
    context: null,
    parent: null,
    resource: { attributes: {}, schemaUrl: '' },
  }
}

const percentile = (sorted: readonly number[], share: number): string =>
  (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN).toFixed(1)

function times(milliseconds: number[]): string {
  const sorted = milliseconds.toSorted((a, b) => a - b)
  return `p50 ${percentile(sorted, 0.5)} ms, p99 ${percentile(sorted, 0.99)} ms, max ${percentile(sorted, 1)} ms`
}

const rate = (done: number, begin: number): string =>
  Math.round((done / (performance.now() - begin)) * 1000).toLocaleString('en')

async function dequeue(store: Store): Promise<void> {
  let begin = performance.now()
  await store.enqueueRollouts(Array.from({ length: ROLLOUTS }, (_, input) => ({ input })))
  console.log(`  enqueued: ${rate(ROLLOUTS, begin)} rollouts/s`)
  const taken: string[] = []
  const waited: number[] = []
  begin = performance.now()
  const runner = async (index: number): Promise<void> => {
    for (;;) {
      const asked = performance.now()
      const [rollout] = await store.dequeueRollouts({ workerId: `Worker-${index}` })
      if (rollout === undefined) return
      waited.push(performance.now() - asked)
      taken.push(rollout.rolloutId)
    }
  }
  await Promise.all(Array.from({ length: RUNNERS }, (_, index) => runner(index)))
  console.log(`  dequeued by ${RUNNERS} runners: ${rate(taken.length, begin)} rollouts/s; ${times(waited)}`)
  console.log(`  lost ${ROLLOUTS - new Set(taken).size}, given twice ${taken.length - new Set(taken).size}`)
  begin = performance.now()
  await Promise.all(
    Array.from({ length: RUNNERS }, async (_, index) => {
      for (let i = index; i < taken.length; i += RUNNERS) {
        await store.updateAttempt(taken[i] ?? '', 'latest', { status: 'succeeded' })
      }
    }),
  )
  console.log(`  attempts ended: ${rate(taken.length, begin)}/s`)
}

async function find(store: Store): Promise<void> {
  const rollouts = Math.ceil(SPANS / PER_ROLLOUT)
  const rolloutOf = (n: number): number => Math.floor(n / (AT_ONCE * PER_ROLLOUT)) * AT_ONCE + (n % AT_ONCE)
  const begin = performance.now()
  const writing = new Set<Promise<unknown>>()
  for (let n = 0; n < SPANS; n += 256) {
    const batch = Array.from({ length: Math.min(256, SPANS - n) }, (_, i) => span(`ro-${rolloutOf(n + i)}`))
    const write: Promise<unknown> = store
      .addSpans(batch, { createMissing: true })
      .finally(() => writing.delete(write))
    writing.add(write)
    if (writing.size === 4) await Promise.race(writing)
  }
  await Promise.all(writing)
  console.log(`  added: ${rate(SPANS, begin)} spans/s of ${JSON.stringify(span('')).length} bytes`)
  const read: number[] = []
  for (let i = 0; i < READS; i++) {
    const rolloutId = `ro-${Math.floor(Math.random() * (rollouts - AT_ONCE))}`
    const asked = performance.now()
    const { items } = await store.querySpans({ rolloutId })
    read.push(performance.now() - asked)
    if (items.length !== PER_ROLLOUT) throw new Error(`${rolloutId} has ${items.length} spans`)
  }
  console.log(`  one rollout's ${PER_ROLLOUT} spans of ${SPANS.toLocaleString('en')}: ${times(read)}`)
}

console.log(`${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}`)
const folder = mkdtempSync(join(tmpdir(), 'agl-bench-'))
const postgres = process.env['AGL_TEST_POSTGRES']
const urls = given.length > 0 ? given : [`sqlite:${join(folder, 'agl.db')}`, ...(postgres ? [postgres] : [])]
try {
  for (const url of urls) {
    const store = await openStore(url)
    console.log(store.url.replace(/:.*/, ':'))
    await dequeue(store)
    await find(store)
    await store.close()
  }
} finally {
  rmSync(folder, { recursive: true })
}
