import { definePlugin, ensurePlugin, type Plugin } from '@agl/core'
import { LangChainHandler } from './handler.ts'
import { FILES, hook } from './hooks.ts'
import { recordWith } from './recorder.ts'

export interface LangChainOptions {
  /** Put on every span that is recorded, as `agentlightning.tag.<i>`. */
  tags?: readonly string[]
}

/** Records every run of LangChain.js and LangGraph.js in the process, without a change to the program. */
export function langchain(options: LangChainOptions = {}): Plugin {
  return plugin(new LangChainHandler(), options.tags)
}

/**
 * A callback handler that records the runs it is passed to, as in `chain.invoke(input, { callbacks: [handler] })`. Needs
 * no plugin in the configuration; where `langchain()` is there too, each run is recorded once, with the tags of both.
 */
export function langchainHandler(options: LangChainOptions = {}): LangChainHandler {
  ensurePlugin(plugin(undefined))
  return new LangChainHandler(options.tags)
}

function plugin(handler: LangChainHandler | undefined, tags?: readonly string[]): Plugin {
  return definePlugin({
    name: 'langchain',
    hosts: { '@langchain/core': '>=0.3.68 <2' },
    modules: ['@langchain/core/callbacks/manager', '@langchain/core/runnables'],
    setup(api) {
      recordWith(api, tags)
      const places = new Set<string>()
      api.eachHost(
        '@langchain/core',
        (module, host) => {
          hook(api, module, handler)
          if (places.add(host.path).size === 2)
            api.note(
              'There are several copies of @langchain/core; all are recorded, but they do not mix well.',
            )
        },
        { file: FILES },
      )
      if (handler === undefined)
        api.note('Records what handlers of langchainHandler() are passed to; list langchain() to record all.')
      return () => recordWith(undefined)
    },
  })
}
