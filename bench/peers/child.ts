import { createRequire } from 'node:module'
import { setImmediate as immediate, setTimeout as sleep } from 'node:timers/promises'
import type OpenAI from 'openai6'
import { captured, type Captured } from './captured.ts'
import { attemptsToConnect, guardNetwork } from './network.ts'
import { variants, type Tracer } from './variants.ts'
import { workloads, type Workload } from './workloads.ts'

/** What the parent asks for: a block of a workload, or a look at what one call of it leaves. */
export interface Request {
  workload: number
  look: boolean
}

export interface Reply {
  /** Microseconds per call: wall time, and CPU time of the whole process. */
  wall: number
  cpu: number
  captured?: Captured
  /** What this process tried to connect to, ever. */
  attempts: readonly string[]
}

await guardNetwork()
const [, , name = '', openai = 'openai6'] = process.argv
const setup = Object.entries(variants).find(([variant]) => variant === name)?.[1]
if (setup === undefined) throw new Error(`There is no variant "${name}".`)
const tracer: Tracer = await setup()
// By `require`, which instrumentations of OpenTelemetry can watch without a loader.
const { OpenAI: OpenAIClass }: { OpenAI: typeof OpenAI } = createRequire(import.meta.url)(openai)

async function call(client: OpenAI, { messages, stream }: Workload): Promise<void> {
  const body = { model: 'bench', messages: [...messages], logprobs: true, return_token_ids: true }
  if (!stream) {
    await client.chat.completions.create(body)
    return
  }
  const chunks = await client.chat.completions.create({
    ...body,
    stream: true,
    stream_options: { include_usage: true },
  })
  for await (const _chunk of chunks) continue
}

const clients = new Map<Workload, OpenAI>()
function clientOf(workload: Workload, keep?: (record: unknown) => void): OpenAI {
  const options = {
    apiKey: 'none',
    baseURL: 'http://127.0.0.1:65535/v1',
    fetch: workload.answer,
    maxRetries: 0,
  }
  if (keep !== undefined) return tracer.client(OpenAIClass, options, keep)
  const client = clients.get(workload) ?? tracer.client(OpenAIClass, options, undefined)
  clients.set(workload, client)
  return client
}

const run = tracer.run ?? ((work: () => Promise<void>) => work())
/** Some end their spans in a later tick than the program sees the answer. */
async function flush(): Promise<void> {
  await immediate()
  await tracer.flush?.()
}

async function measure(workload: Workload): Promise<Omit<Reply, 'attempts'>> {
  const client = clientOf(workload)
  globalThis.gc?.()
  const cpu = process.cpuUsage()
  const wall = performance.now()
  await run(async () => {
    for (let i = 0; i < workload.count; i++) await call(client, workload)
  })
  await flush()
  const elapsed = performance.now() - wall
  const used = process.cpuUsage(cpu)
  return { wall: (elapsed * 1000) / workload.count, cpu: (used.user + used.system) / workload.count }
}

/** Some tracers end their spans later than the call, so there is a pause before the look. */
async function look(workload: Workload): Promise<Captured> {
  const records: unknown[] = []
  const client = clientOf(workload, (record) => records.push(record))
  await run(() => call(client, workload))
  await sleep(200)
  await flush()
  // Forgets again.
  clients.delete(workload)
  clientOf(workload)
  return captured(records, workload.expected)
}

process.on('message', (request: Request) => {
  const workload = workloads[request.workload]
  if (workload === undefined) return
  void (async () => {
    const reply = request.look ? { wall: 0, cpu: 0, captured: await look(workload) } : await measure(workload)
    process.send?.({ ...reply, attempts: attemptsToConnect() } satisfies Reply)
  })()
})
