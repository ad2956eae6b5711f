import { record, start, type Span } from '@agl/core'
import { langchain } from '@agl/langchain'
import {
  startModelServer,
  treeOf,
  type ModelServer,
  type ModelServerOptions,
  type SpanNode,
} from '@agl/testkit'
import { toTriplets } from '@agl/train'
import { vllm } from '@agl/vllm'
import { describe, expect, it } from 'vitest'
import { loadHosts, type Hosts } from './hosts.ts'

interface Given {
  h: Hosts
  model: InstanceType<Hosts['ChatOpenAI']>
  server: ModelServer
}

async function run(
  versions: 'latest' | 'lowest',
  program: (given: Given) => Promise<unknown>,
  options: ModelServerOptions = {},
): Promise<{ spans: Span[]; server: ModelServer; result: unknown }> {
  const h = await loadHosts(versions)
  await using server = await startModelServer({ flavor: 'vllm', ...options })
  await using _ = await start({ plugins: [vllm(), langchain()], log: 'error', drain: 200 })
  const model = new h.ChatOpenAI({ model: 'm', apiKey: 'k', configuration: { baseURL: server.baseURL } })
  const { spans, error, result } = await record('test', () => program({ h, model, server }))
  if (error !== undefined) throw error
  return { spans, server, result }
}

function named(spans: readonly Span[], name: string): Span[] {
  return spans.filter((span) => span.name === name)
}

function parentOf(spans: readonly Span[], span: Span): Span | undefined {
  return spans.find(({ spanId }) => spanId === span.parentId)
}

/** Parents of all client spans, by name. */
function parentsOf(spans: readonly Span[], name = 'openai.chat.completion'): (string | undefined)[] {
  return named(spans, name).map((span) => parentOf(spans, span)?.name)
}

function ids(span: Span | undefined): boolean[] {
  return ['prompt_token_ids', 'response_token_ids'].map((key) => span?.attributes[key] instanceof Int32Array)
}

const depth = (nodes: readonly SpanNode[]): number =>
  nodes.length === 0 ? 0 : 1 + Math.max(...nodes.map(({ children }) => depth(children)))

