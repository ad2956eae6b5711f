import { record, start, trace, type Span } from '@agl/core'
import { langchain, langchainHandler } from '@agl/langchain'
import { startModelServer, treeOf, useFixed, memorySink } from '@agl/testkit'
import { vllm } from '@agl/vllm'
import { StringOutputParser } from '@langchain/core/output_parsers'
import { ChatPromptTemplate } from '@langchain/core/prompts'
import { RunnableLambda } from '@langchain/core/runnables'
import { ChatOpenAI } from '@langchain/openai'
import { describe, expect, it } from 'vitest'
import { loadHosts } from './hosts.ts'
import { scripted } from './scripted.ts'

function tagsOf({ attributes }: Span): unknown[] {
  return Object.keys(attributes)
    .filter((key) => key.startsWith('agentlightning.tag.'))
    .map((key) => attributes[key])
}

const below = (spans: readonly Span[]): Span[] => spans.filter(({ parentId }) => parentId !== null)

describe('a handler that is passed as callbacks', () => {
  it('records what it is passed to, the first call included, without a plugin in the configuration', async () => {
    await using server = await startModelServer({ flavor: 'vllm' })
    await using lightning = await start({ plugins: [vllm()], log: 'error' })
    const handler = langchainHandler({ tags: ['langchain-demo'] })
    const configuration = { baseURL: server.baseURL }
    const llm = new ChatOpenAI({ model: 'm', apiKey: 'k', configuration, callbacks: [handler] })
    const { spans } = await record('guide', () => llm.invoke('Hi'))
    expect(spans.map(({ name }) => name)).toEqual([
      'openai.chat.completion',
      'chat_model.llm',
      'guide.session',
    ])
    expect(treeOf(spans)[0]?.children[0]?.children[0]?.span.name).toBe('openai.chat.completion')
    expect(tagsOf(spans[1] ?? fail())).toEqual(['langchain-demo'])
    expect(lightning.status().find(({ name }) => name === 'langchain')).toMatchObject({ state: 'active' })
  })

  it('leaves alone what it is not passed to', async () => {
    const h = await loadHosts('latest')
    await using _ = await start({ log: 'error' })
    const chain = ChatPromptTemplate.fromTemplate('Say {x}').pipe(scripted(h, ['a']))
    const { spans } = await record('quiet', async () => {
      await chain.invoke({ x: 'y' })
      await chain.invoke({ x: 'y' }, { callbacks: [langchainHandler()] })
    })
    expect(below(spans)).toHaveLength(3)
  })

  it('works when it was made before the start, and after the next one', async () => {
    const h = await loadHosts('latest')
    const handler = langchainHandler({ tags: ['early'] })
    const model = scripted(h, ['a'])
    for (const name of ['first', 'second']) {
      await using _ = await start({ log: 'error' })
      const { spans } = await record(name, () => model.invoke('Hi', { callbacks: [handler] }))
      expect(below(spans).map((span) => tagsOf(span))).toEqual([['early']])
    }
  })

  it('does nothing where nothing was started', async () => {
    const h = await loadHosts('latest')
    const message = await scripted(h, ['a']).invoke('Hi', { callbacks: [langchainHandler()] })
    expect(message.content).toBe('a')
  })

  it('records a run once, with all tags, beside the plugin, another handler and itself', async () => {
    const h = await loadHosts('latest')
    await using _ = await start({ plugins: [langchain({ tags: ['all', 'shared'] })], log: 'error' })
    const handler = langchainHandler({ tags: ['mine', 'shared'] })
    const other = langchainHandler({ tags: ['other'] })
    const { spans } = await record('both', () =>
      scripted(h, ['a']).invoke('Hi', { callbacks: [handler, handler, other] }),
    )
    expect(below(spans)).toHaveLength(1)
    expect(new Set(below(spans).flatMap((span) => tagsOf(span)))).toEqual(
      new Set(['all', 'shared', 'mine', 'other']),
    )
    expect(below(spans).flatMap((span) => tagsOf(span))).toHaveLength(4)
  })

  it('keeps runs side by side apart', async () => {
    const h = await loadHosts('latest')
    await using _ = await start({ log: 'error' })
    const handler = langchainHandler()
    const chain = ChatPromptTemplate.fromTemplate('Say {n}')
      .pipe(scripted(h, (messages) => messages[0]?.text ?? '', { delay: 5 }))
      .pipe(new StringOutputParser())
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (__, n) =>
        record(`trace ${n}`, () => chain.invoke({ n }, { callbacks: [handler] })),
      ),
    )
    const seen = outcomes.map(({ spans }) => {
      const [chainSpan] = spans.filter(({ name }) => name === 'RunnableSequence.chain')
      return [spans.length, chainSpan?.attributes['agentops.chain.output']]
    })
    expect(seen).toEqual(Array.from({ length: 20 }, (__, n) => [5, `{"output":"Say ${n}"}`]))
  })

  it('gives a trace of its own to a chain outside of any', async () => {
    const h = await loadHosts('latest')
    const sink = memorySink()
    const lightning = await start({ plugins: [langchain()], sinks: [sink], log: 'error' })
    await ChatPromptTemplate.fromTemplate('Say {x}')
      .pipe(scripted(h, ['a']))
      .invoke({ x: 'y' })
    await lightning.shutdown()
    expect(sink.outline()).toBe(
      'RunnableSequence.chain\n  ChatPromptTemplate.chain\n  openai.chat.completion',
    )
  })

  it('records nothing outside of traces where that is not wanted', async () => {
    const h = await loadHosts('latest')
    const sink = memorySink()
    const lightning = await start({ plugins: [langchain()], sinks: [sink], outside: 'ignore', log: 'error' })
    const chain = ChatPromptTemplate.fromTemplate('Say {x}').pipe(scripted(h, ['a']))
    await chain.invoke({ x: 'y' })
    await trace('inside', () => chain.invoke({ x: 'y' }))
    await lightning.shutdown()
    expect(sink.traces.map(({ name }) => name)).toEqual(['inside'])
  })
})

