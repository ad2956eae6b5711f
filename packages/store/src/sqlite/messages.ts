import type { AglErrorCode } from '@agl/core'
import type { Arguments, Operation, Result } from '../engine.ts'

/** What the worker is started with. */
export interface WorkerSettings {
  path: string
}

export interface Request<Op extends Operation = Operation> {
  id: number
  operation: Op
  args: Arguments<Op>
}

export interface Failure {
  code: AglErrorCode
  message: string
  /** Text, since not every cause survives the way between threads. */
  cause: string | undefined
}

/** The answer to a request; `id` 0 answers the start itself. */
export type Reply = { id: number; value: Result<Operation> } | { id: number; failure: Failure }
