import { record, start, useClockAndIds, getRewardsFromSpan } from '@agl/core'
import type { Lightning, PluginApi, Span } from '@agl/core'
import type { Rollout } from '@agl/store'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { emitMessage, emitReward, definePlugin } from '@agl/core'
import { renderList, summarize } from '../src/render/list.ts'
import { duration, number, oneLine, width } from '../src/render/text.ts'
import { renderTrace, type TreeOptions } from '../src/render/tree.ts'

const plain: TreeOptions = { rewardsOf: getRewardsFromSpan, columns: 120, paint: (_style, text) => text }

let lightning: Lightning
let api: PluginApi
let time = 0
let restore: () => void
beforeEach(async () => {
  time = 1000
  let ids = 0
  restore = useClockAndIds({
    now: () => time,
    randomHex: (bytes) => (++ids).toString(16).padStart(bytes * 2, '0'),
  })
  lightning = await start({
    plugins: [definePlugin({ name: 'probe', setup: (given) => void (api = given) })],
  })
})
afterEach(async () => {
  await lightning.shutdown()
  restore()
})

function rolloutOf(spans: readonly Span[], change: Partial<Rollout> = {}): Rollout {
  return {
    rolloutId: spans[0]?.rolloutId ?? 'ro-none',
    input: null,
    startTime: 1000,
    endTime: time,
    mode: null,
    resourcesId: null,
    status: 'succeeded',
    config: { timeoutSeconds: null, unresponsiveSeconds: null, maxAttempts: 1, retryCondition: [] },
    metadata: { name: 'solve' },
    ...change,
  }
}

function call(content: string, tokens = true, tool?: string): void {
  const activity = api.activity('llm', {
    provider: 'OpenAI',
    operation: 'chat',
    request: { model: 'demo' },
    messages: [{ role: 'user', content: 'What?' }],
  })
  time += 0.25
  const toolCalls = tool === undefined ? [] : [{ id: 'c1', name: 'calculator', arguments: tool }]
  activity.end({
    response: { id: 'r1', model: 'demo-1' },
    choices: [
      { index: 0, role: 'assistant', content, toolCalls, ...(tokens && { logprobs: [{ logprob: -1 }] }) },
    ],
    usage: { promptTokens: 12, completionTokens: 3 },
    ...(tokens && {
      tokens: {
        prompt: Int32Array.of(1, 2),
        choices: [{ index: 0, response: Int32Array.of(3) }],
        complete: true,
      },
    }),
  })
}

async function sample(): Promise<Span[]> {
  const { spans } = await record('solve', () => {
    const agent = api.activity('agent', { name: 'planner' })
    agent.run(() => {
      call('', true, '{"expression":"6 * 7"}')
      const tool = api.activity('tool', { name: 'calculator', parameters: { expression: '6 * 7' } })
      time += 0.003
      tool.end({ result: '42' })
      call('Answer: 42', false)
      const failing = api.activity('llm', {
        provider: 'OpenAI',
        operation: 'chat',
        request: { model: 'demo' },
      })
      time += 1.5
      failing.fail(new RangeError('The server\nis away.'))
    })
    agent.end()
    emitReward({ correct: 1, brief: 0.30000000000000004 }, { primary: 'correct' })
    emitMessage('all\u001b[31m red \u202e and turned around')
  })
  return spans
}

