import { mkdirSync } from 'node:fs'
import { emitReward, start, trace } from '@agl/core'
import { openStore, storeSink } from '@agl/store'
import { startModelServer } from '@agl/testkit'
import OpenAI from 'openai'
import config from './agl.config.ts'
import { solve } from './agent.ts'
import problems from './problems.json' with { type: 'json' }
import { scriptedModel } from './scripted-model.ts'

const { AGL_BASE_URL, AGL_MODEL, AGL_API_KEY } = process.env
const server =
  AGL_BASE_URL === undefined ? await startModelServer({ flavor: 'vllm', reply: scriptedModel }) : undefined
if (server !== undefined) console.log('The model is scripted; set AGL_BASE_URL and AGL_MODEL for a real one.')

mkdirSync('.agl', { recursive: true })
const store = await openStore('sqlite:.agl/quickstart.db')
const lightning = await start({ ...config, sinks: [storeSink(store)] })
const client = new OpenAI({ baseURL: AGL_BASE_URL ?? server?.baseURL, apiKey: AGL_API_KEY ?? 'none' })

let solved = 0
for (const { id, question, answer } of problems) {
  await trace(id, async () => {
    const given = await solve(client, AGL_MODEL ?? 'scripted', question)
    const right = given === answer
    emitReward(right)
    if (right) solved++
    console.log(`${right ? 'right' : 'wrong'}  ${id}: ${given ?? 'no answer'}`)
  })
}
console.log(`${solved} of ${problems.length} solved`)

await lightning.shutdown()
await store.close()
await server?.close()