describe('what is recorded of a run', () => {
  it('has its name, its tags and metadata, its class, and what went in and out', async () => {
    using _fixed = useFixed()
    const h = await loadHosts('latest')
    await using _ = await start({ plugins: [langchain({ tags: ['demo'] })], log: 'error' })
    const double = RunnableLambda.from((n: number) => n * 2).withConfig({
      runName: 'doubler',
      tags: ['math'],
      metadata: { team: 'numbers', depth: { a: 1 } },
    })
    const { spans } = await record('one', () => double.invoke(21))
    expect(h).toBeDefined()
    expect(spans[0]?.attributes).toEqual({
      'agentops.span.kind': 'chain',
      'operation.name': 'doubler',
      'agentops.chain.input': '{"input":21}',
      'agentops.chain.output': '{"output":42}',
      'langchain.run_id': expect.stringMatching(/^[0-9a-f-]{36}$/),
      'langchain.tags': ['math'],
      'langchain.metadata.team': 'numbers',
      'langchain.metadata.depth': '{"a":1}',
      'agentlightning.tag.0': 'demo',
    })
  })

  it('of a model without a client of ours is what a client would tell', async () => {
    const h = await loadHosts('latest')
    await using _ = await start({ plugins: [langchain()], log: 'error' })
    const calls = [{ name: 'add', args: { a: 1 } }]
    const model = scripted(h, [{ calls, text: 'wait' }])
    const { spans } = await record('one', () =>
      model.invoke([new h.SystemMessage('Be brief.'), new h.HumanMessage('1 + 1?')]),
    )
    const span = spans.find(({ name }) => name === 'openai.chat.completion')
    expect(span?.attributes).toMatchObject({
      'gen_ai.request.type': 'chat',
      'gen_ai.prompt.0.role': 'system',
      'gen_ai.prompt.0.content': 'Be brief.',
      'gen_ai.prompt.1.role': 'user',
      'gen_ai.prompt.1.content': '1 + 1?',
      'gen_ai.completion.0.role': 'assistant',
      'gen_ai.completion.0.content': 'wait',
      'gen_ai.completion.0.tool_calls.0.name': 'add',
      'gen_ai.completion.0.tool_calls.0.arguments': '{"a":1}',
      'gen_ai.usage.prompt_tokens': 3,
      'gen_ai.usage.completion_tokens': 2,
      'langchain.name': 'ScriptedModel',
    })
    expect(span?.attributes['gen_ai.response.id']).toBe(span?.spanId)
  })

  it('of a tool is all that it gives back, also where that has a content of its own', async () => {
    const h = await loadHosts('latest')
    await using _ = await start({ plugins: [langchain()], log: 'error' })
    const page = { content: 'text', url: 'file:///page' }
    const look = h.tool(() => page, { name: 'look', schema: h.z.object({}) })
    const call = { name: 'look', args: {}, id: 'call_1', type: 'tool_call' } as const
    const { spans } = await record('one', async () => [await look.invoke({}), await look.invoke(call)])
    const results = spans
      .filter(({ name }) => name === 'look.tool')
      .map((span) => span.attributes['tool.result'])
    expect(results).toEqual([JSON.stringify(page), JSON.stringify(page)])
  })

  it('leaves content and metadata out where content is off, and keeps names', async () => {
    const h = await loadHosts('latest')
    await using _ = await start({ plugins: [langchain()], capture: { content: false }, log: 'error' })
    const chain = ChatPromptTemplate.fromTemplate('Say {x}').pipe(scripted(h, ['whisper']))
    const { spans } = await record('quiet', () =>
      chain.invoke({ x: 'whisper' }, { metadata: { w: 'whisper' } }),
    )
    expect(spans.map(({ name }) => name)).toContain('ChatPromptTemplate.chain')
    expect(JSON.stringify(spans)).not.toContain('whisper')
  })
})

function fail(): never {
  throw new Error('missing')
}
