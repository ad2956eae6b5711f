import type { Rollout, Store } from '@agl/store'
import type OpenAI from 'openai'
import { CliError, messageOf, usage } from '../errors.ts'
import { load, need, type Packages } from '../packages.ts'
import { loadQuickstart, type Quickstart } from '../quickstart.ts'
import { totals, tokens } from '../render/spans.ts'
import { duration, oneLine } from '../render/text.ts'
import { renderTrace } from '../render/tree.ts'
import { openStore } from '../store.ts'
import { columns, command, paint, print } from '../terminal.ts'
import { rewardReader } from './traces.ts'

export interface DemoOptions {
  store?: string | undefined
  problems?: number | undefined
}

const DEMO_STORE = 'sqlite:.agl/demo.db'
const NEEDED = ['@agl/core', '@agl/store', '@agl/openai', '@agl/vllm', 'openai'] as const

interface Model {
  client: OpenAI
  name: string
  close(): Promise<void>
}

type Core = Packages['@agl/core']

/** Lets the quickstart's agent solve its problems, each in a trace of its own, and shows what was recorded. */
export async function demo(options: DemoOptions): Promise<void> {
  const folders = [process.cwd()]
  const url = options.store ?? DEMO_STORE
  const scripted = process.env['AGL_BASE_URL'] === undefined && process.env['AGL_MODEL'] === undefined
  need(scripted ? [...NEEDED, '@agl/testkit'] : NEEDED, folders)
  const core = await load('@agl/core', folders)
  const { openai } = await load('@agl/openai', folders)
  const { vllm } = await load('@agl/vllm', folders)
  const { storeSink } = await load('@agl/store', folders)
  const quickstart = await loadQuickstart()
  const model = await chooseModel(quickstart, folders)
  try {
    const store = await openStore(url, folders)
    try {
      const plugins = [openai(), vllm({ logprobs: true })]
      const lightning = await core.start({ plugins, sinks: [storeSink(store)], serviceName: 'agl-demo' })
      const problems = quickstart.problems.slice(0, options.problems)
      let ids: string[]
      try {
        ids = await solveAll(problems, quickstart, model, core)
      } finally {
        await lightning.shutdown()
      }
      await summarize(store, ids, url, core)
    } finally {
      await store.close()
    }
  } finally {
    await model.close()
  }
}

/** The server that the environment names, or the scripted one. */
async function chooseModel(quickstart: Quickstart, folders: readonly string[]): Promise<Model> {
  const { AGL_BASE_URL: baseURL, AGL_MODEL: name, AGL_API_KEY: apiKey = 'none' } = process.env
  const { default: Client } = await load('openai', folders)
  if (baseURL !== undefined && name !== undefined) {
    print([`The model is ${name} at ${baseURL}.`, ''])
    return { client: new Client({ baseURL, apiKey, maxRetries: 1 }), name, close: async () => {} }
  }
  if (baseURL !== undefined || name !== undefined)
    throw usage('AGL_BASE_URL and AGL_MODEL belong together; set both, or neither for the scripted model.')
  const { startModelServer } = await load('@agl/testkit', folders)
  const server = await startModelServer({ flavor: 'vllm', reply: quickstart.scriptedModel, record: false })
  print([
    `The model is scripted: no key, no network. A server on this machine (${server.url}) speaks vLLM's wire format`,
    'and answers by a script, with mistakes in it. For a real model set AGL_BASE_URL and AGL_MODEL.',
    '',
  ])
  const client = new Client({ baseURL: server.baseURL, apiKey })
  return { client, name: 'scripted', close: () => server.close() }
}

async function solveAll(
  problems: Quickstart['problems'],
  quickstart: Quickstart,
  { client, name }: Model,
  { trace, activeTrace, emitReward }: Core,
): Promise<string[]> {
  const ids: string[] = []
  const failures: unknown[] = []
  for (const { id, question, answer } of problems) {
    await trace(id, async () => {
      ids.push(activeTrace()?.rolloutId ?? '')
      const given = await quickstart.solve(client, name, question)
      emitReward(given === answer)
      const mark = given === answer ? paint('green', 'right') : paint('red', 'wrong')
      print([
        `${mark}  ${id.padEnd(12)} ${String(given ?? '–').padStart(6)}  ${oneLine(question, columns() - 30)}`,
      ])
    }).catch((error: unknown) => {
      failures.push(error)
      print([
        `${paint('red', 'error')}  ${id.padEnd(12)}         ${oneLine(messageOf(error), columns() - 30)}`,
      ])
    })
    // A server that cannot be reached will not be reached 30 times.
    if (failures.length === 3 && ids.length === 3) break
  }
  if (failures.length === ids.length)
    throw new CliError(
      `The model could not be asked (${messageOf(failures[0])}); check AGL_BASE_URL, AGL_MODEL and AGL_API_KEY.`,
      { cause: failures[0] },
    )
  return ids
}

async function summarize(store: Store, ids: readonly string[], url: string, core: Core): Promise<void> {
  const rewardsOf = rewardReader(core)
  const { items } = await store.queryRollouts({ rolloutIdIn: ids })
  const traces = await Promise.all(
    items.map(async (rollout) => {
      const { items: spans } = await store.querySpans({ rolloutId: rollout.rolloutId })
      return { rollout, spans }
    }),
  )
  const all = totals(
    traces.flatMap(({ spans }) => spans),
    rewardsOf,
  )
  const solved = traces.filter(({ spans }) => totals(spans, rewardsOf).reward === 1)
  const exact = traces
    .flatMap(({ spans }) => spans)
    .filter(({ attributes }) => 'response_token_ids' in attributes && 'logprobs.content' in attributes)
  print([
    '',
    `${solved.length} of ${traces.length} solved in ${duration(elapsed(traces.map(({ rollout }) => rollout)))}: ${all.calls} model calls, ${tokens(all.tokensIn, all.tokensOut) ?? 'tokens unknown'}; ${exact.length} calls with exact token ids and log probabilities.`,
    '',
  ])
  const example = traces.find(({ spans }) => totals(spans, rewardsOf).reward === 0) ?? traces[0]
  if (example !== undefined) {
    print([`One of the traces${example === traces[0] ? '' : ', where the answer was wrong'}:`, ''])
    print(renderTrace(example.rollout, example.spans, { rewardsOf, columns: columns(), paint }))
  }
  const flag = `--store ${url}`
  print([
    '',
    `Everything is in ${url.replace(/^sqlite:/, '')}. Next:`,
    `  ${command()} traces ${flag}`,
    `  ${command()} traces show ${example?.rollout.rolloutId ?? 'latest'} ${flag}`,
    `  ${command()} run your-program.ts`,
  ])
}

function elapsed(rollouts: readonly Rollout[]): number {
  const start = Math.min(...rollouts.map(({ startTime }) => startTime))
  const end = Math.max(...rollouts.map(({ startTime, endTime }) => endTime ?? startTime))
  return end - start
}