describe.each(['latest', 'lowest'] as const)(
  "the openai client in LangChain's models, %s versions",
  (versions) => {
    const chain = ({ h, model }: Given) =>
      h.ChatPromptTemplate.fromTemplate('Say {word}').pipe(model).pipe(new h.StringOutputParser())

    it('has its span below that of the model, with token ids, and usage on it alone', async () => {
      const { spans } = await run(versions, (given) => chain(given).invoke({ word: 'a' }))
      const [client] = named(spans, 'openai.chat.completion')
      const [model] = named(spans, 'chat_model.llm')
      expect(parentsOf(spans)).toEqual(['chat_model.llm'])
      expect(ids(client)).toEqual([true, true])
      expect(client?.attributes).toMatchObject({ 'agl.tokens.complete': true, 'gen_ai.request.model': 'm' })
      expect(Object.keys(model?.attributes ?? {}).filter((key) => key.startsWith('gen_ai.'))).toEqual([])
      expect(spans.filter((span) => 'gen_ai.usage.total_tokens' in span.attributes)).toEqual([client])
    })

    it('gives one triplet for one call', async () => {
      const { spans } = await run(versions, (given) => chain(given).invoke({ word: 'a' }))
      const triplets = toTriplets(spans)
      expect(triplets).toHaveLength(1)
      expect(triplets[0]?.response.token_ids.length).toBeGreaterThan(0)
    })

    it('nests in a batch of eight at a time', async () => {
      const words = Array.from({ length: 24 }, (_, i) => ({ word: `w${i}` }))
      const { spans } = await run(versions, (given) => chain(given).batch(words, { maxConcurrency: 8 }), {
        reply: ({ text }) => text,
      })
      expect(parentsOf(spans)).toEqual(Array.from({ length: 24 }, () => 'chat_model.llm'))
      const sequences = named(spans, 'RunnableSequence.chain')
      const matching = named(spans, 'openai.chat.completion').map((client) => {
        const model = parentOf(spans, client)
        const sequence = model === undefined ? undefined : parentOf(spans, model)
        const word = String(client.attributes['gen_ai.prompt.0.content']).replace('Say ', '')
        return sequence?.attributes['agentops.chain.input'] === `{"word":"${word}"}`
      })
      expect(sequences).toHaveLength(24)
      expect(matching).toEqual(Array.from({ length: 24 }, () => true))
    })

    it('stays in its own trace, and below its own model, where calls of one model wait for one another', async () => {
      const h = await loadHosts(versions)
      await using server = await startModelServer({
        flavor: 'vllm',
        reply: ({ text }) => text,
        fault: () => ({ latency: { first: 5 } }),
      })
      await using _ = await start({ plugins: [vllm(), langchain()], outside: 'ignore', log: 'error' })
      const configuration = { baseURL: server.baseURL }
      const model = new h.ChatOpenAI({ model: 'm', apiKey: 'k', maxConcurrency: 2, configuration })
      const words = ['a', 'b', 'c', 'd', 'e', 'f']
      const calls = words.map((word) => record(word, () => model.invoke(word)))
      // Belongs to no trace, whichever call it waits for.
      const untraced = model.invoke('alone')
      const outcomes = await Promise.all(calls)
      expect((await untraced).content).toBe('alone')
      const seen = outcomes.map(({ spans }) => [
        parentsOf(spans),
        named(spans, 'openai.chat.completion').map((span) => span.attributes['gen_ai.prompt.0.content']),
        ids(named(spans, 'openai.chat.completion')[0]),
      ])
      expect(seen).toEqual(words.map((word) => [['chat_model.llm'], [word], [true, true]]))
    })

    it('nests in a stream, with ids and the time to the first token', async () => {
      const { spans } = await run(versions, async (given) => {
        let text = ''
        for await (const piece of await chain(given).stream({ word: 'a' })) text += piece
        return text
      })
      const [client] = named(spans, 'openai.chat.completion')
      const [model] = named(spans, 'chat_model.llm')
      expect(parentsOf(spans)).toEqual(['chat_model.llm'])
      expect(ids(client)).toEqual([true, true])
      expect(client?.attributes['gen_ai.request.streaming']).toBe(true)
      expect(client?.attributes['agl.time_to_first_token']).toBeGreaterThan(0)
      expect(model?.attributes['agl.time_to_first_token']).toBeGreaterThan(0)
    })

    it('keeps the ids of a stream that is left early', async () => {
      const { spans, server } = await run(
        versions,
        async (given) => {
          for await (const _ of await chain(given).stream({ word: 'a' })) break
          await given.server.idle()
        },
        { fault: () => ({ latency: { chunk: 5 } }) },
      )
      const [client] = named(spans, 'openai.chat.completion')
      expect(client?.attributes).toMatchObject({ 'agl.finish': 'cancelled', 'agl.tokens.truncated': true })
      expect(ids(client)).toEqual([true, true])
      expect(parentsOf(spans)).toEqual(['chat_model.llm'])
      expect(server.requests[0]?.aborted).toBe(true)
    })

    it('nests in the events of a chain, and in a graph that streams its messages', async () => {
      const { spans } = await run(versions, async (given) => {
        for await (const _ of chain(given).streamEvents({ word: 'a' }, { version: 'v2' })) continue
        const agent = given.h.createReactAgent({ llm: given.model, tools: [] })
        const input = { messages: [new given.h.HumanMessage('Hi')] }
        for await (const _ of await agent.stream(input, { streamMode: 'messages' })) continue
      })
      expect(parentsOf(spans)).toEqual(['chat_model.llm', 'chat_model.llm'])
      expect(named(spans, 'openai.chat.completion').map((span) => ids(span))).toEqual([
        [true, true],
        [true, true],
      ])
    })

    it('shows each of its attempts below one model', async () => {
      const { spans } = await run(versions, (given) => chain(given).invoke({ word: 'a' }), {
        faults: [{ status: 503, retryAfter: 0.01 }, null],
      })
      expect(parentsOf(spans).every((name) => name === 'chat_model.llm')).toBe(true)
      expect(named(spans, 'chat_model.llm')).toHaveLength(1)
    })

    it('fails below a model that fails', async () => {
      const { spans } = await run(
        versions,
        ({ model }) => model.invoke('Hi').catch((error: unknown) => String(error)),
        { fault: () => ({ status: 400 }) },
      )
      expect(parentsOf(spans)).toEqual(['chat_model.llm'])
      expect(spans.map(({ status }) => status.statusCode)).toEqual(['ERROR', 'ERROR', 'UNSET'])
    })

    it('records text models and embeddings, the latter below their retriever', async () => {
      const { spans } = await run(versions, async ({ h, server }) => {
        const configuration = { baseURL: server.baseURL }
        await new h.OpenAI({ model: 'm', apiKey: 'k', configuration }).invoke('Say')
        const embeddings = new h.OpenAIEmbeddings({ model: 'e', apiKey: 'k', configuration })
        class Shelf extends h.BaseRetriever {
          static override lc_name(): string {
            return 'Shelf'
          }
          lc_namespace = ['test']
          override async _getRelevantDocuments(query: string) {
            const vector = await embeddings.embedQuery(query)
            return [new h.Document({ pageContent: `${vector.length > 0}` })]
          }
        }
        return new Shelf().invoke('bees')
      })
      expect(parentsOf(spans, 'openai.completion')).toEqual(['chat_model.llm'])
      expect(parentsOf(spans, 'openai.embedding')).toEqual(['Shelf.retriever'])
    })

    it('tells trainers which agent it was: the one with a name, else the node of the graph', async () => {
      const { spans } = await run(versions, async ({ h, model }) => {
        const ask = async (state: { messages: InstanceType<Hosts['HumanMessage']>[] }) => ({
          messages: [await model.invoke(state.messages)],
        })
        const graph = new h.StateGraph(h.MessagesAnnotation)
          .addNode('write_query', ask)
          .addNode('team', h.createReactAgent({ llm: model, tools: [], name: 'reviewer' }))
          .addEdge(h.START, 'write_query')
          .addEdge('write_query', 'team')
          .compile()
        return graph.invoke({ messages: [new h.HumanMessage('Hi')] })
      })
      const labels = toTriplets(spans).map(({ metadata }) => metadata.agent_name)
      expect(labels).toEqual(['write_query', 'reviewer'])
      expect(toTriplets(spans, { agentMatch: /^write/ })).toHaveLength(1)
    })

    it('keeps the names of agents and nodes where a run is given another', async () => {
      const { spans } = await run(versions, async ({ h, model }) => {
        const graph = new h.StateGraph(h.MessagesAnnotation)
          .addNode('write_query', async (state) => ({ messages: [await model.invoke(state.messages)] }))
          .addEdge(h.START, 'write_query')
          .compile()
        const agent = h.createReactAgent({ llm: model, tools: [], name: 'reviewer' })
        const input = { messages: [new h.HumanMessage('Hi')] }
        await graph.invoke(input, { runName: 'monday' })
        await agent.invoke(input, { runName: 'monday' })
        await agent.withConfig({ runName: 'monday' }).invoke(input)
      })
      expect(toTriplets(spans).map(({ metadata }) => metadata.agent_name)).toEqual([
        'write_query',
        'reviewer',
        'reviewer',
      ])
      expect(named(spans, 'monday.workflow')).toHaveLength(1)
    })

    it('is aborted, and so is the model, where a signal goes off in a stream', async () => {
      const { spans } = await run(
        versions,
        async ({ model }) => {
          const controller = new AbortController()
          const { signal } = controller
          const stream = await model.stream('Hi', { signal })
          const read = async (): Promise<void> => {
            for await (const _ of stream) controller.abort()
          }
          return read().catch((error: unknown) => String(error))
        },
        { reply: () => 'one two three four five', fault: () => ({ latency: { chunk: 5 } }) },
      )
      const [client] = named(spans, 'openai.chat.completion')
      const [model] = named(spans, 'chat_model.llm')
      expect([client, model].map((span) => span?.attributes['agl.finish'])).toEqual(['aborted', 'aborted'])
      expect([client, model].map((span) => span?.status.statusCode)).toEqual(['UNSET', 'UNSET'])
    })

    it('is a tree of one root in which every parent is there', async () => {
      const { spans } = await run(versions, async (given) => {
        await chain(given).invoke({ word: 'a' })
        await chain(given).batch([{ word: 'b' }, { word: 'c' }])
      })
      expect(treeOf(spans)).toHaveLength(1)
      expect(depth(treeOf(spans))).toBe(4)
    })
  },
)
