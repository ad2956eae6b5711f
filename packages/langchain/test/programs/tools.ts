import type { Hosts } from '../hosts.ts'
import type { Program } from './types.ts'
import { scripted, type Line } from '../scripted.ts'

const adder = (h: Hosts) =>
  h.tool(({ a, b }: { a: number; b: number }) => String(a + b), {
    name: 'add',
    description: 'Adds two numbers.',
    schema: h.z.object({ a: h.z.number(), b: h.z.number() }),
  })

const SUM: readonly Line[] = [{ calls: [{ name: 'add', args: { a: 1, b: 2 } }] }, 'It is 3.']

const lastText = (messages: readonly { content: unknown }[]): unknown => messages.at(-1)?.content

/** Tools, retrievers and the agents that use them. */
export const tools: readonly Program[] = [
  {
    name: 'a tool',
    run: ({ h, config }) => adder(h).invoke({ a: 1, b: 2 }, config),
    result: /^"3"$/,
    tree: `
      add.tool`,
  },
  {
    name: 'a tool called as a model asked for it, with an operation inside',
    run: ({ h, config, span }) => {
      const look = h.tool(({ at }: { at: string }) => span('eyes', () => `nothing at ${at}`), {
        name: 'look',
        description: 'Looks.',
        schema: h.z.object({ at: h.z.string() }),
      })
      return look.invoke({ name: 'look', args: { at: 'sea' }, id: 'call_1', type: 'tool_call' }, config)
    },
    result: /nothing at sea/,
    tree: `
      look.tool
        (eyes)`,
  },
  {
    name: 'a tool of its own class',
    run: ({ h, config, span }) => {
      class Shout extends h.StructuredTool {
        name = 'shout'
        description = 'Shouts.'
        schema = h.z.object({ text: h.z.string() })
        protected override _call({ text }: { text: string }): Promise<string> {
          return span('lungs', () => text.toUpperCase())
        }
      }
      return new Shout().invoke({ text: 'hey' }, config)
    },
    result: /HEY/,
    tree: `
      shout.tool
        (lungs)`,
  },
  {
    name: 'a tool that fails',
    run: ({ h, config }) =>
      h
        .tool(
          () => {
            throw new RangeError('too far')
          },
          { name: 'reach', description: 'Reaches.', schema: h.z.object({}) },
        )
        .invoke({}, config),
    result: /RangeError: too far/,
    tree: `
      reach.tool!`,
  },
  {
    name: 'a retriever that asks a vector store',
    run: ({ h, config, span }) => {
      class Shelf extends h.BaseRetriever {
        static override lc_name(): string {
          return 'Shelf'
        }
        lc_namespace = ['test']
        override _getRelevantDocuments(query: string) {
          return span('embed', () => [
            new h.Document({ pageContent: `about ${query}`, metadata: { page: 7 } }),
          ])
        }
      }
      return new Shelf()
        .pipe((documents) => documents.map(({ pageContent }) => pageContent))
        .invoke('bees', config)
    },
    result: /about bees/,
    tree: `
      RunnableSequence.chain
        Shelf.retriever
          (embed)
        RunnableLambda.chain`,
  },
  {
    name: 'a ReAct agent with a tool',
    run: async ({ h, config }) => {
      const agent = h.createReactAgent({ llm: scripted(h, SUM), tools: [adder(h)] })
      const { messages } = await agent.invoke({ messages: [new h.HumanMessage('1 + 2?')] }, config)
      return lastText(messages)
    },
    result: /It is 3/,
    tree: `
      LangGraph.workflow
        agent.chain@
          RunnableSequence.chain
            prompt.chain
            ScriptedModel.llm
              tool_call.add
          RunnableLambda.chain
        tools.chain@
          add.tool
        agent.chain@
          RunnableSequence.chain
            prompt.chain
            ScriptedModel.llm
          RunnableLambda.chain`,
  },
  {
    name: 'a ReAct agent with a name and memory, asked twice',
    run: async ({ h, config }) => {
      const llm = scripted(h, (messages) => `I have heard ${messages.length}.`)
      const agent = h.createReactAgent({
        llm,
        tools: [],
        name: 'listener',
        checkpointer: new h.MemorySaver(),
      })
      const thread = { ...config, configurable: { thread_id: 't' } }
      await agent.invoke({ messages: [new h.HumanMessage('one')] }, thread)
      const { messages } = await agent.invoke({ messages: [new h.HumanMessage('two')] }, thread)
      return messages.map(({ content }) => content)
    },
    result: /I have heard 1.*I have heard 3/,
    tree: `
      listener.agent
        agent.chain
          RunnableSequence.chain
            prompt.chain
            ScriptedModel.llm
          RunnableLambda.chain
      listener.agent
        agent.chain
          RunnableSequence.chain
            prompt.chain
            ScriptedModel.llm
          RunnableLambda.chain`,
  },
  {
    name: 'an agent whose tool fails, and which is told so',
    run: async ({ h, config }) => {
      const broken = h.tool(
        () => {
          throw new Error('out of order')
        },
        { name: 'add', description: 'Adds.', schema: h.z.object({}) },
      )
      const llm = scripted(h, [{ calls: [{ name: 'add', args: {} }] }, 'I cannot.'])
      const agent = h.createReactAgent({ llm, tools: [broken] })
      const { messages } = await agent.invoke({ messages: [new h.HumanMessage('1 + 2?')] }, config)
      return messages.map(({ content }) => content)
    },
    result: /out of order.*I cannot/,
    tree: `
      LangGraph.workflow
        agent.chain@
          RunnableSequence.chain
            prompt.chain
            ScriptedModel.llm
              tool_call.add
          RunnableLambda.chain
        tools.chain@
          add.tool!
        agent.chain@
          RunnableSequence.chain
            prompt.chain
            ScriptedModel.llm
          RunnableLambda.chain`,
  },
  {
    name: 'an agent that calls two tools at once',
    run: async ({ h, config }) => {
      const calls = [
        { name: 'add', args: { a: 1, b: 2 } },
        { name: 'add', args: { a: 3, b: 4 } },
      ]
      const agent = h.createReactAgent({ llm: scripted(h, [{ calls }, 'Done.']), tools: [adder(h)] })
      const { messages } = await agent.invoke({ messages: [new h.HumanMessage('Add them.')] }, config)
      return messages.map(({ content }) => content)
    },
    result: /"3".*"7".*Done/,
    tree: `
      LangGraph.workflow
        agent.chain@
          RunnableSequence.chain
            prompt.chain
            ScriptedModel.llm
              tool_call.add
              tool_call.add
          RunnableLambda.chain
        tools.chain@
          add.tool
          add.tool
        agent.chain@
          RunnableSequence.chain
            prompt.chain
            ScriptedModel.llm
          RunnableLambda.chain`,
  },
  {
    name: "LangChain's own agent",
    only: 'latest',
    run: async ({ h, config }) => {
      const { createAgent } = await import('langchain')
      const agent = createAgent({ model: scripted(h, SUM), tools: [adder(h)], name: 'planner' })
      const { messages } = await agent.invoke({ messages: [new h.HumanMessage('1 + 2?')] }, config)
      return lastText(messages)
    },
    result: /It is 3/,
    tree: `
      planner.agent
        model_request.chain
          ScriptedModel.llm
            tool_call.add
          RunnableLambda.chain
        tools.chain
          add.tool
        model_request.chain
          ScriptedModel.llm
          RunnableLambda.chain`,
  },
  {
    name: "LangChain's own agent, without a name and with middleware",
    only: 'latest',
    run: async ({ h, config, span }) => {
      const { createAgent, createMiddleware } = await import('langchain')
      const watch = createMiddleware({
        name: 'watch',
        wrapModelCall: (request, handler) => span('watched', () => handler(request)),
      })
      const agent = createAgent({ model: scripted(h, ['Hello.']), tools: [], middleware: [watch] })
      const { messages } = await agent.invoke({ messages: [new h.HumanMessage('Hi')] }, config)
      return lastText(messages)
    },
    result: /Hello/,
    tree: `
      LangGraph.agent
        model_request.chain
          (watched)
            ScriptedModel.llm`,
  },
  {
    name: 'an agent executor with a memory buffer',
    only: 'lowest',
    run: async ({ h, config }) => {
      const { agentExecutor } = await import('../executor.ts')
      return agentExecutor(h, scripted(h, [...SUM]), adder(h), config)
    },
    result: /It is 3/,
    tree: `
      AgentExecutor.agent
        ToolCallingAgent.chain
          RunnableAssign.chain
            RunnableMap.chain
              RunnableLambda.chain
          ChatPromptTemplate.chain
          ScriptedModel.llm
            tool_call.add
          ToolCallingAgentOutputParser.chain
        add.tool
        ToolCallingAgent.chain
          RunnableAssign.chain
            RunnableMap.chain
              RunnableLambda.chain
          ChatPromptTemplate.chain
          ScriptedModel.llm
          ToolCallingAgentOutputParser.chain`,
  },
]
