import { AglError } from '@agl/core'
import { preorder, type TraceNode } from './tree.ts'
import type { AdapterWarning } from './warn.ts'

/**
 * Puts children of the first node with several of them below the span that encloses them most tightly in time, as
 * tracers that know nothing of each other leave model calls beside the agent that made them. Changes the tree.
 *
 * Where the tightest span is a descendant of the child itself, the whole branch is lost: that is what the Python adapter
 * does, and a trainer must get the same from both.
 *
 * @throws AglError `value_invalid` where a time that must be compared is missing
 */
export function repairHierarchy(root: TraceNode, onWarning: (warning: AdapterWarning) => void): void {
  let top = root
  for (let [only] = top.children; top.children.length === 1 && only !== undefined; [only] = top.children)
    top = only
  let below = preorder(top).slice(1)
  const children = top.children.slice()
  for (const child of children) {
    if (top.children.length === 1) return
    const parent = tightest(child, below)
    if (parent === undefined) continue
    const branch = preorder(child)
    top.children.splice(top.children.indexOf(child), 1)
    parent.children.push(child)
    if (branch.includes(parent)) warnLost(branch, child, parent, onWarning)
    below = preorder(top).slice(1)
  }
}

function tightest(child: TraceNode, nodes: readonly TraceNode[]): TraceNode | undefined {
  let best: TraceNode | undefined
  let least = Number.POSITIVE_INFINITY
  const { id, start, end } = child
  for (const node of nodes) {
    if (node.id === id) continue
    if (node.start === null || start === null) throw missing('start', node.start === null ? node : child)
    if (node.start > start) continue
    if (node.end === null || end === null) throw missing('end', node.end === null ? node : child)
    if (node.end < end) continue
    // In this order, as floats differ otherwise.
    const slack = node.end - end + start - node.start
    if (slack <= 0 || slack >= least) continue
    least = slack
    best = node
  }
  return best
}

function missing(what: 'start' | 'end', { id }: TraceNode): AglError {
  const message = `The span ${id} has no ${what} time; give finished spans, or set repairHierarchy to false.`
  return new AglError('value_invalid', message)
}

function warnLost(
  branch: readonly TraceNode[],
  { id, name }: TraceNode,
  parent: TraceNode,
  onWarning: (warning: AdapterWarning) => void,
): void {
  const message = `The span ${id} (${name}) and ${branch.length - 1} below it are left out, as in Python: ${parent.id} below it lasts longer than it; set repairHierarchy to false to keep them.`
  onWarning({ code: 'branch_lost', message, spanId: id })
}
