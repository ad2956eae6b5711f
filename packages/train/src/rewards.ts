import { AglError } from '@agl/core'
import { preorder, type TraceNode } from './tree.ts'

/**
 * Which call a reward is for, among those that have ended by then and have no reward yet:
 * `first_occurrence`: of the whole trace, the one that started last;
 * `first_sibling`: of those with the same parent, the one that stands last.
 */
export type RewardMatch = 'first_occurrence' | 'first_sibling'

/**
 * Rewards by the id of the call that they are for.
 *
 * @throws AglError `value_invalid` where attributes only look like a reward, or a time that must be compared is missing
 */
export function matchRewards(
  root: TraceNode,
  calls: ReadonlySet<string>,
  policy: RewardMatch,
): Map<string, unknown> {
  const rewards = new Map<string, unknown>()
  if (policy === 'first_occurrence') assign(byStart(preorder(root)), calls, rewards)
  else for (const { children } of preorder(root)) assign(children, calls, rewards)
  return rewards
}

function byStart(nodes: readonly TraceNode[]): TraceNode[] {
  if (nodes.length > 1 && nodes.some(({ start }) => start === null)) {
    throw new AglError('value_invalid', 'A span has no start time; give finished spans.')
  }
  return nodes.toSorted((a, b) => (a.start ?? 0) - (b.start ?? 0))
}

function assign(
  nodes: readonly TraceNode[],
  calls: ReadonlySet<string>,
  rewards: Map<string, unknown>,
): void {
  // Only those without a reward, so that many rewards after many calls do not look at all of them each.
  const open: TraceNode[] = []
  let last: TraceNode | undefined
  for (const node of nodes) {
    if (calls.has(node.id)) {
      last = node
      open.push(node)
    }
    if (node.reward === undefined) continue
    // Refuses a reward without a time, whichever call it is for.
    if (last !== undefined) hasEnded(last, node)
    const index = open.findLastIndex((one) => hasEnded(one, node) && !rewards.has(one.id))
    for (const call of open.splice(index, index < 0 ? 0 : 1)) rewards.set(call.id, node.reward)
  }
}

function hasEnded(call: TraceNode, reward: TraceNode): boolean {
  if (call.end !== null && reward.start !== null) return call.end <= reward.start
  const message = `Whether the span ${call.id} had ended when a reward was given cannot be known without its times; give finished spans.`
  throw new AglError('value_invalid', message)
}
