import { builtin, processSlot } from './context.ts'
import { logger } from './errors.ts'
import type { HostModule } from './types.ts'

type Visit = (module: Record<string, unknown>, host: HostModule) => void

interface Visitor {
  name: string
  file: RegExp | undefined
  visit: Visit
}

interface PackageInfo {
  name: string
  version: string
  path: string
  /** Files that the package's main entry may resolve to, relative and without extension. */
  main: Set<string>
}

const SCRIPT = /\.[cm]?js$/

/**
 * Finds every copy of a host library in the process: files loaded from now on by a load hook that makes them report
 * themselves, CommonJS files loaded before by the module cache, and ES modules loaded before by asking the engine
 * which scripts it has. It never loads a file that the program has not loaded itself.
 */
export class HostFinder {
  readonly #visitors = new Set<Visitor>()
  readonly #seen = new Map<string, { module: Record<string, unknown>; host: HostModule }>()
  readonly #packages = new Map<string, PackageInfo | undefined>()
  readonly #pending = new Set<Promise<unknown>>()
  #unhook: (() => void) | undefined
  /** Addresses of the ES modules loaded so far. */
  #modules: string[] = []

  each(name: string, file: RegExp | undefined, visit: Visit): () => void {
    this.#hook()
    const visitor: Visitor = { name, file, visit }
    this.#visitors.add(visitor)
    const seen = Array.from(this.#seen.values())
    for (const { module, host } of seen) this.#offer(visitor, module, host)
    this.#scan(visitor)
    return () => void this.#visitors.delete(visitor)
  }

  /** Resolves when the modules that had been loaded before are all visited. */
  async settled(): Promise<void> {
    while (this.#pending.size > 0) await Promise.allSettled(this.#pending)
  }

  close(): void {
    this.#unhook?.()
    this.#unhook = undefined
    this.#seen.clear()
  }

  #hook(): void {
    const module = builtin('node:module')
    if (this.#unhook !== undefined || module?.registerHooks === undefined) return
    this.#modules = loadedModules()
    const slot = processSlot()
    slot.loaded = (url, exports) => this.#loaded(url, exports)
    const hooks = module.registerHooks({
      load: (url, hookContext, nextLoad) => {
        const result = nextLoad(url, hookContext)
        try {
          if (result.format === 'module') this.#modules.push(url)
          if (!this.#wanted(url)) return result
          const { source } = result
          if (source === undefined || source === null) return result
          const text = typeof source === 'string' ? source : new TextDecoder().decode(source)
          return { ...result, source: text + reportFrom(url, result.format) }
        } catch (error) {
          logger('agl:core').once('A module could not be looked at while it was loaded.', error)
          return result
        }
      },
    })
    this.#unhook = () => {
      hooks.deregister()
      delete slot.loaded
    }
  }

  #wanted(url: string): boolean {
    const found = this.#locate(url)
    if (found === undefined) return false
    for (const visitor of this.#visitors) if (matches(visitor, found.info, found.file)) return true
    return false
  }

  #loaded(url: string, exports: unknown): void {
    const found = this.#locate(url)
    if (found === undefined || !isModule(exports)) return
    const format = builtin('node:util')?.types.isModuleNamespaceObject(exports) === true ? 'esm' : 'cjs'
    const { name, version, path } = found.info
    const host: HostModule = { package: name, version, format, path, patched: false, file: found.file }
    const key = `${format} ${url}`
    if (this.#seen.has(key)) return
    this.#seen.set(key, { module: exports, host })
    for (const visitor of this.#visitors) this.#offer(visitor, exports, host)
  }

  #offer(visitor: Visitor, module: Record<string, unknown>, host: HostModule): void {
    const info = this.#packages.get(host.path)
    if (info !== undefined && matches(visitor, info, host.file))
      visitor.visit(module, { ...host, patched: false })
  }

  #scan(visitor: Visitor): void {
    const module = builtin('node:module')
    const url = builtin('node:url')
    if (module === undefined || url === undefined) return
    const require = module.createRequire(url.pathToFileURL(`${process.cwd()}/`))
    const cache: Record<string, { exports: unknown; loaded: boolean } | undefined> = require.cache
    for (const path of Object.keys(cache)) {
      const address = url.pathToFileURL(path).href
      const entry = cache[path]
      const found = entry?.loaded === true ? this.#locate(address) : undefined
      if (found !== undefined && matches(visitor, found.info, found.file))
        this.#loaded(address, entry?.exports)
    }
    // A copy, as a `require` that is refused loads its module once more.
    for (const address of this.#modules.slice()) {
      const found = this.#seen.has(`esm ${address}`) ? undefined : this.#locate(address)
      if (found === undefined || !matches(visitor, found.info, found.file)) continue
      const namespace = namespaceOf(address, require)
      if (namespace !== undefined) {
        this.#loaded(address, namespace)
        continue
      }
      const job = import(/* @vite-ignore */ /* webpackIgnore: true */ address)
        .then((namespace: unknown) => this.#loaded(address, namespace))
        .catch(() => undefined)
        .finally(() => this.#pending.delete(job))
      this.#pending.add(job)
    }
  }

  #locate(address: string): { info: PackageInfo; file: string } | undefined {
    const url = builtin('node:url')
    if (url === undefined || !address.startsWith('file:') || !SCRIPT.test(address)) return undefined
    const path = url.fileURLToPath(address).replaceAll('\\', '/')
    const info = this.#packageOf(path.slice(0, path.lastIndexOf('/')))
    return info && { info, file: path.slice(info.path.length + 1).replace(SCRIPT, '') }
  }

  #packageOf(folder: string): PackageInfo | undefined {
    if (this.#packages.has(folder)) return this.#packages.get(folder)
    const manifest = readManifest(folder)
    const parent = folder.slice(0, folder.lastIndexOf('/'))
    const info = manifest ?? (parent === '' || parent === folder ? undefined : this.#packageOf(parent))
    this.#packages.set(folder, info)
    return info
  }
}

/** What an ES module that is loaded exports, at once: undefined where it has to be imported, as under an address with a query. */
function namespaceOf(address: string, require: (path: string) => unknown): unknown {
  const url = builtin('node:url')
  if (url === undefined || /[?#]/.test(address)) return undefined
  try {
    return require(url.fileURLToPath(address))
  } catch {
    return undefined
  }
}

function matches(visitor: Visitor, info: PackageInfo, file: string): boolean {
  return visitor.name === info.name && (visitor.file?.test(file) ?? info.main.has(file))
}

function isModule(value: unknown): value is Record<string, unknown> {
  return (typeof value === 'object' || typeof value === 'function') && value !== null
}

/** One more line for a host's file, by which it hands over its exports when it has run, before anyone uses them. */
function reportFrom(url: string, format: string | null | undefined): string {
  const name = JSON.stringify(url)
  const report = 'globalThis[Symbol.for("agl.0")]?.loaded?.'
  if (format === 'module') return `\n;import * as __agl_self from ${name};${report}(${name},__agl_self)`
  // What is required without a declared type has no format yet, and is nearly always CommonJS.
  return (format ?? 'commonjs') === 'commonjs'
    ? `\n;typeof module=="object"&&${report}(${name},module.exports)`
    : ''
}

/** Addresses of the ES modules that the engine has compiled so far, read through the inspector. */
function loadedModules(): string[] {
  const inspector = builtin('node:inspector')
  const modules: string[] = []
  if (inspector === undefined) return modules
  try {
    const session = new inspector.Session()
    session.connect()
    session.on('Debugger.scriptParsed', ({ params }) => {
      if (params.isModule === true && params.url.startsWith('file:')) modules.push(params.url)
    })
    session.post('Debugger.enable')
    session.post('Debugger.disable')
    session.disconnect()
  } catch (error) {
    logger('agl:core').once(
      'Modules loaded before start() could not be listed; load them later, or use instrument(client).',
      error,
    )
  }
  return modules
}

function readManifest(folder: string): PackageInfo | undefined {
  const fs = builtin('node:fs')
  try {
    const manifest: unknown = JSON.parse(fs?.readFileSync(`${folder}/package.json`, 'utf8') ?? 'null')
    if (
      typeof manifest !== 'object' ||
      manifest === null ||
      !('name' in manifest) ||
      !('version' in manifest)
    )
      return undefined
    const main = new Set<string>(['index'])
    if ('main' in manifest) collect(manifest.main, main)
    if ('module' in manifest) collect(manifest.module, main)
    if ('exports' in manifest) {
      const exports = manifest.exports
      collect(isModule(exports) && '.' in exports ? exports['.'] : exports, main)
    }
    return { name: String(manifest.name), version: String(manifest.version), path: folder, main }
  } catch {
    return undefined
  }
}

function collect(target: unknown, into: Set<string>): void {
  if (typeof target === 'string') {
    const file = target.replace(/^\.\//, '').replace(SCRIPT, '')
    into.add(file).add(`${file}/index`)
  } else if (isModule(target))
    for (const key of Object.keys(target)) if (!key.startsWith('./')) collect(target[key], into)
}

/** Versions of `name` that the program's entry file or working folder would resolve; undefined where that cannot be known. */
export function installed(name: string): string[] | undefined {
  const module = builtin('node:module')
  const url = builtin('node:url')
  const fs = builtin('node:fs')
  if (module?.findPackageJSON === undefined || url === undefined || fs === undefined) return undefined
  const versions = new Set<string>()
  for (const base of [process.argv[1], `${process.cwd()}/index.js`]) {
    if (base === undefined) continue
    try {
      const path = module.findPackageJSON(name, url.pathToFileURL(base))
      const info = path === undefined ? undefined : readManifest(path.replace(/[\\/]package\.json$/, ''))
      if (info !== undefined) versions.add(info.version)
    } catch {
      continue
    }
  }
  return [...versions]
}

/** Whether `version` lies in `range`: comparators such as `>=5 <8`, alternatives with `||`. Pre-releases count as their release. */
export function satisfies(version: string, range: string): boolean {
  return range.split('||').some((part) =>
    part
      .trim()
      .split(/\s+/)
      .every((comparator) => compare(version, comparator)),
  )
}

function compare(version: string, comparator: string): boolean {
  const [, operator = '', bound = ''] = /^(>=|<=|>|<|=|\^)?\s*(.*)$/.exec(comparator) ?? []
  if (bound === '' || bound === '*') return true
  const numbers = (text: string): number[] => text.split(/[-+]/)[0]?.split('.').map(Number) ?? []
  const [a, b] = [numbers(version), numbers(bound)]
  const sign = [0, 1, 2].map((i) => (a[i] ?? 0) - (b[i] ?? 0)).find((difference) => difference !== 0) ?? 0
  if (operator === '>=') return sign >= 0
  if (operator === '<=') return sign <= 0
  if (operator === '>') return sign > 0
  if (operator === '<') return sign < 0
  if (operator === '^') return sign >= 0 && a[0] === b[0] && (a[0] !== 0 || a[1] === b[1])
  return b.every((part, i) => part === a[i])
}
