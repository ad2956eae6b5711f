import { AsyncLocalStorage } from 'node:async_hooks'
import type { Activity, PluginApi } from '@agl/core'
import { fields, isFields, isMethod, list, text, type Fields, type Method } from './guards.ts'
import { isOurs, type LangChainHandler } from './handler.ts'
import {
  asModel,
  asStream,
  asTool,
  currentStream,
  modelRun,
  runOf,
  StreamScope,
  within,
  type Run,
} from './runs.ts'

/** The files of `@langchain/core` that hold what is hooked. */
export const FILES: RegExp =
  /^dist\/(callbacks\/manager|singletons\/async_local_storage\/index|language_models\/(chat_models|llms)|runnables\/(base|router)|retrievers\/index|tools\/index|utils\/(async_caller|stream))$/

/**
 * Hooks one file of one copy of `@langchain/core`. `handler` is added to every run where it is given; the rest sees to
 * it that what happens inside a run is recorded below it, and that runs of streams end with them.
 */
export function hook(api: PluginApi, module: Fields, handler: LangChainHandler | undefined): void {
  const prototype = (name: string): Fields | undefined => {
    const value = module[name]
    return isMethod(value) && isFields(value.prototype) ? value.prototype : undefined
  }
  const { CallbackManager, AsyncLocalStorageProviderSingleton: storage, IterableReadableStream } = module
  if (isMethod(CallbackManager) && handler !== undefined) addHandler(api, CallbackManager, handler)
  if (isFields(storage)) enterConfig(api, storage)
  if (isMethod(IterableReadableStream)) watchStreams(api, IterableReadableStream)
  const runnable = prototype('Runnable')
  if (runnable !== undefined) enterRunnable(api, runnable)
  // Some of LangChain's runnables have a way of their own to stream.
  for (const name of Object.keys(module)) {
    const streaming = prototype(name)
    if (streaming !== undefined && isMethod(Object.getOwnPropertyDescriptor(streaming, 'stream')?.value))
      hookStream(api, streaming)
  }
  const caller = prototype('AsyncCaller')
  if (caller !== undefined)
    for (const [at, name] of ['call', 'callWithOptions'].entries()) keepPlace(api, caller, name, at)
  for (const name of ['BaseChatModel', 'BaseLLM']) {
    const model = prototype(name)
    if (model !== undefined) hookModel(api, model)
  }
  const retriever = prototype('BaseRetriever')
  if (retriever !== undefined) enterLazily(api, retriever, 'invoke', ['_getRelevantDocuments'], 1)
  const tool = prototype('StructuredTool')
  if (tool !== undefined) enterLazily(api, tool, 'call', ['_call'], 1, asTool)
}

/** What LangChain gathers before each run gets our handler as well; nothing that was there goes. */
function addHandler(api: PluginApi, manager: object, handler: LangChainHandler): void {
  api.patch(
    manager,
    '_configureSync',
    (original) =>
      function (this: unknown, ...args: unknown[]): unknown {
        const given = args[0] ?? args[1]
        if (given === undefined && api.recording()) args[0] = [handler]
        const configured = Reflect.apply(original, this, args)
        const { handlers, addHandler: add } = fields(configured)
        if (!isMethod(add) || list(handlers).some(isOurs) || !api.recording()) return configured
        Reflect.apply(add, configured, [handler, true])
        return configured
      },
  )
}

/** By this, LangChain and LangGraph run the program's own functions: lambdas, tools, nodes. */
function enterConfig(api: PluginApi, storage: object): void {
  api.patch(
    storage,
    'runWithConfig',
    (original) =>
      function (this: unknown, ...args: unknown[]): unknown {
        const manager = fields(fields(args[0])['callbacks'])
        return within(runOf(manager['_parentRunId']), () => Reflect.apply(original, this, args))
      },
  )
}

