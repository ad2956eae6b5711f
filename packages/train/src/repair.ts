import { spansBelow } from './enclosing.ts'
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
  const children = top.children.splice(0)
  const left = new Set(children)
  const spans = spansBelow(children)
  for (const child of children) {
    if (left.size === 1) break
    const parent = spans.tightest(child)
    if (parent === undefined) continue
    left.delete(child)
    if (spans.isBelow(parent, child)) {
      const branch = preorder(child)
      warnLost(branch, child, parent, onWarning)
      spans.remove(branch)
    } else {
      spans.move(child, parent)
      parent.children.push(child)
    }
  }
  for (const child of left) top.children.push(child)
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
