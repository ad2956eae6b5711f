import type { PluginApi } from '@agl/core'

/** What runs are recorded with; undefined while the plugin is not installed. */
let api: PluginApi | undefined

export function recordWith(next: PluginApi | undefined): void {
  api = next
}

export function recorder(): PluginApi | undefined {
  return api
}
