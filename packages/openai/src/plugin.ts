import { AglError, definePlugin, type LlmStart, type Plugin, type PluginApi } from '@agl/core'
import { Call, follow, loadTokenReader, type Operation } from './call.ts'
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
/** By what is patched, which all clients of a class share, so that programs which make many keep one alive. */
const handedOver = new Map<object, object>()

/**
 * Records what goes through the `openai` client: chat completions, completions, responses and embeddings, streamed
 * or not, of every copy of the client in the process.
 */
export function openai(options: OpenAIOptions = {}): Plugin {
  return definePlugin({
    name: 'openai',
    hosts: { openai: '>=5 <8' },
    async setup(api) {
      await loadTokenReader()
      running = api
      const patchAll = (module: Fields): void => {
        for (const [operation, target] of targetsOf(module['OpenAI'] ?? module['default']))
          patchCreate(api, target, operation)
      }
      api.eachHost('openai', patchAll, { file: /^(index|client)$/ })
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
  const [, first] = targetsOf(client)[0] ?? refuse()
  if (handedOver.has(first)) return client
  handedOver.set(first, client)
  if (running !== undefined) adopt(running, client)
  return client
}

function refuse(): never {
  throw new AglError(
    'value_invalid',
    'What was handed over to be recorded is no openai client; pass the client or its class.',
  )
}

function adopt(api: PluginApi, client: object): void {
  const targets = targetsOf(client)
  if (targets.length === 0) refuse()
  for (const [operation, target] of targets) patchCreate(api, target, operation)
  api.adopt({ package: 'openai', version: versionOf(client), format: 'instance', path: '', patched: true })
}

/** The client tells its version in its user agent only. */
function versionOf(client: object): string {
  const teller: unknown = typeof client === 'function' ? client.prototype : client
  const agent = fields(teller)['getUserAgent']
  const said: unknown = typeof agent === 'function' ? Reflect.apply(agent, teller, []) : undefined
  return /\d+\.\d+\.\d+\S*/.exec(text(said) ?? '')?.[0] ?? '0.0.0'
}

/** The objects that hold the methods `create` of a client, or of a class of clients. */
function targetsOf(clientOrClass: unknown): [Operation, target: object][] {
  const isClass = typeof clientOrClass === 'function'
  const targets: [Operation, object][] = []
  for (const [operation, lower, upper] of RESOURCES) {
    let value: unknown = clientOrClass
    for (const name of isClass ? upper : lower)
      value = isFields(value) || typeof value === 'function' ? Reflect.get(value, name) : undefined
    if (isClass) value = typeof value === 'function' ? value.prototype : undefined
    else if (isFields(value)) {
      // Other tracers put a `create` of their own on the client's object; it leads to the prototype's.
      const prototype: unknown = Object.getPrototypeOf(value)
      if (typeof fields(prototype)['create'] === 'function') value = prototype
    }
    if (isFields(value) && typeof value['create'] === 'function') targets.push([operation, value])
  }
  return targets
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
      return { call: new Call(activity, operation, api.log, body), run: (fn) => activity.run(fn), sent: args }
    }
    const activity = api.activity('llm', START[operation](body, baseURL))
    const extra = isExtensible(args[0]) ? activity.start.extraBody : undefined
    const request = extra === undefined ? body : { ...body, ...extra }
    const sent = extra === undefined ? args : [request, ...args.slice(1)]
    return { call: new Call(activity, operation, api.log, request), run: (fn) => activity.run(fn), sent }
  } catch (error) {
    api.log.once('A call could not be looked at and goes on untraced.', error)
    return undefined
  }
}

/** A copy with more fields says the same, unless the request is none, or knows itself how it is written. */
function isExtensible(body: unknown): boolean {
  return isFields(body) && typeof body['toJSON'] !== 'function'
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
