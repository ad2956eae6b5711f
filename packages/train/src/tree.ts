import { AglError, type Attributes, getRewardValue, type Span } from '@agl/core'
import { VIRTUAL } from '@agl/core/semconv'
import type { AdapterWarning } from './warn.ts'

/** A span in its place among the others, or a stand-in for one that is missing. Times are Unix seconds. */
export class TraceNode {
  readonly id: string
  readonly name: string
  readonly attributes: Attributes
  /** Null where a store of another make kept a span without it. */
  readonly start: number | null
  readonly end: number | null
  readonly children: TraceNode[] = []
  #reward: { value: unknown } | undefined

  constructor(span: {
    id: string
    name: string
    attributes: Attributes
    start: number | null
    end: number | null
  }) {
    this.id = span.id
    this.name = span.name
    this.attributes = span.attributes
    this.start = span.start
    this.end = span.end
  }

  /** The primary reward, undefined where there is none. @throws AglError where attributes only look like a reward */
  get reward(): unknown {
    this.#reward ??= { value: getRewardValue(this) }
    return this.#reward.value
  }
}

/** A node and all below it, parents before children. */
export function preorder(root: TraceNode): TraceNode[] {
  const nodes: TraceNode[] = []
  const open = [root]
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    nodes.push(node)
    for (let i = node.children.length - 1; i >= 0; i--) {
      const child = node.children[i]
      if (child !== undefined) open.push(child)
    }
  }
  return nodes
}

/**
 * The tree that the parent ids of `spans` make. Children stand in the order in which they were given. A parent that is
 * missing gets a stand-in, and several roots get one above them all. Stand-ins follow the real roots, by start time, then
 * id.
 *
 * @throws AglError `value_invalid` where there are no spans, or no root
 */
export function buildTree(spans: readonly Span[], onWarning: (warning: AdapterWarning) => void): TraceNode {
  // Of spans with one id, the last gives the content of all.
  const byId = new Map(spans.map((span) => [span.spanId, span]))
  const childIds = new Map<string, string[]>()
  const rootIds: string[] = []
  for (const { spanId, parentId } of spans) {
    if (parentId === null || parentId === undefined) rootIds.push(spanId)
    else {
      const siblings = childIds.get(parentId)
      if (siblings === undefined) childIds.set(parentId, [spanId])
      else siblings.push(spanId)
    }
  }
  const missing = Array.from(childIds).filter(([id]) => !byId.has(id))
  const standIns = missing.map(([id, children]) => standIn(id, children, byId)).toSorted(byStart)
  if (standIns.length > 1) {
    const message = `${standIns.length} parents are missing from this trace; what hung below them is put in order of time, which the Python adapter leaves to chance.`
    onWarning({ code: 'order_unclear', message, spanId: standIns[0]?.id ?? '' })
  }
  const roots = [...rootIds.map((id) => nodeOf(id, byId)), ...standIns]
  const reached = grow(roots, childIds, byId)
  if (reached < byId.size && roots.length > 0) {
    const message = `${byId.size - reached} spans are each other's parents; they are left out, with their calls and rewards.`
    onWarning({ code: 'branch_lost', message, spanId: roots[0]?.id ?? '' })
  }
  const [root] = roots
  const last = roots.at(-1)
  if (root === undefined || last === undefined) {
    throw new AglError('value_invalid', 'There is no root among the spans; give all spans of a rollout.')
  }
  if (roots.length === 1) return root
  const id = 'virtual-root'
  const above = new TraceNode({ id, name: id, attributes: {}, start: root.start, end: last.end })
  above.children.push(...roots)
  return above
}

function nodeOf(id: string, byId: ReadonlyMap<string, Span>): TraceNode {
  const span = byId.get(id)
  if (span === undefined) throw new RangeError(`There is no span ${id}.`)
  const { name, attributes, startTime: start, endTime: end } = span
  return new TraceNode({ id, name, attributes, start, end })
}

function standIn(id: string, childIds: readonly string[], byId: ReadonlyMap<string, Span>): TraceNode {
  const children = childIds.map((child) => nodeOf(child, byId))
  const starts = children.map(({ start }) => start).filter((time) => time !== null)
  const ends = children.map(({ end }) => end).filter((time) => time !== null)
  if (starts.length === 0 || ends.length === 0) {
    throw new AglError('value_invalid', `No span below the missing span ${id} has a start and an end.`)
  }
  const start = starts.reduce((a, b) => Math.min(a, b))
  const end = ends.reduce((a, b) => Math.max(a, b))
  return new TraceNode({ id, name: VIRTUAL, attributes: {}, start, end })
}

function byStart(a: TraceNode, b: TraceNode): number {
  return (a.start ?? 0) - (b.start ?? 0) || (a.id < b.id ? -1 : 1)
}

/** Hangs all descendants below `roots`. Returns how many of the ids it met. */
function grow(
  roots: readonly TraceNode[],
  childIds: ReadonlyMap<string, readonly string[]>,
  byId: ReadonlyMap<string, Span>,
): number {
  const met = new Set<string>()
  const open = roots.map((node) => ({ node, depth: 1 }))
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { node, depth } = next
    if (depth > byId.size + 1) {
      throw new AglError('value_invalid', `The span ${node.id} is above itself; give each span once.`)
    }
    if (byId.has(node.id)) met.add(node.id)
    for (const id of childIds.get(node.id) ?? []) {
      const child = nodeOf(id, byId)
      node.children.push(child)
      open.push({ node: child, depth: depth + 1 })
    }
  }
  return met.size
}
