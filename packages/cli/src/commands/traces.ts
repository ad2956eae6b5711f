import type { Rollout, Store } from '@agl/store'
import type { Span } from '@agl/core'
import { CliError } from '../errors.ts'
import { load, need } from '../packages.ts'
import { renderList, summarize } from '../render/list.ts'
import type { RewardReader } from '../render/spans.ts'
import { renderTrace } from '../render/tree.ts'
import { DEFAULT_STORE, openExisting } from '../store.ts'
import { columns, paint, print } from '../terminal.ts'

export interface TracesOptions {
  store?: string | undefined
  json: boolean
}

/** Prints the newest traces of the store, the newest first. */
export async function listTraces({
  store: url,
  json,
  limit,
}: TracesOptions & { limit: number }): Promise<void> {
  await withStore(url, async (store, rewardsOf) => {
    const { items, total } = await store.queryRollouts({ sortBy: 'startTime', sortOrder: 'desc', limit })
    const summaries = []
    for (const rollout of items) {
      const spans = await spansOf(store, rollout)
      summaries.push(summarize(rollout, spans, rewardsOf))
    }
    if (json) return print([JSON.stringify(summaries, null, 2)])
    if (total === 0) return print(['There are no traces yet; record a program with: agl run FILE'])
    print(renderList(summaries))
    if (total > items.length)
      print(['', `${total - items.length} older traces; see them with --limit ${total}`])
  })
}

/** Prints the tree of one trace: by its id, the beginning of it, or `latest`. */
export async function showTrace(id: string, { store: url, json }: TracesOptions): Promise<void> {
  await withStore(url, async (store, rewardsOf, core) => {
    const rollout = await findTrace(store, id)
    const spans = await spansOf(store, rollout)
    if (json)
      return print([JSON.stringify({ rollout, spans: spans.map((span) => core.spanToJSON(span)) }, null, 2)])
    print(renderTrace(rollout, spans, { rewardsOf, columns: columns(), paint }))
  })
}

type Core = typeof import('@agl/core')

async function withStore(
  url: string | undefined,
  use: (store: Store, rewardsOf: RewardReader, core: Core) => Promise<void>,
): Promise<void> {
  const folders = [process.cwd()]
  need(['@agl/core', '@agl/store'], folders)
  const core = await load('@agl/core', folders)
  const store = await openExisting(url ?? DEFAULT_STORE, folders)
  try {
    await use(store, rewardReader(core), core)
  } finally {
    await store.close()
  }
}

/** What only looks like a reward is passed over here; a trainer would refuse it. */
export function rewardReader(core: Pick<Core, 'getRewardsFromSpan'>): RewardReader {
  return (span) => {
    try {
      return core.getRewardsFromSpan(span)
    } catch {
      return []
    }
  }
}

async function spansOf(store: Store, { rolloutId }: Rollout): Promise<Span[]> {
  return (await store.querySpans({ rolloutId, attemptId: 'latest' })).items
}

async function findTrace(store: Store, id: string): Promise<Rollout> {
  if (id === 'latest') {
    const { items } = await store.queryRollouts({ sortBy: 'startTime', sortOrder: 'desc', limit: 1 })
    if (items[0] !== undefined) return items[0]
    throw new CliError('There are no traces yet; record a program with: agl run FILE')
  }
  const exact = await store.getRollout(id)
  if (exact !== undefined) return exact
  const { items } = await store.queryRollouts({ rolloutIdContains: id })
  const found = items.filter(({ rolloutId }) => rolloutId.startsWith(id) || rolloutId.startsWith(`ro-${id}`))
  if (found.length === 1 && found[0] !== undefined) return found[0]
  throw new CliError(
    found.length === 0
      ? `There is no trace "${id}" in this store; list them with: agl traces`
      : `"${id}" is the beginning of ${found.length} traces; give more of the id, as in ${found[0]?.rolloutId}.`,
  )
}
