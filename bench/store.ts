import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { arch, cpus, platform, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type LlmData,
  type LlmStart,
  type PluginApi,
  type QueueOptions,
  type Span,
  record,
  spanToJSON,
  openTrace,
  start,
} from '@agl/core'
import { openStore, type Store, storeSink } from '@agl/store'
import { runtimeApi } from './runtime-api.ts'

/*
 * What the SQLite store takes in, and how much the agent's thread feels of it:
 * `node --conditions=@agl/source store.ts [SECONDS]`. Every figure is of a new file in the folder for temporary files.
 */

const SECONDS = Number(process.argv[2] ?? 10)
const RATE = 20_000
const BATCH = 256
/** Many runs side by side, each over after some hundred calls. */
const AT_ONCE = 32
const CALLS = 200
const MEBIBYTE = 1024 * 1024

const words =
  'A farmer has some hens and each of them lays five eggs a week; how many are there after three weeks? '
/** As texts are that come out of a parser: in one piece, where joining leaves pieces for the first reader to put together. */
const [question, answer]: string[] = JSON.parse(JSON.stringify([words.repeat(7), words.repeat(4)]))
const promptIds = Int32Array.from({ length: 160 }, (_, i) => (i * 7919) % 150_000)
const responseIds = Int32Array.from({ length: 40 }, (_, i) => (i * 104_729) % 150_000)
const logprobs = Array.from({ length: 8 }, (_, i) => ({
  token: ` word${i}`,
  logprob: -0.123456789 * i,
  bytes: [32, 119],
}))

/** A model call whose span is about 4 kB of JSON, token ids and log probabilities included. */
const llmStart = (): LlmStart => ({
  operation: 'chat',
  provider: 'openai',
  request: { model: 'a-model', temperature: 0.7, max_tokens: 256 },
  baseURL: 'http://127.0.0.1:8000/v1',
  messages: [
    { role: 'system', content: words },
    { role: 'user', content: question },
  ],
})
const llmData = (): LlmData => ({
  response: { id: 'chatcmpl-0123456789', model: 'a-model' },
  choices: [
    {
      index: 0,
      role: 'assistant',
      content: answer,
      finishReason: 'stop',
      logprobs: { content: logprobs },
    },
  ],
  usage: { promptTokens: 160, completionTokens: 40, totalTokens: 200 },
  tokens: { prompt: promptIds, choices: [{ index: 0, response: responseIds }], complete: true },
})

interface Measured {
  seconds: number
  /** Spans that were made for the store to take. */
  spans: number
}

/** Runs `work` on a new file and prints one row of the table. */
async function measure(name: string, work: (store: Store) => Promise<Measured>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'agl-bench-'))
  const file = join(folder, 'agl.db')
  const store = await openStore(`sqlite:${file}`)
  const delay = monitorEventLoopDelay({ resolution: 1 })
  const begin = performance.now()
  const before = machineTime()
  const cpu = process.cpuUsage()
  const loop = performance.eventLoopUtilization()
  delay.enable()
  const { seconds, spans } = await work(store)
  delay.disable()
  const busy = performance.eventLoopUtilization(loop).utilization
  const { user, system } = process.cpuUsage(cpu)
  const others = (machineTime() - before - (user + system) / 1000) / (performance.now() - begin)
  const { totalSpans } = await store.statistics()
  await store.close()
  const size = statSync(file).size
  rmSync(folder, { recursive: true })
  const ms = (value: number): string => (value / 1e6).toFixed(1)
  const cells = [
    name,
    Math.round(Math.min(spans, totalSpans) / seconds).toLocaleString('en'),
    Math.max(0, spans - totalSpans),
    ms(delay.percentile(50)),
    ms(delay.percentile(99)),
    ms(delay.max),
    `${Math.round(busy * 100)} %`,
    ((user + system) / 1e6 / seconds).toFixed(2),
    spans === 0 ? '' : ((user + system) / spans).toFixed(0),
    spans === 0 ? '' : (size / MEBIBYTE).toFixed(0),
    spans === 0 ? '' : Math.round(size / totalSpans).toLocaleString('en'),
    Math.max(0, others).toFixed(2),
  ]
  console.log(`| ${cells.join(' | ')} |`)
}

/** Milliseconds of CPU that all programs of this machine have used. */
function machineTime(): number {
  return cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.irq, 0)
}

/** Calls `produce` at `RATE` spans per second in small portions, as many agents side by side would. */
async function paced(produce: (count: number) => void): Promise<number> {
  const begin = performance.now()
  let spans = 0
  for (let now = begin; now - begin < SECONDS * 1000; now = performance.now()) {
    const due = Math.floor(((now - begin) / 1000) * RATE) - spans
    produce(due)
    spans += due
    await sleep(1)
  }
  return spans
}

function seconds(begin: number): number {
  return (performance.now() - begin) / 1000
}

