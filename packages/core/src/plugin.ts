import { AglError, logger } from './errors.ts'
import { installed, satisfies, type HostFinder } from './hosts.ts'
import type { Runtime } from './runtime.ts'
import type { Host, Plugin, PluginApi, PluginState, PluginStatus } from './types.ts'

type Wrap = (original: (...args: unknown[]) => unknown) => (...args: unknown[]) => unknown

interface Patch {
  target: object
  original: (...args: unknown[]) => unknown
  replacement: (...args: unknown[]) => unknown
  wrapper: (...args: unknown[]) => unknown
  descriptor: PropertyDescriptor | undefined
  active: boolean
  installed: boolean
}

const wrappers = new WeakMap<object, Patch>()

interface Entry {
  plugin: Plugin
  /** Set while nothing is installed: on request, or because setting up failed. */
  off: 'stopped' | 'failed' | undefined
  /** Why setting up failed. */
  problem?: string
  notes: Set<string>
  hosts: Host[]
  undo: (() => void)[]
  patches: WeakMap<object, Map<PropertyKey, Patch>>
}

/** The plugins of one `start`, in the order in which they were installed. */
export class Plugins {
  readonly #entries = new Map<string, Entry>()
  readonly #ensured = new Set<string>()
  readonly #runtime: Runtime
  readonly #finder: HostFinder
  readonly #strict: boolean

  constructor(runtime: Runtime, finder: HostFinder, strict: boolean) {
    this.#runtime = runtime
    this.#finder = finder
    this.#strict = strict
  }

