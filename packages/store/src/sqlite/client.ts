import { Worker } from 'node:worker_threads'
import { AglError } from '@agl/core'
import type { Arguments, Engine, Operation, Result, Transport } from '../engine.ts'
import { SqliteEngine } from './engine.ts'
import type { Failure, Reply, Request, WorkerSettings } from './messages.ts'

interface Pending {
  resolve: (value: unknown) => void
  reject: (error: unknown) => void
}

/** The near side of the worker: starts it, starts another when it died, and keeps the process alive only while it owes an answer. */
export class SqliteClient implements Transport {
  readonly ordered = true
  readonly poll = 100
  readonly #path: string
  readonly #pending = new Map<number, Pending>()
  #worker: Worker | undefined
  #lastId = 0
  #closing = false

  constructor(path: string) {
    this.#path = path
  }

  /** @throws AglError store_unavailable, store_schema */
  open(): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#pending.set(0, { resolve, reject })
      this.#worker = this.#start()
    })
  }

  call<Op extends Operation>(operation: Op, ...args: Arguments<Op>): Promise<Result<Op>> {
    return new Promise((resolve, reject) => {
      // Whoever still reads step by step would start another thread, which nobody ends.
      if (this.#closing) throw isClosed(this.#path)
      const worker = (this.#worker ??= this.#start())
      const request: Request<Op> = { id: ++this.#lastId, operation, args }
      try {
        worker.postMessage(request)
      } catch (cause) {
        const message = `The store cannot take what it was given (${String(cause)}); give it as plain data.`
        throw new AglError('value_unserializable', message, { cause })
      }
      worker.ref()
      // The worker runs this very code, so what comes back under this id is of this operation's type.
      this.#pending.set(request.id, { resolve: (value) => resolve(value as Result<Op>), reject })
    })
  }

  sync<T>(work: (engine: Engine) => T): T {
    const engine = new SqliteEngine(this.#path)
    try {
      return work(engine)
    } finally {
      engine.close()
    }
  }

  async close(): Promise<void> {
    const worker = this.#worker
    const closed = worker === undefined ? undefined : this.call('close')
    this.#closing = true
    if (worker === undefined) return
    const exit = new Promise((resolve) => worker.once('exit', resolve))
    await closed
    await exit
  }

  #start(): Worker {
    const isSource = import.meta.url.endsWith('.ts')
    const settings: WorkerSettings = { path: this.#path }
    const worker = new Worker(new URL(isSource ? './worker.ts' : './worker.js', import.meta.url), {
      name: 'agl-store',
      workerData: settings,
      // Of the program's own options only its wish for quiet: modules to load first are meant for its threads, not ours.
      execArgv: [
        ...process.execArgv.filter((option) => /^--(no-warnings|disable-warning=)/.test(option)),
        ...(isSource ? ['--conditions=@agl/source'] : []),
        // Node 22 warns that `node:sqlite` is experimental; that is no concern of who uses a store.
        '--disable-warning=ExperimentalWarning',
      ],
    })
    let reason: unknown
    worker.on('message', (reply: Reply) => {
      if (reply.id === 0 && 'failure' in reply) reason = toError(reply)
      else this.#settle(reply)
    })
    worker.on('error', (error) => (reason = error))
    worker.on('messageerror', () => void worker.terminate())
    worker.on('exit', () => {
      if (this.#worker === worker) this.#worker = undefined
      const error = AglError.is(reason) ? reason : lost(this.#path, reason)
      for (const { reject } of this.#pending.values()) reject(error)
      this.#pending.clear()
    })
    return worker
  }

  #settle(reply: Reply): void {
    const pending = this.#pending.get(reply.id)
    this.#pending.delete(reply.id)
    if (this.#pending.size === 0 && !this.#closing) this.#worker?.unref()
    if ('failure' in reply) pending?.reject(toError(reply))
    else pending?.resolve(reply.value)
  }
}

function toError({ failure: { code, message, cause } }: Reply & { failure: Failure }): AglError {
  return new AglError(code, message, { cause })
}

function isClosed(path: string): AglError {
  return new AglError(
    'store_unavailable',
    `The store file ${path} is closed; open it again with openStore().`,
  )
}

function lost(path: string, reason: unknown): AglError {
  const why = reason instanceof Error ? ` (${reason.message})` : ''
  const isMissing =
    reason instanceof Error && 'code' in reason && String(reason.code).endsWith('MODULE_NOT_FOUND')
  const remedy = isMissing
    ? 'where an app is bundled, keep @agl/store out of the bundle'
    : 'what was not acknowledged can be sent again, to a new thread'
  const message = `The thread that writes the store file ${path} ended${why}; ${remedy}.`
  return new AglError('store_unavailable', message, { cause: reason })
}
