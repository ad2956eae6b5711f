import { AsyncLocalStorage } from 'node:async_hooks'
import type { Activity, ActivityKind } from '@agl/core'

/** A run of LangChain's that has begun and not ended. */
export interface Run {
  readonly id: string
  /** Undefined for runs that are LangGraph's own plumbing: what happens in them belongs to the run around them. */
  readonly activity: Activity | undefined
  readonly kind: ActivityKind | undefined
  readonly parent: Run | undefined
  readonly isGraph: boolean
  tags: readonly string[]
  /** `performance.now()` at its start. */
  readonly started: number
  readonly stream: StreamScope | undefined
  children: Set<Run> | undefined
}

/** The open runs that one call of `stream()` has begun. */
export class StreamScope {
  readonly #open = new Set<Run>()

  began(run: Run): void {
    this.#open.add(run)
  }

  ended(run: Run): void {
    this.#open.delete(run)
  }

  /** Ends them, innermost first: nobody reads the stream any more. */
  end(how: (activity: Activity) => void): void {
    for (const run of [...this.#open].reverse()) endBelow(run, how)
  }
}

interface Frame {
  run: Run | undefined
  stream: StreamScope | undefined
  /** The runs that this call of a model has begun, while it is one. */
  begun: Run[] | undefined
  /** What a tool is called, whose run is about to begin. */
  tool: string | undefined
}

const frames = new AsyncLocalStorage<Frame>()
const open = new Map<string, Run>()
let nextSweep = 1024

export function runOf(id: unknown): Run | undefined {
  return typeof id === 'string' ? open.get(id) : undefined
}

/** The nearest run, from this one upwards, that is recorded. */
function recorded(run: Run | undefined): Run | undefined {
  for (let up = run; up !== undefined; up = up.parent) if (up.activity !== undefined) return up
  return undefined
}

/** Runs `fn` where a child of `parent` begins: in its context, unless the program is in it already, and maybe deeper. */
export function below<T>(parent: Run | undefined, fn: () => T): T {
  const near = recorded(parent)
  if (near?.activity === undefined || near === recorded(frames.getStore()?.run)) return fn()
  return near.activity.run(fn)
}

/** Runs `fn` as what `run` is about: what it opens belongs to the run. */
export function within<T>(run: Run | undefined, fn: () => T): T {
  const frame = frames.getStore()
  if (run === undefined || frame?.run === run) return fn()
  const inside = (): T => frames.run({ run, stream: frame?.stream, begun: undefined, tool: undefined }, fn)
  const near = recorded(run)
  return near?.activity === undefined || near === recorded(frame?.run) ? inside() : near.activity.run(inside)
}

/** Runs a call of a model, whose runs `modelRun` then finds without being told their ids. */
export function asModel<T>(fn: () => T): T {
  const frame = frames.getStore()
  return frames.run({ run: frame?.run, stream: frame?.stream, begun: [], tool: undefined }, fn)
}

/** The run of the model that is being called here, where it is the only one. */
export function modelRun(): Run | undefined {
  const begun = frames.getStore()?.begun
  return begun?.length === 1 ? begun[0] : undefined
}

/** Calls a tool: LangChain does not tell the names of those that are classes of their own. */
export function asTool<T>(fn: () => T, tool: string | undefined): T {
  const frame = frames.getStore()
  return frames.run({ run: frame?.run, stream: frame?.stream, begun: undefined, tool }, fn)
}

export function calledTool(): string | undefined {
  return frames.getStore()?.tool
}

export function asStream<T>(stream: StreamScope, fn: () => T): T {
  const frame = frames.getStore()
  return frames.run({ run: frame?.run, stream, begun: undefined, tool: undefined }, fn)
}

export function currentStream(): StreamScope | undefined {
  return frames.getStore()?.stream
}

export function began(run: Omit<Run, 'stream' | 'children' | 'started'>): void {
  const frame = frames.getStore()
  const { id, parent } = run
  const stream = frame?.stream ?? parent?.stream
  // Written out: a spread costs more than all the rest.
  const started: Run = {
    id,
    activity: run.activity,
    kind: run.kind,
    parent,
    isGraph: run.isGraph,
    tags: run.tags,
    started: performance.now(),
    stream,
    children: undefined,
  }
  open.set(id, started)
  if (parent !== undefined) (parent.children ??= new Set()).add(started)
  stream?.began(started)
  frame?.begun?.push(started)
  if (open.size > nextSweep) sweep()
}

/** Takes a run out of the books; undefined where it has ended before. */
export function ended(id: unknown): Run | undefined {
  const run = runOf(id)
  if (run !== undefined) forget(run)
  return run
}

function forget(run: Run): void {
  open.delete(run.id)
  run.parent?.children?.delete(run)
  run.stream?.ended(run)
}

function endBelow(run: Run, how: (activity: Activity) => void): void {
  if (open.get(run.id) !== run) return
  for (const child of run.children ?? []) endBelow(child, how)
  forget(run)
  if (run.activity !== undefined) how(run.activity)
}

/** Forgets runs whose activities the core has given up, as at the end of their trace. */
function sweep(): void {
  for (const run of open.values()) {
    const near = recorded(run)
    if (near === undefined || near.activity?.ended === true) forget(run)
  }
  nextSweep = Math.max(1024, open.size * 2)
}

/** How many runs are open, for tests. */
export function openRuns(): number {
  return open.size
}
