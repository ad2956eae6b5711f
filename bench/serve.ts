import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { type Span, spanToJSON } from '@agl/core'
import { encodeTraces } from '@agl/otlp'
import { requestOf, Wire } from './wire.ts'

/*
 * Our server beside Agent Lightning's own, spans in and out over HTTP: `npm run bench:serve`. `AGL_PYTHON` names a
 * Python that has agentlightning 0.3.0 installed. Each server is a process of its own; this one only sends bytes that
 * were made before, and counts those that come back. The servers take turns, round by round.
 */

const ROUNDS = 5
const BATCHES = 12
const BATCH = 256
const SINGLES = 400
const AT_ONCE = 4
const AT_LEAST = 5

const python = process.env['AGL_PYTHON']
if (python === undefined || !existsSync(python)) {
  console.error(
    `bench: NOTHING WAS COMPARED. Set AGL_PYTHON to a Python with agentlightning==0.3.0 installed${python === undefined ? '' : `; there is none at ${python}`}.`,
  )
  process.exit(1)
}

const path = (name: string): string => fileURLToPath(new URL(name, import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'agl-bench-'))
const ours = ['--conditions=@agl/source', '--no-warnings', path('serve-ours.ts')]

interface Server {
  name: string
  url: string
  process: ChildProcess
  /** Spans per second of each round. */
  otlp: number[]
  json: number[]
  out: number[]
}

const servers = [
  await begin('ours, memory', process.execPath, [...ours, 'memory:']),
  await begin('ours, SQLite', process.execPath, [...ours, `sqlite:${join(folder, 'agl.db')}`]),
  await begin('Agent Lightning 0.3.0, memory', python, [path('serve.py')]),
]

for (let round = 0; round < ROUNDS; round++) {
  for (const server of servers) await measure(server)
}
for (const server of servers) {
  server.process.stdin?.end()
  await once(server.process, 'exit')
}
rmSync(folder, { recursive: true })

const bytes = Buffer.byteLength(JSON.stringify(spanToJSON(spanOf('ro', 'at'))))
console.log(`${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}`)
console.log(`Spans of ${bytes} bytes as JSON, ${AT_ONCE} connections, median of ${ROUNDS} rounds\n`)
console.log(
  `| spans per second | OTLP in, ${BATCH} a request | JSON in, one a request | out, ${BATCH} a page |\n|---|---:|---:|---:|`,
)
const theirs = servers.at(-1)
let worst = Infinity
for (const server of servers) {
  const cells = (['otlp', 'json', 'out'] as const).map((kind) => {
    const [value, their] = [median(server[kind]), median(theirs?.[kind] ?? [])]
    if (server !== theirs) worst = Math.min(worst, value / their)
    return `${Math.round(value).toLocaleString('en')} (${(value / their).toFixed(1)})`
  })
  console.log(`| ${server.name} | ${cells.join(' | ')} |`)
}
console.log(`\nAt least ${worst.toFixed(1)} times the spans; the aim is ${AT_LEAST}.`)

async function begin(name: string, command: string, args: string[]): Promise<Server> {
  const child = spawn(command, args, {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, LITELLM_LOCAL_MODEL_COST_MAP: 'True' },
  })
  const [url] = await once(createInterface({ input: child.stdout }), 'line')
  return { name, url: String(url), process: child, otlp: [], json: [], out: [] }
}

async function measure({ url, otlp, json, out }: Server): Promise<void> {
  const wire = await Wire.open(url)
  const rollouts: [string, string][] = []
  for (let i = 0; i <= BATCHES; i++) {
    const answer = Buffer.concat(await wire.send(requestOf('/v1/agl/rollouts', '{"input":null}'))).toString()
    const started = JSON.parse(answer.slice(answer.indexOf('\r\n\r\n')))
    rollouts.push([started.rollout_id, started.attempt.attempt_id])
  }
  wire.close()
  const [single = ['', ''], ...others] = rollouts
  const batches = others.map(([rolloutId, attemptId]) => {
    const spans = Array.from({ length: BATCH }, () => spanOf(rolloutId, attemptId))
    return requestOf('/v1/traces', encodeTraces(spans).body, 'application/x-protobuf')
  })
  otlp.push((await rate(url, batches)) * BATCH)
  const singles = Array.from({ length: SINGLES }, () =>
    requestOf('/v1/agl/spans', JSON.stringify(spanToJSON(spanOf(...single)))),
  )
  json.push(await rate(url, singles))
  const pages = others.map(([id]) => requestOf('/v1/agl/spans/search', JSON.stringify({ rollout_id: id })))
  out.push((await rate(url, pages)) * BATCH)
}

/** How many of `requests` are answered per second, some at once, each over a connection of its own. */
async function rate(url: string, requests: readonly Buffer[]): Promise<number> {
  const left = [...requests]
  const wires = await Promise.all(Array.from({ length: AT_ONCE }, () => Wire.open(url)))
  const began = performance.now()
  await Promise.all(
    wires.map(async (wire) => {
      for (let bytes = left.pop(); bytes !== undefined; bytes = left.pop()) await wire.send(bytes)
    }),
  )
  const seconds = (performance.now() - began) / 1000
  for (const wire of wires) wire.close()
  return requests.length / seconds
}

/** A model call of about 4 kB of JSON, token ids and log probabilities included. */
function spanOf(rolloutId: string, attemptId: string): Span {
  const spanId = Array.from({ length: 16 }, () => Math.floor(Math.random() * 16).toString(16)).join('')
  const words = 'A farmer has some hens and each of them lays five eggs a week; how many are there? '
  const logprobs = Array.from({ length: 8 }, (_, i) => ({ token: ` word${i}`, logprob: -0.123456789 * i }))
  return {
    rolloutId,
    attemptId,
    sequenceId: 0,
    traceId: '0af7651916cd43dd8448eb211c80319c',
    spanId,
    parentId: 'b7ad6b7169203331',
    name: 'openai.chat.completion',
    status: { statusCode: 'OK', description: null },
    attributes: {
      'gen_ai.system': 'openai',
      'gen_ai.request.type': 'chat',
      'gen_ai.request.model': 'a-model',
      'gen_ai.request.temperature': 0.7,
      'gen_ai.prompt.0.role': 'system',
      'gen_ai.prompt.0.content': words,
      'gen_ai.prompt.1.role': 'user',
      'gen_ai.prompt.1.content': words.repeat(7),
      'gen_ai.completion.0.role': 'assistant',
      'gen_ai.completion.0.content': words.repeat(4),
      'gen_ai.completion.0.finish_reason': 'stop',
      'gen_ai.response.id': `chatcmpl-${spanId}`,
      'gen_ai.response.model': 'a-model',
      'gen_ai.usage.prompt_tokens': 160,
      'gen_ai.usage.completion_tokens': 40,
      'gen_ai.usage.total_tokens': 200,
      prompt_token_ids: Int32Array.from({ length: 160 }, (_, i) => (i * 7919) % 150_000),
      response_token_ids: Int32Array.from({ length: 40 }, (_, i) => (i * 104_729) % 150_000),
      'logprobs.content': JSON.stringify(logprobs),
    },
    events: [],
    links: [],
    startTime: 1_700_000_000.123456,
    endTime: 1_700_000_001.654321,
    context: null,
    parent: null,
    resource: { attributes: { 'service.name': 'bench' }, schemaUrl: '' },
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}
