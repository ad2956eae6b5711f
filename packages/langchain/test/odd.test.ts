import { record, start, type Span } from '@agl/core'
import { langchain, langchainHandler } from '@agl/langchain'
import { RunnableLambda } from '@langchain/core/runnables'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openRuns } from '../src/runs.ts'

let stop: () => Promise<unknown>
beforeAll(async () => {
  const lightning = await start({ plugins: [langchain()], log: 'error', drain: 50 })
  stop = () => lightning.shutdown()
})
afterAll(() => stop())

const same = RunnableLambda.from((value: unknown) => value)

/** What is recorded as the input of a run. */
async function inputOf(value: unknown): Promise<unknown> {
  const { result, spans } = await record('odd', () => same.invoke({ value }))
  expect(result).toEqual({ value })
  return spans[0]?.attributes['agentops.chain.input']
}

describe('an input that is hard to write down', () => {
  const circular: Record<string, unknown> = { name: 'loop' }
  circular['self'] = circular
  const throwing = {
    good: 1,
    get bad(): never {
      throw new Error('do not touch')
    },
  }
  const deep = Array.from({ length: 100 }).reduce<object>((inner) => ({ inner }), {})

  it.each<[string, unknown, string]>([
    ['bigints', { n: 12345678901234567890n }, '{"value":{"n":"12345678901234567890"}}'],
    ['numbers that JSON lacks', [Number.NaN, Infinity], '{"value":["NaN","Infinity"]}'],
    ['getters that throw', throwing, '{"value":{"good":1,"bad":"[cannot be read]"}}'],
    ['a cycle', circular, '{"value":{"name":"loop","self":"[circular]"}}'],
    ['maps and sets', [new Map([['a', 1]]), new Set([2])], '{"value":[[["a",1]],[2]]}'],
    ['an error', new RangeError('far'), '{"value":{"name":"RangeError","message":"far"}}'],
    ['bytes', new Uint8Array(8), '{"value":"[8 bytes]"}'],
    ['a date', new Date(0), '{"value":"1970-01-01T00:00:00.000Z"}'],
    ['functions', { f: () => 1, g: Symbol('s'), h: undefined }, '{"value":{}}'],
    ['a text that no encoder likes', '\ud800"\n', JSON.stringify({ value: '\ud800"\n' })],
  ])('has %s', async (_name, value, written) => {
    expect(await inputOf(value)).toBe(written)
  })

  it('is deep', async () => {
    expect(await inputOf(deep)).toMatch(/"\[too deep\]"}+$/)
  })

  it('refuses to be looked at', async () => {
    const { proxy, revoke } = Proxy.revocable({}, {})
    revoke()
    const { spans } = await record('odd', () => same.invoke({ proxy }))
    expect(spans[0]?.attributes['agentops.chain.input']).toBe('{"proxy":"[cannot be read]"}')
  })

  it('is 10 MB of text, of which a part is kept', async () => {
    const written = await inputOf('x'.repeat(10_000_000))
    expect(String(written).length).toBeLessThan(66_000)
    expect(JSON.parse(String(written))).toMatchObject({ value: expect.stringMatching(/more characters\]$/) })
  })

  it('is a list of a million, of which a part is kept', async () => {
    const written = await inputOf(Array.from({ length: 1_000_000 }, (_, i) => ({ i })))
    expect(String(written).length).toBeLessThan(200_000)
    expect(JSON.parse(String(written)).value.at(-1)).toMatch(/more\]$/)
  })
})

describe('a handler that is told odd things', () => {
  const told = async (tell: (handler: ReturnType<typeof langchainHandler>) => void): Promise<Span[]> => {
    const { spans } = await record('told', () => tell(langchainHandler()))
    return spans.slice(0, -1)
  }
  const begin = (handler: ReturnType<typeof langchainHandler>, id: string, parent?: string): void =>
    handler._createRunForChainStart({ id: ['a', 'Chain'] }, { x: 1 }, id, parent)

  it('of a run that ends twice: it ends once', async () => {
    const spans = await told((handler) => {
      begin(handler, 'twice')
      handler.handleChainEnd({ y: 1 }, 'twice')
      handler.handleChainError(new Error('late'), 'twice')
    })
    expect(spans.map(({ status }) => status.statusCode)).toEqual(['OK'])
  })

  it('of a run that begins twice: it is one', async () => {
    const spans = await told((handler) => {
      begin(handler, 'again')
      begin(handler, 'again')
      handler.handleChainEnd({ y: 1 }, 'again')
    })
    expect(spans).toHaveLength(1)
  })

  it('of a run that never ends: it is given up with its trace', async () => {
    const spans = await told((handler) => begin(handler, 'endless'))
    expect(spans.map(({ name, status }) => [name, status.statusCode])).toEqual([['Chain.chain', 'ERROR']])
  })

  it('of an end without a beginning, and of a parent that nobody knows', async () => {
    const spans = await told((handler) => {
      handler.handleToolEnd('x', 'nobody')
      handler.handleLLMError('x', 'nobody')
      begin(handler, 'orphan', 'no such parent')
      handler.handleChainEnd(undefined, 'orphan')
    })
    expect(spans.map(({ name }) => name)).toEqual(['Chain.chain'])
  })

  it('of runs that say nothing of themselves', async () => {
    const spans = await told((handler) => {
      handler._createRunForChainStart(undefined, undefined, 'a')
      handler._createRunForChatModelStart(null, null, 'b', 'a', null, null, null)
      handler._createRunForLLMStart({}, [7], 'c', 'a', {}, 'tags', [])
      handler._createRunForToolStart({}, 7, 'd', 'a')
      handler._createRunForRetrieverStart({}, {}, 'e', 'a')
      handler.handleLLMEnd({ generations: [[null, { text: 'x' }]] }, 'b')
      handler.handleLLMEnd(undefined, 'c')
      handler.handleToolEnd(null, 'd')
      handler.handleRetrieverEnd(undefined, 'e')
      handler.handleChainEnd(Symbol('odd'), 'a')
    })
    expect(spans.map(({ name }) => name)).toEqual([
      'openai.chat.completion',
      'openai.completion',
      'tool.tool',
      'retriever.retriever',
      'Runnable.chain',
    ])
  })

  it('and has no run left over', async () => {
    const left = openRuns()
    await record('more', async () => {
      for (let i = 0; i < 3000; i++) begin(langchainHandler(), `endless ${i}`)
    })
    await record('last', async () => {
      for (let i = 0; i < 6000; i++) begin(langchainHandler(), `endless too ${i}`)
    })
    await record('most', () => same.batch(Array.from({ length: 9000 }, (_, i) => i)))
    expect(left).toBeLessThan(10)
    expect(openRuns()).toBeLessThan(10)
  })
})
