import { readFileSync } from 'node:fs'
import { type PluginApi, openTrace, start } from '@agl/core'
import { openStore, serveStore, storeSink } from '@agl/store'
import { runtimeApi } from './runtime-api.ts'

/*
 * The process whose memory soak.ts watches: a server, or an agent with a sink. It is asked over IPC.
 *
 * `soak-subject.ts serve URL` tells its address, `soak-subject.ts sink URL` records as many spans as it is told to.
 */

/** In bytes, before the garbage of the moment is collected, and the heap after. */
export interface Memory {
  rss: number
  /** Of `rss`, what is no file's. */
  anonymous: number
  heap: number
  /** Buffers, which are outside of the heap. */
  buffers: number
}

export type Question = { record: number } | 'memory' | 'end'
export type Reply = { url: string } | { written: number; dropped: number } | Memory

/** Spans of one trace; how many are asked for is a multiple of it. */
const TRACE = 128
/** Traces between two moments at which all is written: the queue holds as many spans. */
const WINDOW = 64

const [mode, url = 'memory:'] = process.argv.slice(2)
const store = await openStore(url)
const say = (reply: Reply): void => void process.send?.(reply)

if (mode === 'serve') {
  const server = await serveStore(store, { port: 0 })
  answer(
    async () => undefined,
    () => server.close(),
  )
  say({ url: server.url })
} else {
  const lightning = await start({ sinks: [storeSink(store)] })
  const api = await runtimeApi(lightning)
  answer(
    async (count) => {
      let [written, dropped] = [0, 0]
      for (let left = count; left > 0; left -= WINDOW * TRACE) {
        for (let n = 0; n < Math.min(WINDOW, left / TRACE); n++) recordTrace(api)
        ;({ written, dropped } = await lightning.flush({ timeout: 60_000 }))
      }
      say({ written, dropped })
    },
    async () => void (await lightning.shutdown()),
  )
  say({ url: store.url })
}

function recordTrace(api: PluginApi): void {
  const trace = openTrace('soak')
  trace.run(() => {
    for (let n = 1; n < TRACE; n++) {
      const message = { role: 'user', content: 'How many eggs do five hens lay in three weeks?' }
      const call = api.activity('llm', {
        operation: 'chat',
        provider: 'openai',
        request: { model: 'a-model' },
        messages: [message],
      })
      call.end({ choices: [{ index: 0, role: 'assistant', content: 'Seventy-five.' }] })
    }
  })
  trace.end()
}

function answer(record: (count: number) => Promise<void>, end: () => Promise<void>): void {
  process.on('message', (question: Question) => {
    if (question === 'memory') say(memory())
    else if (question !== 'end') void record(question.record)
    else
      void end().then(async () => {
        await store.close()
        process.disconnect()
      })
  })
}

function memory(): Memory {
  const { rss } = process.memoryUsage()
  const anonymous = anonymousMemory()
  global.gc?.()
  const { heapUsed, external } = process.memoryUsage()
  return { rss, anonymous, heap: heapUsed, buffers: external }
}

/** What Linux says; elsewhere not known. */
function anonymousMemory(): number {
  try {
    const [, kilobytes] = /RssAnon:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8')) ?? []
    return Number(kilobytes) * 1024
  } catch {
    return Number.NaN
  }
}
