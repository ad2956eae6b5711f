import { record, start, trace, type Lightning, type Sink } from '@agl/core'
import { vllm } from '@agl/vllm'
import OpenAI from 'openai'
import { compare, type Variant } from './harness.ts'
import { answering, chunks, completion, streaming, type Shape } from './payloads.ts'

/**
 * Blocks of calls are so long that each collects its own garbage: collecting it by force between blocks makes the
 * engine throw compiled code away, which no program at work does.
 */
const unforced = { collect: false }

/** Takes spans and forgets them: the figures go up to the sink's queue. */
const nowhere: Sink = { name: 'nowhere', write: () => {} }

const messages = [
  { role: 'system' as const, content: 'You are a careful assistant.' },
  { role: 'user' as const, content: 'Say some words.' },
]

function client(answer: typeof fetch): OpenAI {
  return new OpenAI({ apiKey: 'none', baseURL: 'http://127.0.0.1:1/v1', fetch: answer, maxRetries: 0 })
}

/** Plain and traced variants of one piece of work, which gets as often as asked. */
function variants(lightning: Lightning, work: () => Promise<unknown>): [Variant, ...Variant[]] {
  const loop = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++) await work()
  }
  const off = (): Promise<void> => lightning.stop('vllm').then(() => lightning.stop('openai'))
  const on = (): Promise<void> => lightning.resume('openai').then(() => lightning.resume('vllm'))
  return [
    { name: 'plain client', before: off, run: loop },
    {
      name: '@agl/vllm with logprobs',
      before: on,
      run: (count) => trace('bench', () => loop(count)),
      after: flush,
    },
  ]
  async function flush(): Promise<void> {
    await lightning.flush()
  }
}

export async function benchOpenAI(): Promise<void> {
  const lightning = await start({ plugins: [vllm({ logprobs: true })], sinks: [nowhere], log: 'error' })
  const body = { model: 'bench', messages, logprobs: true, return_token_ids: true }
  const complete = (shape: Shape) => {
    const openai = client(answering(completion(shape)))
    return variants(lightning, () => openai.chat.completions.create(body))
  }
  const stream = (shape: Shape) => {
    const openai = client(streaming(chunks(shape)))
    return variants(lightning, async () => {
      for await (const _chunk of await openai.chat.completions.create({ ...body, stream: true })) continue
    })
  }

  await compare(
    'Chat completion, 500 prompt ids, 50 tokens with logprobs',
    complete({ promptIds: 500, outputTokens: 50 }),
    { count: 1000, ...unforced },
  )
  const rows = await compare('Stream of 500 chunks', stream({ promptIds: 500, outputTokens: 500 }), {
    count: 50,
    ...unforced,
  })
  console.log(
    '\nper chunk, added: ' +
      rows
        .map(
          (row) =>
            `${row.name} ${(row.addedWall / 500).toFixed(3)} µs wall, ${(row.addedCpu / 500).toFixed(3)} µs CPU`,
        )
        .join('; '),
  )
  await compare('Chat completion, 32,768 prompt ids', complete({ promptIds: 32_768, outputTokens: 50 }), {
    count: 100,
    ...unforced,
  })
  await heapAfterAborts(client(streaming(chunks({ promptIds: 50, outputTokens: 50 }))))
  await lightning.shutdown()
}

/** Ten thousand streams that their reader leaves after the first chunk. */
async function heapAfterAborts(openai: OpenAI): Promise<void> {
  const abandon = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++) {
      await trace('aborted', async () => {
        const stream = await openai.chat.completions.create({ model: 'bench', messages, stream: true })
        for await (const _chunk of stream) break
      })
    }
  }
  const heap = async (): Promise<number> => {
    await new Promise((resolve) => setTimeout(resolve, 500))
    globalThis.gc?.()
    globalThis.gc?.()
    return process.memoryUsage().heapUsed / 1e6
  }
  await abandon(1000)
  const before = await heap()
  await abandon(10_000)
  console.log(`\n10,000 aborted streams leave ${((await heap()) - before).toFixed(2)} MB of heap`)
}

/** What a stopped plugin, and one told to leave calls outside traces alone, allocate per call of the hooked function. */
export async function benchNotListening(): Promise<void> {
  const openai = client(answering(completion({ promptIds: 10, outputTokens: 5 })))
  const body = { model: 'bench', messages }
  const allocated = async (): Promise<number> => {
    for (let i = 0; i < 500; i++) await openai.chat.completions.create(body)
    const calls = Array.from({ length: 2000 }, () => 0 as unknown)
    globalThis.gc?.()
    const before = process.memoryUsage().heapUsed
    for (let i = 0; i < calls.length; i++) calls[i] = openai.chat.completions.create(body)
    const bytes = (process.memoryUsage().heapUsed - before) / calls.length
    for (const call of calls) await call
    return bytes
  }
  const median = async (): Promise<number> => {
    const values: number[] = []
    for (let i = 0; i < 15; i++) values.push(await allocated())
    return values.sort((a, b) => a - b)[7] ?? Number.NaN
  }
  const plain = await median()
  const again = await median()
  const ignoring = await start({ plugins: [vllm()], sinks: [nowhere], outside: 'ignore', log: 'error' })
  const outside = await median()
  await ignoring.stop('vllm')
  await ignoring.stop('openai')
  const stopped = await median()
  await ignoring.shutdown()
  console.log('\n### Bytes allocated by one `create()` up to its return, median of 15 runs of 2,000 calls\n')
  for (const [name, bytes] of Object.entries({
    plain,
    'plain again (A/A)': again,
    'outside a trace': outside,
    stopped,
  })) {
    console.log(`- ${name}: ${bytes.toFixed(0)}`)
  }
}

/** One activity, against a hook that does nothing. */
export async function benchActivity(): Promise<void> {
  const lightning = await start({ plugins: [], sinks: [nowhere], log: 'error' })
  let count = 0
  const { runtimeApi } = await import('./runtime-api.ts')
  const api = await runtimeApi(lightning)
  const nothing = { run: <T>(fn: () => T): T => fn(), end: () => void count++ }
  await compare(
    'One activity (a tool call with arguments and result)',
    [
      {
        name: 'do-nothing hook',
        run(times) {
          for (let i = 0; i < times; i++) {
            nothing.run(() => i)
            nothing.end()
          }
        },
      },
      {
        name: 'activity',
        run: (times) =>
          trace('bench', () => {
            for (let i = 0; i < times; i++) {
              const activity = api.activity('tool', {
                name: 'add',
                callId: 'call-1',
                parameters: '{"a":1,"b":2}',
              })
              activity.run(() => i)
              activity.end({ result: '3' })
            }
          }),
        after: async () => void (await lightning.flush()),
      },
    ],
    { count: 1000 },
  )
  await record('bench', () => 0)
  await lightning.shutdown()
}
