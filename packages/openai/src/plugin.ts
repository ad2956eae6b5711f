import { definePlugin, type LlmStart, type Plugin, type PluginApi } from '@agl/core'
import { EmbeddingCall, follow, LlmCall, type Call, type Operation } from './call.ts'
import { chatStart } from './chat.ts'
import { completionStart } from './completions.ts'
import { embeddingStart } from './embeddings.ts'
import { fields, isFields, text, type Fields } from './guards.ts'
import { responseStart } from './responses.ts'

export interface OpenAIOptions {
  /** Clients, or `OpenAI` classes, that no module of the program leads to, as in a bundled app. */
  clients?: readonly object[]
}

const START: Record<
  Exclude<Operation, 'embedding'>,
  (body: Fields, baseURL: string | undefined) => LlmStart
> = {
  chat: chatStart,
  completion: completionStart,
  response: responseStart,
}

/** From a client or the `OpenAI` class: the path to each object that has a `create` to watch. */
const RESOURCES: readonly [Operation, lower: readonly string[], upper: readonly string[]][] = [
  ['chat', ['chat', 'completions'], ['Chat', 'Completions']],
  ['completion', ['completions'], ['Completions']],
  ['response', ['responses'], ['Responses']],
  ['embedding', ['embeddings'], ['Embeddings']],
]

let running: PluginApi | undefined
/** By class, of which all clients share their methods, so that programs which make many clients keep one alive. */
const handedOver = new Map<unknown, object>()

/**
 * Records what goes through the `openai` client: chat completions, completions, responses and embeddings, streamed
 * or not, of every copy of the client in the process.
 */
export function openai(options: OpenAIOptions = {}): Plugin {
  return definePlugin({
    name: 'openai',
    hosts: { openai: '>=5 <8' },
    setup(api) {
      running = api
      api.eachHost('openai', (module) => patchClass(api, module['OpenAI'] ?? module['default']), {
        file: /^(index|client)$/,
      })
      for (const client of [...(options.clients ?? []), ...handedOver.values()]) adopt(api, client)
      return () => {
        if (running === api) running = undefined
      }
    },
  })
}

/**
 * Watches one client (or one `OpenAI` class) that the plugin cannot find by itself, as in a bundled app. Returns it.
 * Works before and after `start`; records while the plugin `openai()` is active.
 */
export function instrument<T extends object>(client: T): T {
  const key = typeof client === 'function' ? client : client.constructor
  if (handedOver.has(key)) return client
  handedOver.set(key, client)
  if (running !== undefined) adopt(running, client)
  return client
}

function adopt(api: PluginApi, client: object): void {
  if (typeof client === 'function') patchClass(api, client)
  else {
    for (const [operation, path] of RESOURCES) {
      let target: unknown = client
      for (const name of path) target = fields(target)[name]
      if (isFields(target)) patchCreate(api, Object.getPrototypeOf(target) ?? target, operation)
    }
  }
  api.adopt({ package: 'openai', version: versionOf(client), format: 'instance', path: '', patched: true })
}

/** The client tells its version in its user agent only. */
function versionOf(client: object): string {
  const teller: unknown = typeof client === 'function' ? client.prototype : client
  const agent = fields(teller)['getUserAgent']
  const said: unknown = typeof agent === 'function' ? Reflect.apply(agent, teller, []) : undefined
  return /\d+\.\d+\.\d+\S*/.exec(text(said) ?? '')?.[0] ?? '0.0.0'
}

function patchClass(api: PluginApi, OpenAI: unknown): void {
  if (typeof OpenAI !== 'function') return
  for (const [operation, , path] of RESOURCES) {
    let target: unknown = OpenAI
    for (const name of path)
      target = isFields(target) || typeof target === 'function' ? Reflect.get(target, name) : undefined
    const prototype: unknown = typeof target === 'function' ? target.prototype : undefined
    if (isFields(prototype)) patchCreate(api, prototype, operation)
  }
}

function patchCreate(api: PluginApi, prototype: object, operation: Operation): void {
  api.patch(
    prototype,
    'create',
    (original) =>
      function (this: unknown, ...args: unknown[]): unknown {
        if (!api.recording()) return Reflect.apply(original, this, args)
        return traced(api, operation, original, this, args)
      },
  )
}

function traced(
  api: PluginApi,
  operation: Operation,
  original: (...args: unknown[]) => unknown,
  self: unknown,
  args: unknown[],
): unknown {
  const opened = open(api, operation, self, args)
  if (opened === undefined) return Reflect.apply(original, self, args)
  const { call, run, sent } = opened
  let promise: unknown
  try {
    promise = run(() => Reflect.apply(original, self, sent))
  } catch (error) {
    call.failed(error)
    throw error
  }
  try {
    if (!follow(promise, call)) {
      api.log.once(
        'This version of openai returns promises of another kind; its calls are recorded without their answers.',
      )
      call.raw()
    }
  } catch (error) {
    api.log.once('A call could not be followed; it is recorded without its answer.', error)
  }
  return promise
}

interface Opened {
  call: Call
  run: <T>(fn: () => T) => T
  /** The arguments to send: the caller's own, unless a plugin adds to the body. */
  sent: unknown[]
}

function open(api: PluginApi, operation: Operation, self: unknown, args: unknown[]): Opened | undefined {
  try {
    const body = fields(args[0])
    const baseURL = baseURLOf(self)
    if (operation === 'embedding') {
      const activity = api.activity('embedding', embeddingStart(body, baseURL))
      return { call: new EmbeddingCall(activity), run: (fn) => activity.run(fn), sent: args }
    }
    const activity = api.activity('llm', START[operation](body, baseURL))
    const extra = activity.start.extraBody
    const sent = extra === undefined ? args : [{ ...body, ...extra }, ...args.slice(1)]
    return { call: new LlmCall(activity, operation), run: (fn) => activity.run(fn), sent }
  } catch (error) {
    api.log.once('A call could not be looked at and goes on untraced.', error)
    return undefined
  }
}

/** Where the client sends to, without what may hold a secret: user, password, query. */
function baseURLOf(resource: unknown): string | undefined {
  const base = text(fields(fields(resource)['_client'])['baseURL'])
  if (base === undefined || !/[@?#]/.test(base)) return base
  try {
    const { origin, pathname } = new URL(base)
    return origin + pathname
  } catch {
    return undefined
  }
}