function enterRunnable(api: PluginApi, runnable: object): void {
  // Runnables that are neither lambda nor model: `func` gets the run as its third argument.
  api.patch(
    runnable,
    '_callWithConfig',
    (original) =>
      function (this: unknown, ...args: unknown[]): unknown {
        const [func, ...rest] = args
        if (!isMethod(func) || isLibrary(this)) return Reflect.apply(original, this, args)
        const entered = function (this: unknown, ...given: unknown[]): unknown {
          return within(runOf(fields(given[2])['runId']), () => Reflect.apply(func, this, given))
        }
        return Reflect.apply(original, this, [entered, ...rest])
      },
  )
}

/** Knows the runs that one stream begins, to end them with it. */
function hookStream(api: PluginApi, runnable: object): void {
  api.patch(
    runnable,
    'stream',
    (original) =>
      function (this: unknown, ...args: unknown[]): unknown {
        if (!api.recording()) return Reflect.apply(original, this, args)
        const scope = new StreamScope(text(fields(this)['name']))
        const stream = asStream(scope, () => Reflect.apply(original, this, args))
        if (!(stream instanceof Promise)) return stream
        return stream.catch((error: unknown) => {
          broke(scope)
          throw error
        })
      },
  )
}

/**
 * Where only so many calls are made at once, LangChain makes one that has waited in the context of the call that made
 * room for it, which may be of another trace. The `at`-th argument, the function to call, is taken back to its own.
 */
function keepPlace(api: PluginApi, caller: Fields, key: string, at: number): void {
  if (!isMethod(caller[key])) return
  api.patch(
    caller,
    key,
    (original) =>
      function (this: unknown, ...args: unknown[]): unknown {
        const fn = args[at]
        if (!isMethod(fn) || fields(this)['maxConcurrency'] === Infinity)
          return Reflect.apply(original, this, args)
        const here = api.current()
        const back: (call: () => unknown) => unknown =
          here === undefined ? AsyncLocalStorage.snapshot() : (call) => here.run(call)
        args[at] = (...given: unknown[]): unknown => {
          const call = (): unknown => Reflect.apply(fn, undefined, given)
          return api.current() === here ? call() : back(call)
        }
        return Reflect.apply(original, this, args)
      },
  )
}

/** Prompts, parsers and the like run nothing of the program's, or by `runWithConfig`. */
function isLibrary(runnable: unknown): boolean {
  const first = list(fields(runnable)['lc_namespace'])[0]
  return first === 'langchain_core' || first === 'langgraph'
}

const cancel = (activity: Activity): void => activity.end({ finish: 'cancelled' })
const abort = (activity: Activity): void => activity.end({ finish: 'aborted' })

/** A stream has failed. What is in it mostly ends by itself a moment later, but not where a signal went off in between. */
function broke(scope: StreamScope): void {
  const timer: unknown = setTimeout(() => scope.end(abort), 50)
  if (isFields(timer) && isMethod(timer['unref'])) timer['unref']()
}

const dropped = new FinalizationRegistry<StreamScope>((stream) => stream.end((run) => run.abandon()))

/** When the reader of a stream goes away, LangChain ends none of its runs. */
function watchStreams(api: PluginApi, streams: object): void {
  api.patch(
    streams,
    'fromAsyncGenerator',
    (original) =>
      function (this: unknown, ...args: unknown[]): unknown {
        const scope = currentStream()
        const [generator, ...rest] = args
        const { next, return: leave, setup } = fields(generator)
        // Other generators are of something inside of the stream, such as its events, and end by themselves.
        if (scope === undefined || setup === undefined || !isMethod(next) || !isMethod(leave))
          return Reflect.apply(original, this, args)
        const watched = {
          next: (...given: unknown[]): unknown => {
            const result = Reflect.apply(next, generator, given)
            if (result instanceof Promise) result.catch(() => broke(scope))
            return result
          },
          return: async (...given: unknown[]): Promise<unknown> => {
            try {
              return await Reflect.apply(leave, generator, given)
            } finally {
              scope.end(cancel)
            }
          },
        }
        const stream = Reflect.apply(original, this, [watched, ...rest])
        if (isFields(stream)) dropped.register(stream, scope)
        return stream
      },
  )
}

function hookModel(api: PluginApi, base: Fields): void {
  const names = ['_generate', '_streamResponseChunks', '_streamChatModelEvents']
  enterLazily(api, base, 'generate', names, 2, asModel)
  enterLazily(api, base, '_streamIterator', names, 2)
}

