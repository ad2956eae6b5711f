import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { percentile, shuffled } from '../harness.ts'
import type { Captured } from './captured.ts'
import type { Reply, Request } from './child.ts'
import { variants } from './variants.ts'
import { workloads, type Workload } from './workloads.ts'

/*
 * What tracers of the `openai` client cost and record, side by side: `npm run bench:peers`.
 *
 * Tracers change a process for good, so each has one of its own that lives as long as the comparison. Every round asks
 * each of them, one after the other and in shuffled order, for one block of calls.
 */

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '60' },
    openai: { type: 'string', default: '6' },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) {
  console.log('Usage: npm run bench:peers -- [--rounds 60] [--openai 6|7]')
  process.exit(0)
}
const rounds = Number(values.rounds)
if (!Number.isInteger(rounds) || rounds < 1 || !['6', '7'].includes(values.openai)) {
  console.error('bench: --rounds takes a number from 1, and --openai 6 or 7.')
  process.exit(2)
}
const openai = values.openai === '7' ? 'openai' : 'openai6'
const WARM_UP = 3

/** Nobody reports to anybody: what is not switched off by these has no address to reach. */
const env = {
  PATH: process.env['PATH'],
  TRACELOOP_TELEMETRY: 'false',
  OTEL_SDK_DISABLED: 'false',
  LANGSMITH_TRACING: 'true',
  LANGSMITH_ENDPOINT: 'http://127.0.0.1:65535',
  LANGSMITH_API_KEY: 'none',
  LANGFUSE_BASE_URL: 'http://127.0.0.1:65535',
  LANGFUSE_PUBLIC_KEY: 'none',
  LANGFUSE_SECRET_KEY: 'none',
}

const packages = [
  openai,
  '@arizeai/openinference-instrumentation-openai',
  '@traceloop/instrumentation-openai',
  '@opentelemetry/instrumentation-openai',
  '@langfuse/openai',
  'langsmith',
]

function withVersion(name: string): string {
  const file = new URL(`node_modules/${name}/package.json`, import.meta.url)
  const manifest: { name: string; version: string } = JSON.parse(readFileSync(file, 'utf8'))
  return `${manifest.name} ${manifest.version}`
}

interface Participant {
  name: string
  process: ChildProcess
  /** Rejects when the process ends. */
  ended: Promise<never>
}

function participant(name: string): Participant {
  const child = fork(fileURLToPath(new URL('child.ts', import.meta.url)), [name, openai], {
    env,
    execArgv: ['--expose-gc', '--conditions=@agl/source'],
    serialization: 'advanced',
  })
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`The process of "${name}" ended with exit code ${code}.`)
  })
  ended.catch(() => {})
  return { name, process: child, ended }
}

async function ask({ name, process: child, ended }: Participant, request: Request): Promise<Reply> {
  child.send(request)
  const answer: Promise<Reply> = once(child, 'message').then(([reply]) => reply)
  const reply = await Promise.race([answer, ended])
  if (reply.attempts.length > 0)
    throw new Error(`"${name}" tried to connect: ${reply.attempts.slice(0, 3).join(', ')}`)
  return reply
}

function table(
  workload: Workload,
  samples: ReadonlyMap<string, readonly Reply[]>,
  looks: ReadonlyMap<string, Captured>,
): string {
  const low = (name: string, kind: 'wall' | 'cpu'): number =>
    percentile(
      (samples.get(name) ?? []).map((reply) => reply[kind]),
      0.1,
    )
  const [base = ''] = samples.keys()
  const rows = [...samples.keys()].map((name) => {
    const cost = (['wall', 'cpu'] as const).flatMap((kind) => [
      low(name, kind).toFixed(0),
      name === base ? '' : signed(low(name, kind) - low(base, kind)),
    ])
    const look = looks.get(name)
    return [name, ...cost, ...(look === undefined ? ['', '', '', '', '', ''] : cells(look, workload))]
  })
  return [
    `### ${workload.name}\n`,
    '| tracer | wall, µs | added | CPU, µs | added | messages | answer | usage | prompt ids | answer’s ids | logprobs |',
    '| --- | ---: | ---: | ---: | ---: | ---: | --- | --- | --- | --- | ---: |',
    ...rows.map((row) => `| ${row.join(' | ')} |`),
  ].join('\n')
}

function signed(value: number): string {
  return `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(0)}`
}

function cells(look: Captured, { expected }: Workload): string[] {
  const word = (found: boolean): string => (found ? 'yes' : '**no**')
  const amount = (found: number, all: number): string =>
    found === all ? `${all} of ${all}` : `**${found} of ${all}**`
  return [
    amount(look.messages, expected.messages.length),
    word(look.answer),
    word(look.usage),
    word(look.promptIds),
    word(look.responseIds),
    amount(look.logprobs, expected.logprobs.length),
  ]
}

const participants = Object.keys(variants).map(participant)
try {
  const machine = `${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}`
  console.log(`Node ${process.versions.node}, ${machine}; ${packages.map(withVersion).join(', ')}`)
  console.log(`${rounds} rounds, 10th percentile, µs per call\n`)
  for (const [index, workload] of workloads.entries()) {
    const samples = new Map<string, Reply[]>(participants.map(({ name }) => [name, []]))
    const looks = new Map<string, Captured>()
    for (let round = -WARM_UP; round < rounds; round++) {
      process.stderr.write(process.stderr.isTTY ? `\r${workload.name}: ${Math.max(round, 0)}/${rounds} ` : '')
      for (const one of shuffled(participants)) {
        const reply = await ask(one, { workload: index, look: false })
        if (round >= 0) samples.get(one.name)?.push(reply)
      }
    }
    for (const one of participants) {
      const { captured } = await ask(one, { workload: index, look: true })
      if (captured !== undefined && !one.name.startsWith('plain')) looks.set(one.name, captured)
    }
    process.stderr.write(process.stderr.isTTY ? '\r\u001b[K' : '')
    console.log(`${table(workload, samples, looks)}\n`)
  }
  console.log('No process tried to connect to anything.')
} finally {
  for (const { process: child } of participants) child.kill()
}
