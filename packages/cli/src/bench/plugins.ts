import type { Config, Plugin } from '@agl/core'

type Overlay = Omit<Config, 'environment' | 'environments'>

/** Every plugin that `config` may install, with those that they bring along, by name. */
export function pluginsOf(config: Config): Map<string, Plugin> {
  const plugins = new Map<string, Plugin>()
  const add = (plugin: Plugin): void => {
    if (plugins.has(plugin.name)) return
    plugins.set(plugin.name, plugin)
    for (const required of plugin.requires ?? []) add(required)
  }
  for (const { plugins: listed = [] } of [config, ...Object.values(config.environments ?? {})])
    listed.forEach(add)
  return plugins
}

/** The plugin called `name` and those that it cannot work without. */
export function withRequired(name: string, plugins: ReadonlyMap<string, Plugin>): Set<string> {
  const names = (plugins.get(name)?.requires ?? []).map((required) => required.name)
  return new Set([name, ...names.flatMap((required) => [...withRequired(required, plugins)])])
}

export function watches({ hosts = {}, requires = [] }: Plugin, host: string): boolean {
  return host in hosts || requires.some((required) => watches(required, host))
}

/** The configuration without what takes spans away from here, or says how: these are not to be measured, nor to get what is measured. */
export function withoutSinks(config: Config): Config {
  const environments = Object.entries(config.environments ?? {}).map(([name, overlay]) => [
    name,
    bare(overlay),
  ])
  const { environment } = config
  return {
    ...bare(config),
    ...(environment === undefined ? {} : { environment }),
    environments: Object.fromEntries(environments),
    strict: false,
    log: 'error',
  }
}

function bare({ plugins, capture, drain, serviceName, outside }: Overlay): Overlay {
  const kept = { plugins, capture, drain, serviceName, outside }
  return Object.fromEntries(Object.entries(kept).filter(([, value]) => value !== undefined))
}