/**
 * Whenever `base[key]` is called, sees to it that the methods `names` of that object's class run inside their run.
 * Methods of `base` itself stay as they are: LangChain compares them to see what a class implements.
 */
function enterLazily(
  api: PluginApi,
  base: object,
  key: string,
  names: readonly string[],
  managerAt: number,
  around: <T>(fn: () => T, name: string | undefined) => T = (fn) => fn(),
): void {
  const seen = new WeakSet<object>([base])
  const prepare = (self: unknown): void => {
    for (
      let holder = prototypeOf(self);
      holder !== undefined && !seen.has(holder);
      holder = prototypeOf(holder)
    ) {
      seen.add(holder)
      for (const name of names) if (Object.hasOwn(holder, name)) enterMethod(api, holder, name, managerAt)
    }
  }
  api.patch(
    base,
    key,
    (original) =>
      function (this: unknown, ...args: unknown[]): unknown {
        prepare(this)
        return around(() => Reflect.apply(original, this, args), text(fields(this)['name']))
      },
  )
}

function prototypeOf(value: unknown): object | undefined {
  if (!isFields(value)) return undefined
  const prototype: unknown = Object.getPrototypeOf(value)
  return isFields(prototype) ? prototype : undefined
}

function enterMethod(api: PluginApi, holder: object, name: string, managerAt: number): void {
  if (!isMethod(Reflect.get(holder, name))) return
  api.patch(
    holder,
    name,
    (original) =>
      function (this: unknown, ...args: unknown[]): unknown {
        const manager = fields(args[managerAt])
        const run = runOf(manager['runId']) ?? modelRun()
        if (run === undefined) return Reflect.apply(original, this, args)
        const result = within(run, () => Reflect.apply(original, this, args))
        if (run.kind !== 'llm') return result
        const alone = list(manager['handlers']).every(isOurs)
        if (isGenerator(result)) return enterGenerator(result, run, alone)
        run.isOurs = alone
        return result
      },
  )
}

/** Looks at what a promise comes to before anyone else does, who gets the promise as it is. */
function observe(promise: unknown, look: (value: unknown) => void): void {
  if (promise instanceof Promise) promise.then(look).catch(() => undefined)
}

function isGenerator(value: unknown): value is Fields & { next: Method } {
  return isFields(value) && isMethod(value['next']) && Symbol.asyncIterator in value
}

/** A generator's body runs in the context of whoever asks for more, so each of these calls has to enter. */
function enterGenerator(generator: Fields & { next: Method }, run: Run, alone: boolean): unknown {
  const { next } = generator
  let first = true
  const look = (result: unknown): void => {
    const chunk = fields(fields(result)['value'])
    if (first && saysSomething(chunk)) {
      first = false
      run.activity?.update({ timeToFirstToken: performance.now() - run.started })
    }
    if (alone) keepId(chunk['message'], run)
  }
  generator.next = (...args) => {
    const result = within(run, () => Reflect.apply(next, generator, args))
    if (first || alone) observe(result, look)
    return result
  }
  for (const name of ['return', 'throw']) {
    const original = generator[name]
    if (isMethod(original))
      generator[name] = (...args: unknown[]): unknown =>
        within(run, () => Reflect.apply(original, generator, args))
  }
  return generator
}

function saysSomething(chunk: Fields): boolean {
  const { content, tool_call_chunks: calls } = fields(chunk['message'])
  return (text(chunk['text']) ?? text(content)) !== undefined || list(content).length + list(calls).length > 0
}

/**
 * Pieces of a stream reach the program as soon as LangChain has named them after their run. Where that run is none to
 * the program, the naming is left out, and nothing stays behind.
 */
function keepId(message: unknown, run: Run): void {
  if (!isFields(message) || (message['id'] ?? undefined) !== undefined) return
  const { _updateId: update } = message
  if (!isMethod(update)) return
  Object.defineProperty(message, '_updateId', {
    configurable: true,
    value: (id: unknown) => {
      delete message['_updateId']
      if (id !== `run-${run.id}`) Reflect.apply(update, message, [id])
    },
  })
}
