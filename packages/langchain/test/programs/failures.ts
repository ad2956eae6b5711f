import type { Program } from './types.ts'
import { scripted } from '../scripted.ts'

/** LangChain waits a second before it tries again, whatever it is told. */
async function hurried<T>(fn: () => Promise<T>): Promise<T> {
  const { setTimeout } = globalThis
  Object.assign(globalThis, { setTimeout: (then: () => void, ms = 0) => setTimeout(then, Math.min(ms, 5)) })
  return fn().finally(() => Object.assign(globalThis, { setTimeout }))
}

/** What goes wrong, is tried again, or is stopped. */
export const failures: readonly Program[] = [
  {
    name: 'a model that fails',
    run: ({ h, config }) =>
      h.PromptTemplate.fromTemplate('Say {word}')
        .pipe(scripted(h, [new Error('overloaded')]))
        .invoke({ word: 'x' }, config),
    result: /Error: overloaded/,
    tree: `
      RunnableSequence.chain!
        PromptTemplate.chain
        ScriptedModel.llm!`,
  },
  {
    name: 'a parser that cannot read the answer',
    run: ({ h, config }) =>
      scripted(h, ['no JSON']).pipe(new h.JsonOutputParser()).invoke('Say JSON', config),
    result: /Error/,
    tree: `
      RunnableSequence.chain!
        ScriptedModel.llm
        JsonOutputParser.chain!`,
  },
  {
    name: 'a model that is tried again',
    run: ({ h, config }) =>
      hurried(async () => {
        const model = scripted(h, [new Error('busy'), 'now']).withRetry({ stopAfterAttempt: 3 })
        const chain = h.PromptTemplate.fromTemplate('Say {word}').pipe(model)
        return (await chain.invoke({ word: 'x' }, config)).content
      }),
    result: /now/,
    tree: `
      RunnableSequence.chain
        PromptTemplate.chain
        ScriptedModel.chain
          ScriptedModel.llm!
          ScriptedModel.llm`,
  },
  {
    name: 'a model with another to fall back on',
    run: async ({ h, config }) => {
      const model = scripted(h, [new Error('down')], { name: 'First' }).withFallbacks([
        scripted(h, ['here'], { name: 'Second' }),
      ])
      return (await model.invoke('Anyone?', config)).content
    },
    result: /here/,
    tree: `
      RunnableWithFallbacks.chain
        First.llm!
        Second.llm`,
  },
  {
    name: 'a batch of which one fails',
    run: ({ h, config }) =>
      h.RunnableLambda.from((n: number) => {
        if (n === 2) throw new RangeError('not two')
        return n
      }).batch([1, 2, 3], config, { returnExceptions: true }),
    tree: `
      RunnableLambda.chain
      RunnableLambda.chain!
      RunnableLambda.chain`,
  },
  {
    name: 'a call that is aborted',
    run: ({ h, config }) => {
      const controller = new AbortController()
      const model = scripted(h, ['late'], { delay: 10_000, inside: () => undefined })
      const slow = h.RunnableLambda.from((text: string) => {
        setTimeout(() => controller.abort(), 10)
        return text
      }).pipe(model)
      return slow.invoke('Hurry', { ...config, signal: controller.signal })
    },
    result: /[Aa]bort/,
    tree: `
      RunnableSequence.chain~aborted
        RunnableLambda.chain
        ScriptedModel.llm~aborted`,
  },
  {
    name: 'a call that takes too long',
    run: ({ h, config }) => {
      const model = scripted(h, ['late'], { delay: 10_000 })
      return model.invoke('Hurry', { ...config, timeout: 10 })
    },
    result: /[Tt]ime|[Aa]bort/,
    tree: `
      ScriptedModel.llm!`,
  },
]
