import { start } from '@agl/core'
import { openStore } from '@agl/store'
import { startModelServer } from '@agl/testkit'
import { Runner } from '@agl/train'
import { vllm } from '@agl/vllm'
import OpenAI from 'openai'
import { answering } from './agent.ts'
import { scriptedModel } from './scripted-model.ts'

const {
  AGL_STORE = 'http://127.0.0.1:4747',
  AGL_BASE_URL,
  AGL_MODEL = 'scripted',
  AGL_API_KEY = 'none',
} = process.env
const server =
  AGL_BASE_URL === undefined ? await startModelServer({ flavor: 'vllm', reply: scriptedModel }) : undefined
if (server !== undefined) console.log('The model is scripted; set AGL_BASE_URL and AGL_MODEL for a real one.')

const store = await openStore(AGL_STORE)
// No sink: the runner itself brings each attempt's spans to the store.
const lightning = await start({ plugins: [vllm({ logprobs: true })] })
const client = new OpenAI({ baseURL: AGL_BASE_URL ?? server?.baseURL, apiKey: AGL_API_KEY })

const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort())
console.log(`Waiting for rollouts from ${AGL_STORE}; Ctrl-C ends it.`)
const runner = new Runner({
  lightning,
  store,
  agent: answering(client, AGL_MODEL),
  concurrency: 2,
  pollInterval: 1,
})
const { succeeded, failed } = await runner.run({ signal: stop.signal })
console.log(`${succeeded} rollouts succeeded, ${failed} failed`)

await lightning.shutdown()
await store.close()
await server?.close()
