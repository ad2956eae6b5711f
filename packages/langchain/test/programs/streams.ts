import type { Hosts } from '../hosts.ts'
import type { Program } from './types.ts'
import { scripted, scriptedText } from '../scripted.ts'

async function collect<T>(stream: AsyncIterable<T>, most = Infinity): Promise<T[]> {
  const items: T[] = []
  for await (const item of stream) {
    items.push(item)
    if (items.length >= most) break
  }
  return items
}

const chain = (h: Hosts) =>
  h.ChatPromptTemplate.fromTemplate('Say {words}')
    .pipe(scripted(h, ['one two three']))
    .pipe(new h.StringOutputParser())

/** Streams of all kinds, read to the end or not. */
export const streams: readonly Program[] = [
  {
    name: 'a stream read to its end',
    run: async ({ h, config }) => collect(await chain(h).stream({ words: 'three' }, config)),
    result: /"one ","two ","three"/,
    tree: `
      RunnableSequence.chain
        ChatPromptTemplate.chain
        ScriptedModel.llm
        StrOutputParser.chain`,
  },
  {
    name: 'a stream left after the first piece',
    run: async ({ h, config }) => collect(await chain(h).stream({ words: 'three' }, config), 1),
    result: /^\["one "\]$/,
    tree: `
      RunnableSequence.chain~cancelled
        ChatPromptTemplate.chain
        ScriptedModel.llm~cancelled
        StrOutputParser.chain~cancelled`,
  },
  {
    name: 'a stream of a text model, cancelled by its reader',
    run: async ({ h, config }) => {
      const stream = await scriptedText(h, ['one two three']).stream('Say three', config)
      const reader = stream.getReader()
      const first = await reader.read()
      await reader.cancel()
      return first.value
    },
    result: /one/,
    tree: `
      ScriptedText.llm~cancelled`,
  },
  {
    name: 'a stream that fails on the way',
    run: async ({ h, config }) =>
      collect(
        await scripted(h, ['one two'])
          .pipe(new h.JsonOutputParser())
          .pipe(function* () {
            yield 1
            throw new RangeError('enough')
          })
          .stream('Say', config),
      ),
    result: /RangeError: enough/,
    tree: `
      RunnableSequence.chain!
        ScriptedModel.llm
        JsonOutputParser.chain
        RunnableLambda.chain!`,
  },
  {
    name: 'a stream within a function',
    run: ({ h, config }) =>
      h.RunnableLambda.from(async (words: string) => collect(await chain(h).stream({ words }))).invoke(
        'three',
        config,
      ),
    result: /"one ","two ","three"/,
    tree: `
      RunnableLambda.chain
        RunnableSequence.chain
          ChatPromptTemplate.chain
          ScriptedModel.llm
          StrOutputParser.chain`,
  },
  {
    name: 'a function that yields',
    run: async ({ h, config, span }) => {
      const count = h.RunnableLambda.from(async function* (most: number) {
        for (let n = 0; n < most; n++) yield await span('count', () => n)
      })
      return collect(await count.stream(2, config))
    },
    result: /\[0,1\]/,
    tree: `
      RunnableLambda.chain
        (count)
        (count)`,
  },
  {
    name: 'the events of a chain',
    run: async ({ h, config }) => {
      const events = await collect(chain(h).streamEvents({ words: 'three' }, { ...config, version: 'v2' }))
      return events.map(({ event, name }) => `${event} ${name}`)
    },
    result: /on_chat_model_stream/,
    tree: `
      RunnableSequence.chain
        ChatPromptTemplate.chain
        ScriptedModel.llm
        StrOutputParser.chain`,
  },
  {
    name: 'the events of a chain, left early',
    run: async ({ h, config }) => {
      const stream = chain(h).streamEvents({ words: 'three' }, { ...config, version: 'v2' })
      return (await collect(stream, 3)).map(({ event, name }) => `${event} ${name}`)
    },
    // 0.3 throws at its reader here.
    result: /on_chain_start|AbortError/,
    tree: {
      latest: `
        RunnableSequence.chain~aborted
          ChatPromptTemplate.chain
          ScriptedModel.llm~aborted`,
      lowest: `
        RunnableSequence.chain~aborted
          ChatPromptTemplate.chain
          ScriptedModel.llm~aborted
          StrOutputParser.chain~aborted`,
    },
  },
  {
    name: 'the log of a chain',
    run: async ({ h, config }) => {
      const patches = await collect(chain(h).streamLog({ words: 'three' }, config))
      return patches.length > 3
    },
    result: /true/,
    tree: `
      RunnableSequence.chain
        ChatPromptTemplate.chain
        ScriptedModel.llm
        StrOutputParser.chain`,
  },
  {
    name: 'a graph as a stream of its updates',
    run: async ({ h, config }) => {
      const agent = h.createReactAgent({ llm: scripted(h, ['Hello you']), tools: [] })
      const input = { messages: [new h.HumanMessage('Hi')] }
      const updates = await collect(await agent.stream(input, { ...config, streamMode: 'updates' }))
      return updates.flatMap((update) => Object.keys(update))
    },
    result: /agent/,
    tree: `
      LangGraph.workflow
        agent.chain@
          RunnableSequence.chain
            prompt.chain
            ScriptedModel.llm
          RunnableLambda.chain`,
  },
  {
    name: 'a graph as a stream of its messages, word by word',
    run: async ({ h, config }) => {
      const agent = h.createReactAgent({ llm: scripted(h, ['Hello you']), tools: [] })
      const input = { messages: [new h.HumanMessage('Hi')] }
      const parts = await collect(await agent.stream(input, { ...config, streamMode: 'messages' }))
      return parts.map(([message]) => message.content)
    },
    result: /Hello /,
    tree: `
      LangGraph.workflow
        agent.chain@
          RunnableSequence.chain
            prompt.chain
            ScriptedModel.llm
          RunnableLambda.chain`,
  },
  {
    name: 'a graph as a stream that is left in the middle',
    run: async ({ h, config }) => {
      const state = h.Annotation.Root({ n: h.Annotation<number>() })
      const graph = new h.StateGraph(state)
        .addNode('one', () => ({ n: 1 }))
        .addNode('two', async (_state, { signal }) => {
          await new Promise((resolve) => {
            signal?.addEventListener('abort', resolve)
            setTimeout(resolve, 100)
          })
          return { n: 2 }
        })
        .addEdge(h.START, 'one')
        .addEdge('one', 'two')
        .addEdge('two', h.END)
        .compile()
      return collect(await graph.stream({ n: 0 }, { ...config, streamMode: 'updates' }), 1)
    },
    result: /one/,
    // In 0.4 the graph goes on.
    tree: {
      latest: `
        LangGraph.workflow~aborted
          one.chain@
          two.chain@~aborted`,
      lowest: `
        LangGraph.workflow
          one.chain@
          two.chain@`,
    },
  },
  {
    name: 'a function that yields, left early',
    run: async ({ h, config }) => {
      const count = h.RunnableLambda.from(async function* () {
        yield* [1, 2, 3]
      })
      return collect(await count.stream('', config), 1)
    },
    result: /^\[1\]$/,
    tree: `
      RunnableLambda.chain~cancelled`,
  },
  {
    name: 'branches and values assigned, left early',
    run: async ({ h, config }) => {
      const map = h.RunnableMap.from({ one: chain(h) })
      const assign = h.RunnablePassthrough.assign({ one: chain(h) })
      return [
        await collect(await map.stream({ words: 'three' }, config), 1),
        await collect(await assign.stream({ words: 'three' }, config), 1),
      ]
    },
    result: /one/,
    tree: `
      RunnableMap.chain~cancelled
        RunnableSequence.chain~cancelled
          ChatPromptTemplate.chain
          ScriptedModel.llm~cancelled
          StrOutputParser.chain~cancelled
      RunnableAssign.chain~cancelled
        RunnableMap.chain~cancelled
          RunnableSequence.chain~cancelled
            ChatPromptTemplate.chain
            ScriptedModel.llm~cancelled
            StrOutputParser.chain~cancelled`,
  },
  {
    name: 'a streamed graph, of which one node leaves the events of a chain early',
    only: 'latest',
    run: async ({ h, config }) => {
      const state = h.Annotation.Root({ n: h.Annotation<number>() })
      const graph = new h.StateGraph(state)
        .addNode('peek', async () => {
          const events = chain(h).streamEvents({ words: 'three' }, { version: 'v2' })
          await collect(events, 3)
          await scripted(h, ['after']).invoke('Go on.')
          return { n: 1 }
        })
        .addNode('next', async () => {
          await scripted(h, ['done']).invoke('Go on.')
          return { n: 2 }
        })
        .addEdge(h.START, 'peek')
        .addEdge('peek', 'next')
        .addEdge('next', h.END)
        .compile()
      return collect(await graph.stream({ n: 0 }, { ...config, streamMode: 'updates' }))
    },
    result: /peek.*next/,
    tree: `
      LangGraph.workflow
        peek.chain@
          RunnableSequence.chain~aborted
            ChatPromptTemplate.chain
            ScriptedModel.llm~aborted
          ScriptedModel.llm
        next.chain@
          ScriptedModel.llm`,
  },
]
