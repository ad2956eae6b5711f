import { parentPort, workerData } from 'node:worker_threads'
import { AglError } from '@agl/core'
import type { Engine, Operation } from '../engine.ts'
import { SqliteEngine } from './engine.ts'
import type { Failure, Reply, Request, WorkerSettings } from './messages.ts'

/*
 * The thread that owns the store file. Requests are done one by one, in order, each in a transaction of its own, so
 * that neither writing nor the disk ever holds up the agent's thread.
 */

const settings: WorkerSettings = workerData
const reply = (message: Reply): void => {
  const bytes = 'value' in message && message.value instanceof Uint8Array ? message.value.buffer : undefined
  // Handed over, not copied.
  parentPort?.postMessage(message, bytes instanceof ArrayBuffer ? [bytes] : [])
}

function failure(error: unknown): Failure {
  const code = AglError.is(error) ? error.code : 'store_unavailable'
  const message = error instanceof Error ? error.message : String(error)
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : undefined
  return { code, message, cause }
}

function serve(engine: Engine): void {
  const perform = <Op extends Operation>({ id, operation, args }: Request<Op>): Reply => {
    try {
      return { id, value: engine[operation](...args) }
    } catch (error) {
      return { id, failure: failure(error) }
    }
  }
  parentPort?.on('message', (request: Request) => {
    reply(perform(request))
    if (request.operation === 'close') parentPort?.close()
  })
  // Ends this thread, which its owner reports: without an answer the request would wait for ever.
  parentPort?.on('messageerror', (error) => {
    throw error
  })
  reply({ id: 0, value: undefined })
}

try {
  serve(new SqliteEngine(settings.path))
} catch (error) {
  reply({ id: 0, failure: failure(error) })
}
