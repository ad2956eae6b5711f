import { AsyncLocalStorage } from 'node:async_hooks'
import type { Activity, ActivityKind } from '@agl/core'
import { recorder } from './recorder.ts'

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
  /** Only our handlers know of the run: to the program there is none. */
  isOurs: boolean
}

/** The open runs that one call of `stream()` has begun. */
export class StreamScope {
  readonly #open = new Set<Run>()
  /** What the runnable that is being streamed is called, whatever the run is. */
  readonly name: string | undefined

  constructor(name: string | undefined) {
    this.name = name
  }

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

/** What the runs that begin here belong to, besides their parent. */
interface Frame {
  stream: StreamScope | undefined
  /** The runs that this call of a model has begun, while it is one. */
  begun: Run[] | undefined
  /** What a tool is called, whose run is about to begin. */
  tool: string | undefined
}

const frames = new AsyncLocalStorage<Frame>()
const open = new Map<string, Run>()
const byActivity = new Map<Activity, Run>()
let nextSweep = 1024

export function runOf(id: unknown): Run | undefined {
  return typeof id === 'string' ? open.get(id) : undefined
}

/** The nearest run, from this one upwards, that is recorded. */
function recorded(run: Run | undefined): Run | undefined {
  for (let up = run; up !== undefined; up = up.parent) if (up.activity !== undefined) return up
  return undefined
}

/** Whether `run` is the innermost that the program is in, maybe in something of its own inside of it. */
function isInside(run: Run): boolean {
  for (let up = recorder()?.current(); up !== undefined; up = up.parent) {
    const found = byActivity.get(up)
    if (found !== undefined) return found === run
  }
  return false
}

/** Below what a child of `parent` begins; undefined where that is what is active. */
export function activityBelow(parent: Run | undefined): Activity | undefined {
  const near = recorded(parent)
  return near === undefined || isInside(near) ? undefined : near.activity
}

/** Runs `fn` as what `run` is about: what it opens belongs to the run. */
export function within<T>(run: Run | undefined, fn: () => T): T {
  const near = recorded(run)
  return near?.activity === undefined || isInside(near) ? fn() : near.activity.run(fn)
}

/** Runs a call of a model, whose run `modelRun` then finds without being told its id. */
export function asModel<T>(fn: () => T): T {
  return frames.run({ stream: frames.getStore()?.stream, begun: [], tool: undefined }, fn)
}

/** The run of the model that is being called here, where it is the only one. */
export function modelRun(): Run | undefined {
  const begun = frames.getStore()?.begun
  return begun?.length === 1 ? begun[0] : undefined
}

/** Calls a tool: LangChain does not tell the names of those that are classes of their own. */
export function asTool<T>(fn: () => T, tool: string | undefined): T {
  return frames.run({ stream: frames.getStore()?.stream, begun: undefined, tool }, fn)
}

export function calledTool(): string | undefined {
  return frames.getStore()?.tool
}

export function asStream<T>(stream: StreamScope, fn: () => T): T {
  return frames.run({ stream, begun: undefined, tool: undefined }, fn)
}

export function currentStream(): StreamScope | undefined {
  return frames.getStore()?.stream
}

export function began(
  id: string,
  parent: Run | undefined,
  activity: Activity | undefined,
  kind: ActivityKind | undefined,
  isGraph: boolean,
  tags: readonly string[],
): void {
  const frame = frames.getStore()
  const stream = frame?.stream ?? parent?.stream
  const run: Run = {
    id,
    activity,
    kind,
    parent,
    isGraph,
    tags,
    started: performance.now(),
    stream,
    children: undefined,
    isOurs: false,
  }
  open.set(id, run)
  if (activity !== undefined) byActivity.set(activity, run)
  if (parent !== undefined) (parent.children ??= new Set()).add(run)
  stream?.began(run)
  frame?.begun?.push(run)
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
  if (run.activity !== undefined) byActivity.delete(run.activity)
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
