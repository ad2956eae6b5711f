import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { definePlugin, emitReward, record, start, type Lightning, type PluginApi, type Span } from '@agl/core'
import { otlpSink } from '@agl/otlp'
import { startModelServer, type ModelServer } from '@agl/testkit'
import { toMessages, toTriplets, type Triplet, type TripletOptions } from '@agl/train'
import { vllm } from '@agl/vllm'
import OpenAI from 'openai'
import { answer, runProgram } from '../src/programs.ts'
import { startPython, type PythonProgram } from '../src/python.ts'
import { solve } from '../../examples/quickstart/agent.ts'
import problems from '../../examples/quickstart/problems.json' with { type: 'json' }
import { scriptedModel } from '../../examples/quickstart/scripted-model.ts'

const RUNS = 200

/** The adapters' options, as Python names them and as we do. */
const OPTIONS: Readonly<Record<string, { python: object; ours: TripletOptions }>> = {
  'the defaults': { python: {}, ours: {} },
  'rewards of siblings': {
    python: { reward_match: 'first_sibling' },
    ours: { rewardMatch: 'first_sibling' },
  },
  'one agent': { python: { agent_match: 'solver' }, ours: { agentMatch: 'solver' } },
  'no repair, calls in rewards too': {
    python: { repair_hierarchy: false, exclude_llm_call_in_reward: false },
    ours: { repairHierarchy: false, excludeLlmCallInReward: false },
  },
  'only with token ids': { python: { _skip_empty_token_spans: true }, ours: { skipEmptyTokenSpans: true } },
}

let python: PythonProgram
let store: string
let server: ModelServer
let lightning: Lightning
let api: PluginApi
let client: OpenAI

beforeAll(async () => {
  python = await startPython('agentlightning', 'store.py')
  store = urlIn(python.hello)
  server = await startModelServer({
    flavor: 'vllm',
    models: ['scripted'],
    reply: (request) =>
      problems.some(({ question }) => request.messages.some(({ text }) => text === question))
        ? scriptedModel(request)
        : answer(request),
  })
  const own = definePlugin({ name: 'own', setup: (given) => void (api = given) })
  lightning = await start({
    plugins: [vllm({ logprobs: true }), own],
    sinks: [otlpSink({ url: `${store}/v1/traces` })],
    strict: true,
  })
  client = new OpenAI({ baseURL: server.baseURL, apiKey: 'none', maxRetries: 0 })
}, 20 * 60_000)

afterAll(async () => {
  await lightning?.shutdown()
  await server?.close()
  await python?.[Symbol.asyncDispose]()
})

/** Runs `work` as an attempt that the real store has begun, and gives the spans that we recorded of it. */
async function attempt(
  name: string,
  work: () => Promise<void>,
): Promise<{ rolloutId: string; spans: Span[] }> {
  const response = await fetch(`${store}/v1/agl/rollouts`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ input: name }),
  })
  const rollout: unknown = await response.json()
  const { rollout_id: rolloutId, attempt: begun } = fields(rollout)
  const { attempt_id: attemptId } = fields(begun)
  const ids = { rolloutId: String(rolloutId), attemptId: String(attemptId) }
  const { spans, error } = await record(name, ids, work)
  expect(error).toBeUndefined()
  return { rolloutId: ids.rolloutId, spans }
}

/** What the real adapters give for the spans that the real store got, beside what ours give for the spans here. */
async function compare({ rolloutId, spans }: { rolloutId: string; spans: Span[] }): Promise<Triplet[]> {
  const named = Object.entries(OPTIONS)
  const theirs = fields(
    await python.ask({
      rollout_id: rolloutId,
      triplets: Object.fromEntries(named.map(([name, { python: options }]) => [name, options])),
      messages: true,
    }),
  )
  const ours = {
    count: spans.length,
    triplets: Object.fromEntries(
      named.map(([name, { ours: options }]) => [name, outcome(() => toTriplets(spans, options))]),
    ),
    messages: outcome(() => toMessages(spans)),
  }
  expect(plain(ours)).toEqual(withoutNames(theirs))
  return toTriplets(spans)
}

/** How many of the triplets have what a trainer needs; equal results of nothing would prove nothing. */
function census(triplets: readonly Triplet[]): Record<string, number> {
  const count = (has: (triplet: Triplet) => boolean): number => triplets.filter(has).length
  return {
    ids: count(({ prompt, response }) => prompt.token_ids.length > 0 && response.token_ids.length > 0),
    logprobs: count(
      ({ response }) =>
        Array.isArray(response.logprobs) && response.logprobs.length === response.token_ids.length,
    ),
    rewards: count(({ reward }) => typeof reward === 'number'),
    agents: new Set(triplets.map(({ metadata }) => metadata.agent_name)).size,
  }
}

function outcome<T>(work: () => T): { result: T } | { error: true } {
  try {
    return { result: work() }
  } catch {
    return { error: true }
  }
}

/** Whose errors have their own names. */
function withoutNames(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value), (key, item: unknown) =>
    key === 'error' && typeof item === 'string' ? true : item,
  )
}

function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value))
}

function fields(value: unknown): Record<string, unknown> {
  expect(value).toBeTypeOf('object')
  return { ...(value as object) }
}

function urlIn(hello: unknown): string {
  return String(fields(hello)['url'])
}

describe('the real Agent Lightning, with what our tracer records', () => {
  it('gives for the quickstart agent the triplets and messages that ours give', async () => {
    const triplets: Triplet[] = []
    for (const { id, question, answer: right } of problems) {
      const run = await attempt(id, async () => {
        emitReward((await solve(client, 'scripted', question)) === right)
      })
      await lightning.flush()
      triplets.push(...(await compare(run)))
    }
    const { length } = triplets
    expect(length).toBeGreaterThan(2 * problems.length)
    expect(census(triplets)).toEqual({ ids: length, logprobs: length, rewards: problems.length, agents: 1 })
  }, 120_000)

  it(`gives for ${RUNS} made-up runs the triplets and messages that ours give`, async () => {
    const runs: Awaited<ReturnType<typeof attempt>>[] = []
    for (let seed = 1; seed <= RUNS; seed += 20) {
      const seeds = Array.from({ length: Math.min(20, RUNS + 1 - seed) }, (_, i) => seed + i)
      runs.push(
        ...(await Promise.all(
          seeds.map((each) => attempt(`run ${each}`, () => runProgram(each, { client, api }))),
        )),
      )
    }
    const { dropped } = await lightning.flush()
    expect(dropped).toBe(0)
    const triplets: Triplet[] = []
    for (const run of runs) triplets.push(...(await compare(run)))
    const { ids, logprobs, rewards, agents } = census(triplets)
    console.log(`${triplets.length} triplets:`, { ids, logprobs, rewards, agents })
    expect(ids).toBeGreaterThan(2 * RUNS)
    expect(logprobs).toBe(ids)
    expect(rewards).toBeGreaterThan(RUNS / 4)
    expect(agents).toBe(4)
  }, 300_000)
})
