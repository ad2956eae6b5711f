import type { PluginApi } from '@agl/core'

/** What runs are recorded with; undefined while the plugin is not installed. */
let api: PluginApi | undefined
let tags: readonly string[] = []

/** `everywhere` are the tags of all runs. */
export function recordWith(next: PluginApi | undefined, everywhere: readonly string[] = []): void {
  api = next
  tags = everywhere
}

/** The tags of a run that a handler with tags of its `own` is told of. */
export function tagsWith(own: readonly string[]): readonly string[] {
  return tags.length === 0 ? own : [...new Set([...own, ...tags])]
}

export function recorder(): PluginApi | undefined {
  return api
}
