import { AglError } from '@agl/core'
import { OPERATION, OPERATION_NAME, REWARD } from '@agl/core/semconv'
import { firstText } from './attributes.ts'
import type { TraceNode } from './tree.ts'
import type { AdapterWarning } from './warn.ts'

/** A model call, and whose it is: the nearest agent above it, `*` where there is none. */
export interface Call {
  node: TraceNode
  agent: unknown
  responseId: string | null
}

export interface CallOptions {
  llmCall: RegExp
  agent: RegExp | undefined
  excludeInReward: boolean
}

const RESPONSE_ID = ['gen_ai.response.id', 'agentlightning.operation.output.id']

interface Place {
  node: TraceNode
  /** The label of the agent around it; undefined where that is none of those wanted. */
  agent: unknown
  inReward: boolean
  inCall: boolean
}

/** The model calls of a tree from the top down, each response once. */
export function findCalls(
  root: TraceNode,
  options: CallOptions,
  onWarning: (warning: AdapterWarning) => void,
): Call[] {
  const calls: Call[] = []
  const responses = new Set<string>()
  const open: Place[] = [
    { node: root, agent: options.agent === undefined ? '*' : undefined, inReward: false, inCall: false },
  ]
  for (let place = open.pop(); place !== undefined; place = open.pop()) {
    const { node } = place
    let { agent, inReward, inCall } = place
    if (agent !== undefined && !inReward && options.llmCall.test(node.name)) {
      const responseId = firstText(node, RESPONSE_ID, onWarning)
      // Two tracers that watch one call give one response, or an inner span without any.
      if (responseId === null ? !inCall : !responses.has(responseId)) {
        calls.push({ node, agent, responseId })
        if (responseId !== null) responses.add(responseId)
        inCall = true
      }
    }
    const name = agentName(node)
    if (name !== undefined)
      agent = options.agent === undefined || matches(options.agent, name) ? name : undefined
    if (options.excludeInReward && isReward(node)) inReward = true
    for (const child of node.children.toReversed()) open.push({ node: child, agent, inReward, inCall })
  }
  return calls
}

function matches(pattern: RegExp, name: unknown): boolean {
  if (typeof name === 'string') return pattern.test(name)
  throw new AglError(
    'value_invalid',
    'The name of an agent is no text, so agentMatch cannot be searched in it.',
  )
}

/** A span with a reward, or an operation that is there to find one: calls below it are a judge's. */
function isReward(node: TraceNode): boolean {
  if (node.reward !== undefined) return true
  return node.name === OPERATION && node.attributes[OPERATION_NAME] === REWARD
}

/** How each framework names its agents; the first that is there counts. */
function agentName({ name, attributes }: TraceNode): unknown {
  return (
    attributes['agent.name'] ??
    (attributes['agentops.span.kind'] === 'agent' ? attributes['operation.name'] : undefined) ??
    attributes['recipient_agent_type'] ??
    attributes['langchain.chain.type'] ??
    attributes['executor.id'] ??
    (attributes['type'] === 'agent' ? attributes['agentlightning.operation.input.name'] : undefined) ??
    (name.startsWith('langchain.Chain.') ? attributes['lc_name'] : undefined)
  )
}
