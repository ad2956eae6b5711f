import { AglError } from '@agl/core'
import { SortedSpans } from './sorted-spans.ts'
import { preorder, type TraceNode } from './tree.ts'

/** The spans of several branches, to find which encloses another most tightly, while branches move into each other. */
export interface EnclosingSpans {
  /**
   * The span that encloses the top of a branch with the least time to spare, but some; where several have as little, the
   * first of them from the top down, as the branches are now.
   */
  tightest(top: TraceNode): TraceNode | undefined
  /** Whether `node` is in the branch of `top`. */
  isBelow(node: TraceNode, top: TraceNode): boolean
  /** To be told before a branch becomes the last child of `parent`. */
  move(top: TraceNode, parent: TraceNode): void
  /** To be told of a branch that is there no more. */
  remove(branch: readonly TraceNode[]): void
}

export function spansBelow(tops: readonly TraceNode[]): EnclosingSpans {
  return SortedSpans.of(tops) ?? new ListedSpans(tops)
}

/** Compares each with all: for times that are missing, or so fine that sums of them are rounded. */
class ListedSpans implements EnclosingSpans {
  readonly #tops: Set<TraceNode>
  #nodes: readonly TraceNode[] | undefined

  constructor(tops: readonly TraceNode[]) {
    this.#tops = new Set(tops)
  }

  tightest({ id, start, end }: TraceNode): TraceNode | undefined {
    this.#nodes ??= Array.from(this.#tops).flatMap(preorder)
    let best: TraceNode | undefined
    let least = Number.POSITIVE_INFINITY
    for (const node of this.#nodes) {
      if (node.id === id) continue
      if (node.start === null || start === null) throw missing('start', node.start === null ? node.id : id)
      if (node.start > start) continue
      if (node.end === null || end === null) throw missing('end', node.end === null ? node.id : id)
      if (node.end < end) continue
      // In this order, as floats differ otherwise.
      const slack = node.end - end + start - node.start
      if (slack <= 0 || slack >= least) continue
      least = slack
      best = node
    }
    return best
  }

  isBelow(node: TraceNode, top: TraceNode): boolean {
    return preorder(top).includes(node)
  }

  move(top: TraceNode): void {
    this.#tops.delete(top)
    this.#nodes = undefined
  }

  remove([top]: readonly TraceNode[]): void {
    if (top !== undefined) this.move(top)
  }
}

function missing(what: 'start' | 'end', id: string): AglError {
  const message = `The span ${id} has no ${what} time; give finished spans, or set repairHierarchy to false.`
  return new AglError('value_invalid', message)
}
