import type { Hosts } from '../hosts.ts'
import type { Program } from './types.ts'
import { scripted } from '../scripted.ts'

const counter = (h: Hosts) =>
  h.Annotation.Root({
    n: h.Annotation<number>({ reducer: (_old, next) => next, default: () => 0 }),
    seen: h.Annotation<string[]>({ reducer: (old, more) => [...old, ...more], default: () => [] }),
  })

/** Graphs of LangGraph's. */
export const graphs: readonly Program[] = [
  {
    name: 'a graph with a conditional edge',
    run: ({ h, config, span }) =>
      new h.StateGraph(counter(h))
        .addNode('start_at', (state) => span('work', () => ({ n: state.n + 1, seen: ['start_at'] })))
        .addNode('double', (state) => ({ n: state.n * 2, seen: ['double'] }))
        .addNode('stop', () => ({ seen: ['stop'] }))
        .addEdge(h.START, 'start_at')
        .addConditionalEdges('start_at', (state) => (state.n > 1 ? 'double' : 'stop'))
        .addEdge('double', h.END)
        .addEdge('stop', h.END)
        .compile()
        .invoke({ n: 1 }, config),
    result: /"n":4.*start_at.*double/,
    tree: `
      LangGraph.workflow
        start_at.chain@
          (work)
          RunnableLambda.chain
        double.chain@`,
  },
  {
    name: 'a graph of two models that write and check',
    run: async ({ h, config }) => {
      const writer = scripted(h, ['SELECT 1'])
      const checker = scripted(h, ['fine'])
      const graph = new h.StateGraph(h.MessagesAnnotation)
        .addNode('write_query', async (state) => ({ messages: [await writer.invoke(state.messages)] }))
        .addNode('check_query', async (state) => ({ messages: [await checker.invoke(state.messages)] }))
        .addEdge(h.START, 'write_query')
        .addEdge('write_query', 'check_query')
        .addEdge('check_query', h.END)
        .compile()
      const { messages } = await graph.invoke({ messages: [new h.HumanMessage('How many?')] }, config)
      return messages.map(({ content }) => content)
    },
    result: /SELECT 1.*fine/,
    tree: `
      LangGraph.workflow
        write_query.chain@
          ScriptedModel.llm
        check_query.chain@
          ScriptedModel.llm`,
  },
  {
    name: 'a graph that goes round until it has enough',
    run: ({ h, config }) =>
      new h.StateGraph(counter(h))
        .addNode('grow', (state) => ({ n: state.n + 1 }))
        .addEdge(h.START, 'grow')
        .addConditionalEdges('grow', (state) => (state.n < 3 ? 'grow' : h.END))
        .compile()
        .invoke({ n: 0 }, config),
    result: /"n":3/,
    tree: `
      LangGraph.workflow
        grow.chain@
          RunnableLambda.chain
        grow.chain@
          RunnableLambda.chain
        grow.chain@
          RunnableLambda.chain`,
  },
  {
    name: 'a graph as a node of another',
    run: ({ h, config }) => {
      const inner = new h.StateGraph(counter(h))
        .addNode('deep', (state) => ({ n: state.n + 10 }))
        .addEdge(h.START, 'deep')
        .addEdge('deep', h.END)
        .compile()
      return new h.StateGraph(counter(h))
        .addNode('before', (state) => ({ n: state.n + 1 }))
        .addNode('inside', inner)
        .addEdge(h.START, 'before')
        .addEdge('before', 'inside')
        .addEdge('inside', h.END)
        .compile()
        .invoke({ n: 0 }, config)
    },
    result: /"n":11/,
    tree: `
      LangGraph.workflow
        before.chain@
        inside.chain@
          LangGraph.workflow
            deep.chain@`,
  },
  {
    name: 'a graph that sends to as many nodes as there is work',
    run: ({ h, config, span }) => {
      const state = counter(h)
      return new h.StateGraph(state)
        .addNode('plan', () => ({ n: 3 }))
        .addNode('work', (item: { n: number }) => span('effort', () => ({ seen: [`did ${item.n}`] })))
        .addEdge(h.START, 'plan')
        .addConditionalEdges('plan', ({ n }) =>
          Array.from({ length: n }, (_, i) => new h.Send('work', { n: i })),
        )
        .addEdge('work', h.END)
        .compile()
        .invoke({ n: 0 }, config)
    },
    result: /did 0.*did 1.*did 2/,
    tree: `
      LangGraph.workflow
        plan.chain@
          RunnableLambda.chain
        work.chain@
          (effort)
        work.chain@
          (effort)
        work.chain@
          (effort)`,
  },
  {
    name: 'a graph whose node says where to go next',
    run: ({ h, config }) =>
      new h.StateGraph(counter(h))
        .addNode('choose', () => new h.Command({ update: { n: 5 }, goto: 'five' }), { ends: ['five'] })
        .addNode('five', () => ({ seen: ['five'] }))
        .addEdge(h.START, 'choose')
        .addEdge('five', h.END)
        .compile()
        .invoke({ n: 0 }, config),
    result: /"n":5.*five/,
    tree: `
      LangGraph.workflow
        choose.chain@
        five.chain@`,
  },
  {
    name: 'a graph that waits for a person, and goes on with the answer',
    run: async ({ h, config }) => {
      const graph = new h.StateGraph(counter(h))
        .addNode('ask', () => {
          const answer: unknown = h.interrupt('How many?')
          return { n: Number(answer) }
        })
        .addEdge(h.START, 'ask')
        .addEdge('ask', h.END)
        .compile({ checkpointer: new h.MemorySaver() })
      const thread = { ...config, configurable: { thread_id: 't' } }
      await graph.invoke({ n: 0 }, thread)
      return graph.invoke(new h.Command({ resume: '8' }), thread)
    },
    result: /"n":8/,
    tree: `
      LangGraph.workflow
        ask.chain@
      LangGraph.workflow
        ask.chain@`,
  },
  {
    name: 'a graph with a checkpointer, called twice on one thread',
    run: async ({ h, config }) => {
      const graph = new h.StateGraph(counter(h))
        .addNode('grow', (state) => ({ n: state.n + 1, seen: [`saw ${state.n}`] }))
        .addEdge(h.START, 'grow')
        .addEdge('grow', h.END)
        .compile({ checkpointer: new h.MemorySaver() })
      const thread = { ...config, configurable: { thread_id: 't' } }
      await graph.invoke({ n: 1 }, thread)
      return graph.invoke({ n: 5 }, thread)
    },
    result: /saw 1.*saw 5/,
    tree: `
      LangGraph.workflow
        grow.chain@
      LangGraph.workflow
        grow.chain@`,
  },
  {
    name: 'a workflow of functions',
    run: ({ h, config }) => {
      const double = h.task('double', (n: number) => n * 2)
      const flow = h.entrypoint('flow', async (n: number) => (await double(n)) + (await double(n + 1)))
      return flow.invoke(3, config)
    },
    result: /^14$/,
    tree: `
      flow.agent
        flow.chain
        double.chain
        double.chain`,
  },
  {
    name: 'a supervisor that hands over to agents with names',
    run: async ({ h, config }) => {
      const agent = (name: string, says: string) =>
        h.createReactAgent({ llm: scripted(h, [says]), tools: [], name })
      const graph = new h.StateGraph(h.MessagesAnnotation)
        .addNode('research', agent('researcher', 'Bees dance.'))
        .addNode('write', agent('writer', 'A poem on bees.'))
        .addEdge(h.START, 'research')
        .addEdge('research', 'write')
        .addEdge('write', h.END)
        .compile()
      const { messages } = await graph.invoke({ messages: [new h.HumanMessage('Bees?')] }, config)
      return messages.map(({ content }) => content)
    },
    result: /Bees dance.*A poem/,
    tree: `
      LangGraph.workflow
        research.chain@
          researcher.agent
            agent.chain
              RunnableSequence.chain
                prompt.chain
                ScriptedModel.llm
              RunnableLambda.chain
        write.chain@
          writer.agent
            agent.chain
              RunnableSequence.chain
                prompt.chain
                ScriptedModel.llm
              RunnableLambda.chain`,
  },
  {
    name: 'a graph whose node fails',
    run: ({ h, config }) =>
      new h.StateGraph(counter(h))
        .addNode('fall', () => {
          throw new TypeError('no ground')
        })
        .addEdge(h.START, 'fall')
        .addEdge('fall', h.END)
        .compile()
        .invoke({ n: 0 }, config),
    result: /TypeError: no ground/,
    tree: `
      LangGraph.workflow!
        fall.chain@!`,
  },
  {
    name: 'a graph that tries a node again',
    run: ({ h, config }) => {
      let tries = 0
      return new h.StateGraph(counter(h))
        .addNode(
          'flaky',
          () => {
            if (++tries < 3) throw new Error(`try ${tries}`)
            return { n: tries }
          },
          { retryPolicy: { maxAttempts: 3, initialInterval: 1, jitter: false, logWarning: false } },
        )
        .addEdge(h.START, 'flaky')
        .addEdge('flaky', h.END)
        .compile()
        .invoke({ n: 0 }, config)
    },
    result: /"n":3/,
    tree: `
      LangGraph.workflow
        flaky.chain@!
        flaky.chain@!
        flaky.chain@`,
  },
  {
    name: 'a graph that goes round too often',
    run: ({ h, config }) =>
      new h.StateGraph(counter(h))
        .addNode('spin', () => ({}))
        .addEdge(h.START, 'spin')
        .addEdge('spin', 'spin')
        .compile()
        .invoke({ n: 0 }, { ...config, recursionLimit: 2 }),
    result: /GraphRecursionError/,
    tree: `
      LangGraph.workflow!
        spin.chain@
        spin.chain@`,
  },
]
