import { record, start, trace } from '@agl/core'
import { langchain, langchainHandler } from '@agl/langchain'
import { vllm } from '@agl/vllm'
import { startModelServer, treeOf } from '@agl/testkit'
import { it } from 'vitest'
import { ChatOpenAI } from '@langchain/openai'
import { ChatPromptTemplate } from '@langchain/core/prompts'
import { StringOutputParser } from '@langchain/core/output_parsers'

it('x', async () => {
  await using server = await startModelServer({ flavor: 'vllm' })
  await using l = await start({ plugins: [vllm(), langchain({ tags: ['t'] })], log: 'debug' })
  const model = new ChatOpenAI({ model: 'm', apiKey: 'k', configuration: { baseURL: server.baseURL } })
  const chain = ChatPromptTemplate.fromTemplate('Say {x}').pipe(model).pipe(new StringOutputParser())
  console.log(l.status())
  const show = (spans: any) => { const rec = (n: any, d: number) => { console.log('  '.repeat(d) + (n.span ?? n).name); for (const c of n.children) rec(c, d + 1) }; for (const n of treeOf(spans)) rec(n, 0) }
  const a = await record('a', () => chain.invoke({ x: 'y' }))
  console.log(a.error); show(a.spans)
  for (const s of a.spans) console.log(s.name, s.attributes)
  const b = await record('b', () => chain.batch(Array.from({ length: 3 }, (_, i) => ({ x: String(i) })), { maxConcurrency: 8 }))
  show(b.spans)
  const c = await record('c', async () => { let t = ''; for await (const p of await chain.stream({ x: 'y' })) t += p; return t })
  console.log(c.result, c.error); show(c.spans)
  const d = await record('d', async () => { for await (const p of await chain.stream({ x: 'y' })) break })
  console.log(d.error); show(d.spans); console.log(d.spans.map((s) => [s.name, s.status, s.attributes['agl.finish']]))
})
