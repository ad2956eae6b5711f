import { record, start, type Span } from '@agl/core'
import { langchain } from '@agl/langchain'
import { startModelServer } from '@agl/testkit'
import { vllm } from '@agl/vllm'
import { ChatOpenAI } from '@langchain/openai'
import { calculate } from './agent.ts'
import { translate } from './chain.ts'
import { write } from './graph.ts'
import { scriptedModel } from './scripted-model.ts'

const { AGL_BASE_URL, AGL_MODEL = 'scripted', AGL_API_KEY = 'none' } = process.env
const server =
  AGL_BASE_URL === undefined ? await startModelServer({ flavor: 'vllm', reply: scriptedModel }) : undefined
if (server !== undefined) console.log('The model is scripted; set AGL_BASE_URL and AGL_MODEL for a real one.')

const lightning = await start({ plugins: [vllm({ logprobs: true }), langchain({ tags: ['example'] })] })
const model = new ChatOpenAI({
  model: AGL_MODEL,
  apiKey: AGL_API_KEY,
  configuration: { baseURL: AGL_BASE_URL ?? server?.baseURL },
})

await show('chain', () => translate(model, 'Good morning.'))
await show('agent', () => calculate(model, ['What is 6 times 7?', 'And plus one?']))
await show('graph', () => write(model, 'rain'))

await lightning.shutdown()
await server?.close()

/** Runs a program in a trace and prints what was recorded of it, each span below its parent. */
async function show(name: string, program: () => Promise<unknown>): Promise<void> {
  const { result, error, spans } = await record(name, program)
  console.log(`\n${name}:`, error ?? result)
  const print = (parent: string | null, indent: string): void => {
    for (const span of spans.filter(({ parentId }) => parentId === parent).toSorted(byStart)) {
      const ids = span.attributes['response_token_ids']
      console.log(`${indent}${span.name}${ids instanceof Int32Array ? `  ${ids.length} token ids` : ''}`)
      print(span.spanId, `${indent}  `)
    }
  }
  print(null, '  ')
}

function byStart(a: Span, b: Span): number {
  return a.startTime - b.startTime
}
