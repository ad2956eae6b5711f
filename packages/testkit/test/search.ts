import { definePlugin, type Activity, type Plugin, type PluginApi } from '@agl/core'

type Search = (query: string, key: string) => Promise<readonly string[]>

/** A toy host: one function that looks a word up, as a server would. */
export const host: { search: Search } = {
  search: async (query, key) => {
    await Promise.resolve()
    if (key === '') throw new RangeError('The key is missing.')
    return ['apple', 'apricot'].filter((entry) => entry.startsWith(query.slice(0, 2)))
  },
}

type Wrap = Parameters<PluginApi['patch']>[2]

/** How a plugin can break its promises. */
export interface Flaws {
  /** Wraps again at each set-up and never unwraps. */
  stacks?: true
  /** Keeps errors from the caller. */
  swallows?: true
  /** Rewords errors. */
  rewords?: true
  /** Leaves the activity of a failing call open. */
  leavesOpen?: true
  /** Adds to what the host returns. */
  changesResult?: true
  /** Writes the query under a name that the core takes for harmless. */
  leaksContent?: true
  leaksKey?: true
  listens?: true
  /** Opens each activity in the trace that came first. */
  mixesTraces?: true
  recordsTwice?: true
}

/** A plugin for the toy host, sound but for the flaws asked for. */
export function search(flaws: Flaws = {}): Plugin {
  return definePlugin({
    name: 'search',
    setup(api) {
      const wrap = wrapping(api, flaws)
      if (flaws.listens) process.on('beforeExit', () => {})
      if (flaws.stacks) host.search = stacked(wrap)
      else api.patch(host, 'search', wrap)
    },
  })
}

function stacked(wrap: Wrap): Search {
  const { search: original } = host
  const wrapped = wrap((...args) => Reflect.apply(original, host, args))
  return async (...args) => {
    const found = await wrapped(...args)
    return Array.isArray(found) ? found.map(String) : []
  }
}

function wrapping(api: PluginApi, flaws: Flaws): Wrap {
  let first: Activity<'retriever'> | undefined
  return (original) =>
    async function (this: unknown, ...args: unknown[]): Promise<unknown> {
      const call = (): unknown => Reflect.apply(original, this, args)
      if (!api.recording() && !flaws.stacks) return call()
      const [query, key] = args
      const open = (): Activity<'retriever'> =>
        api.activity('retriever', {
          name: 'search',
          input: query,
          attributes: {
            ...(flaws.leaksContent ? { 'search.note': query } : {}),
            ...(flaws.leaksKey ? { 'search.key': key } : {}),
          },
        })
      const activity = flaws.mixesTraces && first !== undefined ? first.run(open) : open()
      first ??= activity
      if (flaws.recordsTwice) open().end()
      try {
        const found = await activity.run(call)
        activity.end({ output: found })
        return flaws.changesResult && Array.isArray(found) ? [...found, 'extra'] : found
      } catch (error) {
        if (!flaws.leavesOpen) activity.fail(error)
        if (flaws.swallows) return []
        throw flaws.rewords ? new Error(`search: ${String(error)}`) : error
      }
    }
}
