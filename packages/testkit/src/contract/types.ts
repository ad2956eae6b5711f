import type { Plugin } from '@agl/core'

export interface ContractInput {
  /** A word that occurs nowhere else: put it into what the host is given as content (a prompt, a query, a tool's argument). */
  canary: string
  /** Another one, to be used as API key or other credential where the host takes any. */
  secret: string
}

/** What the suite needs to know of a plugin. */
export interface PluginContract {
  /** The plugin's name, as `status()` shows it. */
  name: string
  /** A new instance of the plugin. */
  plugin(): Plugin
  /**
   * One successful call of the host. Returns what the host returned, without what differs from call to call: it is
   * compared with the result of the same call without the plugin.
   */
  exercise(input: ContractInput): Promise<unknown>
  /** One call of the host that fails. Must reject with the host's error. */
  fail(input: ContractInput): Promise<unknown>
  /** Names of the spans that `exercise` makes inside a trace, the trace's own root left out, in any order. */
  spans: readonly string[]
  /** The same while the plugin is stopped: what the plugins that it requires still record. @default none */
  spansWhenStopped?: readonly string[]
  /** The functions of the host that the plugin replaces, read anew at each call. Leave out where it replaces none. */
  hostFunctions?(): readonly unknown[]
  /** URL of the plugin's entry module, which is imported alone in a process of its own. */
  module: string | URL
  /** Options for that process, such as `['--conditions=…']`. */
  nodeOptions?: readonly string[]
}

/** One promise of the contract. `run` rejects with an `AssertionError` where it is broken. */
export interface ContractCase {
  name: string
  run: () => Promise<void>
}

/** What a test runner gives: vitest's functions, `node:test`'s, or others like them. */
export interface ContractRunner {
  describe: (name: string, body: () => void) => unknown
  it: (name: string, body: () => Promise<void>) => unknown
}
