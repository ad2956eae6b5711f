import type { Program } from './types.ts'
import { scripted, scriptedText } from '../scripted.ts'

const capitals = (h: Parameters<typeof scripted>[0]) =>
  scripted(h, (messages) => `The capital of ${messages.at(-1)?.text.split(' ').at(-1)}.`)

/** Prompts, models, parsers and the ways to put them together. */
export const chains: readonly Program[] = [
  {
    name: 'a prompt, a model and a parser, called once',
    run: ({ h, config }) =>
      h.ChatPromptTemplate.fromMessages([
        ['system', 'You are terse.'],
        ['human', 'Say {word}'],
      ])
        .pipe(scripted(h, ['hello']))
        .pipe(new h.StringOutputParser())
        .invoke({ word: 'hello' }, config),
    result: /^"hello"$/,
    tree: `
      RunnableSequence.chain
        ChatPromptTemplate.chain
        ScriptedModel.llm
        StrOutputParser.chain`,
  },
  {
    name: 'a chain with a name, tags and metadata',
    run: ({ h, config }) =>
      h.PromptTemplate.fromTemplate('Say {word}')
        .pipe(scripted(h, ['hello']))
        .withConfig({ runName: 'greeter', tags: ['polite'], metadata: { team: 'greetings' } })
        .invoke({ word: 'hello' }, config),
    tree: `
      greeter.chain
        PromptTemplate.chain
        ScriptedModel.llm`,
  },
  {
    name: 'a chat model by itself',
    run: ({ h, config }) => scripted(h, ['hello']).invoke('Say hello', config),
    tree: `
      ScriptedModel.llm`,
  },
  {
    name: 'a text model',
    run: ({ h, config }) => scriptedText(h, ['hello']).invoke('Say hello', config),
    tree: `
      ScriptedText.llm`,
  },
  {
    name: 'a batch, eight at a time',
    run: ({ h, config }) =>
      h.ChatPromptTemplate.fromTemplate('What is the capital of {country}')
        .pipe(capitals(h))
        .pipe(new h.StringOutputParser())
        .batch(
          ['Chile', 'Ghana', 'Nepal'].map((country) => ({ country })),
          { ...config, maxConcurrency: 8 },
        ),
    result: /Chile.*Ghana.*Nepal/,
    tree: `
      RunnableSequence.chain
        ChatPromptTemplate.chain
        ScriptedModel.llm
        StrOutputParser.chain
      RunnableSequence.chain
        ChatPromptTemplate.chain
        ScriptedModel.llm
        StrOutputParser.chain
      RunnableSequence.chain
        ChatPromptTemplate.chain
        ScriptedModel.llm
        StrOutputParser.chain`,
  },
  {
    name: 'several prompts in one call of a model',
    run: async ({ h, config }) => {
      const { generations } = await capitals(h).generate(
        [[new h.HumanMessage('Of Chile')], [new h.HumanMessage('Of Ghana')]],
        config,
      )
      return generations.map((group) => group.map(({ text }) => text))
    },
    result: /Chile.*Ghana/,
    tree: `
      ScriptedModel.llm
      ScriptedModel.llm`,
  },
  {
    name: 'branches side by side',
    run: ({ h, config }) =>
      h.RunnableMap.from({
        joke: h.ChatPromptTemplate.fromTemplate('A joke about {topic}').pipe(scripted(h, ['ha'])),
        topic: (input: { topic: string }) => input.topic,
      }).invoke({ topic: 'bears' }, config),
    tree: `
      RunnableMap.chain
        RunnableSequence.chain
          ChatPromptTemplate.chain
          ScriptedModel.llm
        RunnableLambda.chain`,
  },
  {
    name: 'values assigned on the way',
    run: ({ h, config }) =>
      h.RunnablePassthrough.assign({ length: (input: { text: string }) => input.text.length })
        .pick('length')
        .invoke({ text: 'four' }, config),
    result: /^4$/,
    tree: `
      RunnableSequence.chain
        RunnableMap.chain
          RunnableLambda.chain
        RunnablePick.chain`,
  },
  {
    name: 'a branch by condition',
    run: ({ h, config }) =>
      h.RunnableBranch.from([
        [(n: number) => n > 0, (n: number) => `${n} is positive`],
        (n: number) => `${n} is not positive`,
      ]).invoke(3, config),
    result: /3 is positive/,
    tree: `
      RunnableBranch.chain
        RunnableLambda.chain
        RunnableLambda.chain`,
  },
  {
    name: 'a function that calls a chain, and opens an operation around it',
    run: ({ h, config, span }) => {
      const chain = h.PromptTemplate.fromTemplate('Say {word}').pipe(scripted(h, ['hello']))
      const outer = h.RunnableLambda.from(async (word: string) => {
        const first = await chain.invoke({ word })
        const second = await span('again', () => chain.invoke({ word }))
        return [first.content, second.content]
      })
      return outer.invoke('hello', config)
    },
    tree: `
      RunnableLambda.chain
        RunnableSequence.chain
          PromptTemplate.chain
          ScriptedModel.llm
        (again)
          RunnableSequence.chain
            PromptTemplate.chain
            ScriptedModel.llm`,
  },
  {
    name: 'a function that returns a runnable',
    run: ({ h, config }) =>
      h.RunnableLambda.from(() =>
        h.PromptTemplate.fromTemplate('Say {word}').pipe(scripted(h, ['hello'])),
      ).invoke({ word: 'hello' }, config),
    tree: `
      RunnableLambda.chain
        RunnableSequence.chain
          PromptTemplate.chain
          ScriptedModel.llm`,
  },
  {
    name: 'a runnable of its own class',
    run: ({ h, config, span }) => {
      class Doubler extends h.Runnable<number, number> {
        lc_namespace = ['test']
        override invoke(input: number, options?: object): Promise<number> {
          return this._callWithConfig((n: number) => span('double', () => n * 2), input, options)
        }
      }
      return new Doubler().invoke(21, config)
    },
    result: /^42$/,
    tree: `
      Doubler.chain
        (double)`,
  },
  {
    name: 'a batch within a function',
    run: ({ h, config }) => {
      const double = h.RunnableLambda.from((n: number) => n * 2).withConfig({ runName: 'double' })
      return h.RunnableLambda.from((ns: number[]) => double.batch(ns)).invoke([1, 2], config)
    },
    result: /\[2,4\]/,
    tree: `
      RunnableLambda.chain
        double.chain
        double.chain`,
  },
  {
    name: 'a conversation with history',
    run: async ({ h, config }) => {
      const history = new h.InMemoryChatMessageHistory()
      const prompt = h.ChatPromptTemplate.fromMessages([
        new h.MessagesPlaceholder('history'),
        ['human', '{input}'],
      ])
      const chain = new h.RunnableWithMessageHistory({
        runnable: prompt.pipe(scripted(h, (messages) => `You said ${messages.length} things.`)),
        getMessageHistory: () => history,
        inputMessagesKey: 'input',
        historyMessagesKey: 'history',
      })
      const session = { ...config, configurable: { sessionId: 's' } }
      await chain.invoke({ input: 'one' }, session)
      await chain.invoke({ input: 'two' }, session)
      return (await history.getMessages()).map(({ content }) => content)
    },
    result: /You said 1 things.*You said 3 things/,
    tree: `
      RunnableWithMessageHistory.chain
        insertHistory.chain
          loadHistory.chain
        RunnableSequence.chain
          ChatPromptTemplate.chain
          ScriptedModel.llm
      RunnableWithMessageHistory.chain
        insertHistory.chain
          loadHistory.chain
        RunnableSequence.chain
          ChatPromptTemplate.chain
          ScriptedModel.llm`,
  },
  {
    name: 'structured output',
    run: ({ h, config }) =>
      scripted(h, [{ calls: [{ name: 'person', args: { name: 'Ada', born: 1815 } }] }])
        .withStructuredOutput(h.z.object({ name: h.z.string(), born: h.z.number() }), { name: 'person' })
        .invoke('Who wrote the first program?', config),
    result: /"Ada".*1815/,
    tree: `
      StructuredOutput.chain
        ScriptedModel.llm
          tool_call.person
        RunnableLambda.chain`,
  },
  {
    name: 'an answer from the cache',
    run: async ({ h, config }) => {
      const model = scripted(h, ['first', 'second'])
      model.cache = new h.InMemoryCache()
      const first = await model.invoke('Say something', config)
      const second = await model.invoke('Say something', config)
      return [first.content, second.content]
    },
    result: /first.*first/,
    tree: `
      ScriptedModel.llm
      ScriptedModel.llm`,
  },
]