  /** Installs `plugins` and what they require. An explicit plugin wins over one that another merely requires. */
  async install(plugins: readonly Plugin[]): Promise<void> {
    for (const { name } of plugins) {
      if (!this.#ensured.delete(name)) continue
      await this.stop(name)
      this.#entries.delete(name)
    }
    for (const plugin of orderOf(plugins, new Set(this.#entries.keys()))) {
      const entry: Entry = {
        plugin,
        off: 'stopped',
        notes: new Set(),
        hosts: [],
        undo: [],
        patches: new WeakMap(),
      }
      this.#entries.set(plugin.name, entry)
      await this.#setup(entry)
    }
  }

  /** Installs `plugin` unless one of its name is there, and until one is that was asked for by the program. */
  async ensure(plugin: Plugin): Promise<void> {
    if (this.#entries.has(plugin.name)) return
    const installing = this.install([plugin])
    this.#ensured.add(plugin.name)
    await installing
  }

  async stop(name: string): Promise<void> {
    const entry = this.#get(name)
    entry.off = 'stopped'
    for (const undo of entry.undo.splice(0).reverse()) {
      try {
        undo()
      } catch (error) {
        logger(`agl:${name}`).warn(`The plugin "${name}" failed while it was being stopped.`, error)
      }
    }
    for (const host of entry.hosts) host.patched = false
  }

  async resume(name: string): Promise<void> {
    const entry = this.#get(name)
    if (entry.off !== undefined) await this.#setup(entry)
  }

  async stopAll(): Promise<void> {
    for (const name of [...this.#entries.keys()].reverse()) await this.stop(name)
  }

  status(): PluginStatus[] {
    return [...this.#entries.values()].map((entry) => {
      const { plugin } = entry
      const { state, reason } = assess(entry)
      const hosts = entry.hosts.map((host) => ({ ...host }))
      return {
        name: plugin.name,
        state,
        ...(plugin.version === undefined ? {} : { version: plugin.version }),
        hosts,
        ...(reason === undefined ? {} : { reason }),
        ...(entry.notes.size === 0 ? {} : { notes: [...entry.notes] }),
      }
    })
  }

  #get(name: string): Entry {
    const entry = this.#entries.get(name)
    if (entry !== undefined) return entry
    const known = [...this.#entries.keys()].join(', ') || 'none'
    throw new AglError('plugin_unknown', `There is no plugin named "${name}"; installed are: ${known}.`)
  }

  async #setup(entry: Entry): Promise<void> {
    const { plugin } = entry
    entry.hosts = []
    entry.off = undefined
    delete entry.problem
    try {
      const undo = await plugin.setup(this.#api(entry))
      if (typeof undo === 'function') entry.undo.push(undo)
      // Stopped while it was being set up: what it did since goes as well.
      if (isOff(entry)) return await this.stop(plugin.name)
      await this.#finder.settled()
    } catch (error) {
      await this.stop(plugin.name)
      entry.off = 'failed'
      entry.problem = `setup failed: ${error instanceof Error ? error.message : String(error)}`
      if (this.#strict)
        throw new AglError(
          'plugin_failed',
          `The plugin "${plugin.name}" failed to set up: ${String(error)}; repair or remove it.`,
          { cause: error },
        )
      logger(`agl:${plugin.name}`).warn(`The plugin "${plugin.name}" could not be set up and is off.`, error)
    }
    const { state, reason } = assess(entry)
    if (state === 'active') return
    if (state === 'unsupported')
      logger(`agl:${plugin.name}`).once(`${reason}; it is traced all the same, but check the result.`)
    if (!this.#strict) return
    const code = state === 'missing-peer' ? 'host_missing' : 'host_unsupported'
    throw new AglError(code, `The plugin "${plugin.name}" is not active: ${reason}.`)
  }

  #api(entry: Entry): PluginApi {
    const runtime = this.#runtime
    const log = logger(`agl:${entry.plugin.name}`)
    let visiting: Host | undefined
    return {
      log,
      capture: runtime.capture,
      activity: (kind, start, parent) => runtime.activity(kind, start, parent),
      current: () => runtime.current()?.activity,
      recording: () => entry.off === undefined && runtime.recording(),
      note: (message) => void entry.notes.add(message),
      adopt: (host) => void entry.hosts.push(host),
      on: (kind, hooks) => {
        if (isOff(entry)) return
        if (hooks.start !== undefined) entry.undo.push(runtime.hook('start', kind, hooks.start))
        if (hooks.end !== undefined) entry.undo.push(runtime.hook('end', kind, hooks.end))
      },
      eachHost: (name, visit, options) => {
        if (isOff(entry)) return
        const stop = this.#finder.each(name, options?.file, (module, found) => {
          const known = entry.hosts.find((host) => host.path === found.path && host.format === found.format)
          const { file: _file, ...copy } = found
          const host = known ?? copy
          if (known === undefined) entry.hosts.push(host)
          visiting = host
          try {
            const undo = visit(module, found)
            if (typeof undo === 'function') entry.undo.push(undo)
            if (found.patched) host.patched = true
          } catch (error) {
            log.once(`${name} ${host.version} could not be patched; it works on untraced.`, error)
          } finally {
            visiting = undefined
          }
        })
        entry.undo.push(stop)
      },
      patch: (target, key, wrap) => {
        if (isOff(entry)) return
        try {
          const undo = patch(entry.patches, target, key, wrap)
          entry.undo.push(undo)
          if (visiting !== undefined) visiting.patched = true
        } catch (error) {
          log.once(`"${String(key)}" could not be replaced; calls to it are not traced.`, error)
        }
      },
    }
  }
}

/** A stopped plugin installs nothing more, whatever it still has under way. */
function isOff(entry: Entry): boolean {
  return entry.off !== undefined
}

/** The state follows from the copies that are there now, since hosts may be loaded at any time. */
function assess(entry: Entry): { state: PluginState; reason?: string } {
  if (entry.off === 'failed')
    return { state: 'failed', ...(entry.problem === undefined ? {} : { reason: entry.problem }) }
  if (entry.off !== undefined) return { state: entry.off }
  for (const [name, range] of Object.entries(entry.plugin.hosts ?? {})) {
    const copies = entry.hosts.filter((host) => host.package === name)
    const versions = copies.length > 0 ? copies.map((host) => host.version) : installed(name)
    if (versions === undefined) continue
    if (versions.length === 0)
      return { state: 'missing-peer', reason: `${name} is not installed; run: npm install ${name}` }
    if (copies.length > 0 && !copies.some((host) => host.patched)) {
      return {
        state: 'failed',
        reason: `${name} ${versions.join(', ')} is loaded, but nothing in it could be patched`,
      }
    }
    const odd = versions.find((version) => !satisfies(version, range))
    if (odd !== undefined)
      return { state: 'unsupported', reason: `${name} ${odd} is outside the tested range ${range}` }
  }
  return { state: 'active' }
}

/** Plugins with what they require before them; explicit ones win, and the same name twice is an error. */
function orderOf(plugins: readonly Plugin[], present: Set<string>): Plugin[] {
  const explicit = new Map<string, Plugin>()
  for (const plugin of plugins) {
    if (explicit.has(plugin.name) || present.has(plugin.name)) {
      throw new AglError('plugin_duplicate', `The plugin "${plugin.name}" is listed twice; list it once.`)
    }
    explicit.set(plugin.name, plugin)
  }
  const order: Plugin[] = []
  const add = (plugin: Plugin): void => {
    if (present.has(plugin.name)) return
    present.add(plugin.name)
    for (const required of plugin.requires ?? []) add(explicit.get(required.name) ?? required)
    order.push(plugin)
  }
  for (const plugin of plugins) add(plugin)
  return order
}

function patch(patches: Entry['patches'], target: object, key: PropertyKey, wrap: Wrap): () => void {
  const known = patches.get(target) ?? new Map<PropertyKey, Patch>()
  patches.set(target, known)
  let entry = known.get(key)
  if (entry?.active === true) return () => {}
  if (entry?.installed === true) {
    entry.replacement = wrap(entry.original)
    entry.active = true
  } else {
    entry = install(target, key, wrap)
    known.set(key, entry)
  }
  const done = entry
  return () => {
    done.active = false
    unwind(target, key)
  }
}

/** Takes away stopped wrappers of ours from the top; those of other plugins may lie below one another. */
function unwind(target: object, key: PropertyKey): void {
  for (;;) {
    const top: unknown = Object.getOwnPropertyDescriptor(target, key)?.value
    const entry = isFunction(top) ? wrappers.get(top) : undefined
    if (entry === undefined || entry.active || entry.target !== target) return
    entry.installed = false
    if (entry.descriptor === undefined) Reflect.deleteProperty(target, key)
    else Object.defineProperty(target, key, entry.descriptor)
  }
}

function install(target: object, key: PropertyKey, wrap: Wrap): Patch {
  const original: unknown = Reflect.get(target, key)
  if (!isFunction(original)) throw new TypeError(`${String(key)} is not a function`)
  const descriptor = Object.getOwnPropertyDescriptor(target, key)
  const entry: Patch = {
    target,
    original,
    replacement: wrap(original),
    // `arguments` is handed on as it is: a stopped wrapper allocates nothing.
    wrapper: function (this: unknown): unknown {
      if (new.target !== undefined) return Reflect.construct(original, arguments, new.target)
      return Reflect.apply(entry.active ? entry.replacement : original, this, arguments)
    },
    descriptor,
    active: true,
    installed: true,
  }
  Object.defineProperties(entry.wrapper, Object.getOwnPropertyDescriptors(original))
  wrappers.set(entry.wrapper, entry)
  Object.defineProperty(target, key, {
    value: entry.wrapper,
    writable: descriptor?.writable ?? true,
    enumerable: descriptor?.enumerable ?? false,
    configurable: true,
  })
  return entry
}

function isFunction(value: unknown): value is (...args: unknown[]) => unknown {
  return typeof value === 'function'
}
