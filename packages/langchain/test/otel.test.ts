import { record, start } from '@agl/core'
import { langchain } from '@agl/langchain'
import { trace } from '@opentelemetry/api'
import { InMemorySpanExporter } from '@opentelemetry/sdk-trace'
import { describe, expect, it } from 'vitest'
import { loadHosts } from './hosts.ts'
import { scripted } from './scripted.ts'

describe.each(['latest', 'lowest'] as const)('spans of OpenTelemetry, %s versions', (versions) => {
  it('that a program opens in a function, a node or a tool are below that', async () => {
    const h = await loadHosts(versions)
    const exporter = new InMemorySpanExporter()
    await using lightning = await start({ plugins: [langchain()], exporters: [exporter], log: 'error' })
    const own = <T>(name: string, value: T): Promise<T> =>
      trace.getTracer('mine').startActiveSpan(name, async (span) => {
        await new Promise((resolve) => setTimeout(resolve, 1))
        span.end()
        return value
      })
    const look = h.tool(() => own('in the tool', 'nothing'), { name: 'look', schema: h.z.object({}) })
    const graph = new h.StateGraph(h.Annotation.Root({ n: h.Annotation<number>() }))
      .addNode('node', async ({ n }) => {
        await look.invoke({})
        return { n: await own('in the node', n + 1) }
      })
      .addEdge(h.START, 'node')
      .compile()
    const chain = h.RunnableLambda.from((n: number) => own('in the function', n)).pipe((n: number) =>
      graph.invoke({ n }),
    )
    const model = scripted(h, ['a'], { inside: () => own('in the model', 0) })
    const { spans } = await record('spans', () => Promise.all([chain.invoke(1), model.invoke('Hi')]))
    const nameOf = (id: string | null): string | undefined => spans.find(({ spanId }) => spanId === id)?.name
    const parents = spans
      .filter(({ name }) => name.startsWith('in the '))
      .map(({ name, parentId }) => `${name}: ${nameOf(parentId)}`)
    expect(parents.toSorted()).toEqual([
      'in the function: RunnableLambda.chain',
      'in the model: openai.chat.completion',
      'in the node: node.chain',
      'in the tool: look.tool',
    ])
    await lightning.flush()
    const exported = exporter.getFinishedSpans().map(({ name }) => name)
    expect(exported).toContain('execute_tool look')
  })
})