async function throughCore(
  store: Store,
  queue: QueueOptions,
  produce: (call: () => void, flush: () => Promise<unknown>) => Promise<number>,
): Promise<Measured> {
  const lightning = await start({ sinks: [storeSink(store)], queue, drain: 60_000 })
  const api: PluginApi = await runtimeApi(lightning)
  const open = new Map<number, ReturnType<typeof openTrace>>()
  let calls = 0
  const call = (): void => {
    const place = calls++ % AT_ONCE
    if (calls % CALLS === 0) {
      open.get(place)?.end()
      open.delete(place)
    }
    const opened = open.get(place) ?? openTrace('bench')
    open.set(place, opened)
    opened.run(() => api.activity('llm', llmStart()).end(llmData()))
  }
  const begin = performance.now()
  const spans = await produce(call, () => lightning.flush({ timeout: 60_000 }))
  for (const opened of open.values()) opened.end()
  await lightning.flush({ timeout: 60_000 })
  const elapsed = seconds(begin)
  await lightning.shutdown()
  return { seconds: elapsed, spans }
}

/** The span that core makes of the call above, as a pattern for those that go to the store directly. */
async function pattern(): Promise<Span> {
  const lightning = await start()
  const api = await runtimeApi(lightning)
  const { spans } = await record('pattern', () => api.activity('llm', llmStart()).end(llmData()))
  await lightning.shutdown()
  const span = spans.find(({ name }) => name === 'openai.chat.completion')
  if (span === undefined) throw new Error('core recorded no span')
  return span
}

const span = await pattern()
/** As span ids are: in no order, which an index feels. */
const randomHex = (): string =>
  Math.floor(Math.random() * 2 ** 32)
    .toString(16)
    .padStart(8, '0')
const rolloutOf = (n: number): number => Math.floor(n / (AT_ONCE * CALLS)) * AT_ONCE + (n % AT_ONCE)
let next = 0
const copies = (count: number): Span[] =>
  Array.from({ length: count }, () => ({
    ...span,
    rolloutId: `ro-${rolloutOf(next)}`,
    spanId: randomHex() + randomHex(),
    attributes: { ...span.attributes, 'gen_ai.response.id': `chatcmpl-${next++}` },
  }))

const bytes = JSON.stringify(spanToJSON(span)).length
const memory = Math.round(totalmem() / 1024 ** 3)
console.log(
  `${process.version}, ${platform()} ${arch()}, ${cpus().length} × ${cpus()[0]?.model}, ${memory} GiB`,
)
console.log(`LLM spans of ${bytes} bytes as JSON, ${SECONDS} s each\n`)
const columns = [
  '',
  'spans/s',
  'lost',
  'loop delay p50 ms',
  'p99 ms',
  'max ms',
  'loop busy',
  'CPUs used',
  'CPU µs/span',
  'file MiB',
  'bytes/span',
  'CPUs used by others',
]
console.log(`| ${columns.join(' | ')} |\n|---|${'---:|'.repeat(columns.length - 1)}`)

await measure('nothing to do', async () => {
  await sleep(SECONDS * 1000)
  return { seconds: SECONDS, spans: 0 }
})
await measure(`making the spans only, ${RATE}/s`, async () => {
  await paced((count) => void copies(count))
  return { seconds: SECONDS, spans: 0 }
})
await measure(`store directly, ${RATE}/s`, async (store) => {
  const begin = performance.now()
  const waiting: Span[] = []
  let writing = Promise.resolve()
  const write = async (): Promise<void> => {
    await store.addSpans(waiting.splice(0, BATCH), { createMissing: true })
  }
  const spans = await paced((count) => {
    waiting.push(...copies(count))
    if (waiting.length >= BATCH) writing = writing.then(write)
  })
  await writing
  while (waiting.length > 0) await write()
  return { seconds: seconds(begin), spans }
})
await measure('store directly, as fast as it goes', async (store) => {
  const begin = performance.now()
  let spans = 0
  let before: Promise<unknown> = Promise.resolve()
  while (seconds(begin) < SECONDS) {
    const now = store.addSpans(copies(BATCH), { createMissing: true })
    spans += BATCH
    await before
    before = now
  }
  await before
  return { seconds: seconds(begin), spans }
})
const rate = (call: () => void): Promise<number> =>
  paced((count) => {
    for (let i = 0; i < count; i++) call()
  })
await measure(`through core and its queue, ${RATE}/s`, (store) => throughCore(store, {}, rate))
await measure('the same with queue.batch 1024', (store) => throughCore(store, { batch: 1024 }, rate))
await measure('through core and its queue, as fast as it goes', (store) =>
  throughCore(store, {}, async (call, flush) => {
    const begin = performance.now()
    let spans = 0
    while (seconds(begin) < SECONDS) {
      for (let i = 0; i < 64; i++) call()
      spans += 64
      if (spans % 8192 === 0) await flush()
      await new Promise(setImmediate)
    }
    return spans
  }),
)