describe('a trace', () => {
  it('is a tree with durations, models, tokens, tools, rewards and errors', async () => {
    const spans = await sample()
    expect(renderTrace(rolloutOf(spans), spans, plain)).toMatchInlineSnapshot(`
      [
        "solve  ro-000000000001",
        "succeeded, 2.00 s, 3 model calls, 24 → 6 tokens, reward 1",
        "",
        "solve.session  2.00 s",
        "├─ planner.agent  2.00 s",
        "│  ├─ openai.chat.completion  250 ms, demo-1, 12 → 3 tokens, [ids + logprobs]  calculator({"expression":"6 * 7"})",
        "│  ├─ calculator.tool  3 ms  calculator({"expression":"6 * 7"}) → 42",
        "│  ├─ openai.chat.completion  250 ms, demo-1, 12 → 3 tokens  Answer: 42",
        "│  └─ openai.chat.completion  1.50 s, demo  ✗ RangeError: The server is away.",
        "├─ agentlightning.annotation  reward 1, brief 0.3",
        "└─ agentlightning.message  all [31m red and turned around",
      ]
    `)
  })

  it('names an operation that failed, and counts the choices of an answer', async () => {
    const { spans } = await record('solve', () => {
      const lookup = api.activity('operation', { name: 'look up' })
      lookup.fail(new RangeError('gone'))
      const two = api.activity('llm', { provider: 'OpenAI', operation: 'chat', request: { model: 'demo' } })
      two.end({ choices: [0, 1].map((index) => ({ index, role: 'assistant', content: `answer ${index}` })) })
    })
    expect(renderTrace(rolloutOf(spans), spans, plain).slice(-2)).toEqual([
      '├─ agentlightning.operation  ✗ RangeError: gone (look up)',
      '└─ openai.chat.completion  demo, 2 choices  answer 0',
    ])
  })

  it('has each line cut to the terminal', async () => {
    const spans = await sample()
    for (const columns of [40, 60, 80]) {
      const lines = renderTrace(rolloutOf(spans), spans, { ...plain, columns })
      expect(lines.filter((line) => width(line) > columns)).toEqual([])
    }
  })

  it('without its root is shown as unfinished', async () => {
    const spans = (await sample()).slice(0, -1)
    const lines = renderTrace(rolloutOf(spans, { endTime: null, status: 'running' }), spans, plain)
    expect(lines.slice(0, 5)).toMatchInlineSnapshot(`
      [
        "solve  ro-000000000001",
        "unfinished, 3 model calls, 24 → 6 tokens, reward 1",
        "",
        "(unfinished: the program is still running or was killed)",
        "├─ planner.agent  2.00 s",
      ]
    `)
    expect(lines).toHaveLength(12 - 1)
  })

  it('without spans says so', () => {
    expect(renderTrace(rolloutOf([]), [], plain)).toMatchInlineSnapshot(`
      [
        "solve  ro-none",
        "succeeded, 0 ms",
        "",
        "(no spans)",
      ]
    `)
  })

  it('whose spans are their own ancestors is shown all the same', async () => {
    const spans = await sample()
    const odd = spans.map((span) => ({ ...span, parentId: span.spanId }))
    expect(
      renderTrace(rolloutOf(odd), odd, plain).filter(
        (line) => line.startsWith('├─') || line.startsWith('└─'),
      ),
    ).toHaveLength(spans.length)
  })

  it('with a huge text takes one line for it', async () => {
    const { spans } = await record('solve', () => call('漢字 and more 👩‍👩‍👧 '.repeat(200_000)))
    const lines = renderTrace(rolloutOf(spans), spans, plain)
    expect(lines).toHaveLength(5)
    expect(width(lines[4] ?? '')).toBeLessThanOrEqual(120)
    expect(lines[4]).toMatch(/漢字 and more.*…$/)
  })
})

describe('a list of traces', () => {
  it('is a table', async () => {
    const spans = await sample()
    const first = summarize(rolloutOf(spans), spans, getRewardsFromSpan)
    const second = {
      ...first,
      id: 'ro-2',
      name: '解决 a very long name that nobody wants to read to its end',
      reward: undefined,
      duration: undefined,
      status: 'unfinished',
      tokensIn: undefined,
    }
    const lines = renderList([first, second]).map((line) =>
      line.replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/, 'YYYY-MM-DD hh:mm:ss'),
    )
    expect(lines).toMatchInlineSnapshot(`
      [
        "ID               NAME                              STARTED                TOOK  STATUS      SPANS  IN  OUT  REWARD",
        "ro-000000000001  solve                             YYYY-MM-DD hh:mm:ss  2.00 s  succeeded       9  24    6       1",
        "ro-2             解决 a very long name that nobo…  YYYY-MM-DD hh:mm:ss          unfinished      9        6",
      ]
    `)
  })
})

describe('text', () => {
  it.each([
    ['abc', 3],
    ['漢字', 4],
    ['👩‍👩‍👧', 2],
    ['é', 1],
    ['e\u0301', 1],
    ['🇫🇷', 2],
    ['', 0],
  ])('%j takes %i columns', (text, columns) => {
    expect(width(text)).toBe(columns)
  })

  it.each([
    ['short', 10, 'short'],
    ['exactly10!', 10, 'exactly10!'],
    ['longer than ten', 10, 'longer th…'],
    ['漢字漢字漢字', 6, '漢字…'],
    ['two\nlines\tand\u001b[31mcolour', 40, 'two lines and [31mcolour'],
    ['anything', 0, ''],
  ])('%j in %i columns is %j', (text, columns, expected) => {
    expect(oneLine(text, columns)).toBe(expected)
  })

  it.each([
    [0, '0 ms'],
    [0.0124, '12 ms'],
    [0.9999, '1.00 s'],
    [59.999, '1 min 0 s'],
    [125, '2 min 5 s'],
    [7265, '2 h 1 min'],
  ])('%d seconds are %s', (seconds, expected) => {
    expect(duration(seconds)).toBe(expected)
  })

  it('has numbers without the noise of binary fractions', () => {
    expect([0.1 + 0.2, 1, -2.5, 1 / 3].map(number)).toEqual(['0.3', '1', '-2.5', '0.333333'])
  })
})
