import { AglError, type Span } from '@agl/core'
import { isDict, parsePythonJSON } from '@agl/core/semconv'
import { firstIds, firstNested, type TokenId } from './attributes.ts'
import { type Call, findCalls } from './calls.ts'
import { imageURLs } from './images.ts'
import { toRegExp } from './pattern.ts'
import { repairHierarchy } from './repair.ts'
import { matchRewards, type RewardMatch } from './rewards.ts'
import { buildTree } from './tree.ts'
import { type AdapterOptions, type AdapterWarning, warnOnce } from './warn.ts'

/** One model call as a step of reinforcement learning, with Python's field names. */
export interface Triplet {
  prompt: {
    token_ids: TokenId[]
    /** Messages as a list, as a map where their numbers have gaps, or null where they were not recorded. */
    raw_content: object | null
    image_urls: unknown[]
  }
  response: {
    token_ids: TokenId[]
    raw_content: object | null
    /** One entry per token, as the server gave them; absent where there are none. */
    logprobs?: unknown
  }
  /** A number; what AgentOps or an earlier version recorded is passed on as it is. Null where there is none. */
  reward: unknown
  metadata: {
    request: object | null
    response: object | null
    response_id: string | null
    /** The nearest agent above the call, `*` where there is none. */
    agent_name: unknown
  }
}

export interface TripletOptions extends AdapterOptions {
  /** Put spans that float below the root into the span that encloses them in time. @default true */
  repairHierarchy?: boolean
  /** What the name of a model call's span contains, searched as Python's `re` does. @default 'openai\\.chat\\.completion' */
  llmCallMatch?: string | RegExp
  /** Only calls of agents whose name contains this. @default all */
  agentMatch?: string | RegExp | null
  /** Leave out calls below a span that has or computes a reward, such as a judge's. @default true */
  excludeLlmCallInReward?: boolean
  /** @default 'first_occurrence' */
  rewardMatch?: RewardMatch
  /** Leave out calls that lack the token ids of the prompt or of the response. @default false */
  skipEmptyTokenSpans?: boolean
}

/**
 * The model calls of one rollout as triplets of prompt, response and reward: what `TracerTraceToTriplet` of Agent
 * Lightning 0.3 gives. Takes the spans of one attempt in order of their sequence ids; those of the tracer as they are.
 *
 * @throws AglError `value_invalid` where Python's adapter raises: no spans at all, attributes that begin like a reward
 * and are none, a missing time that must be compared, log probabilities that are no JSON
 */
export function toTriplets(spans: readonly Span[], options: TripletOptions = {}): Triplet[] {
  const { rewardMatch = 'first_occurrence', onWarning = warnOnce } = options
  if (rewardMatch !== 'first_occurrence' && rewardMatch !== 'first_sibling') {
    throw new AglError('value_invalid', 'rewardMatch must be "first_occurrence" or "first_sibling".')
  }
  const agentMatch = options.agentMatch ?? undefined
  const root = buildTree(spans, onWarning)
  if (options.repairHierarchy !== false) repairHierarchy(root, onWarning)
  const search = {
    llmCall: toRegExp(options.llmCallMatch ?? 'openai\\.chat\\.completion'),
    agent: agentMatch === undefined ? undefined : toRegExp(agentMatch),
    excludeInReward: options.excludeLlmCallInReward !== false,
  }
  const found = findCalls(root, search, onWarning).map((call) => ({
    id: call.node.id,
    triplet: toTriplet(call, onWarning),
  }))
  const kept = options.skipEmptyTokenSpans === true ? found.filter(({ triplet }) => hasIds(triplet)) : found
  const rewards = matchRewards(root, new Set(kept.map(({ id }) => id)), rewardMatch)
  for (const { id, triplet } of kept) triplet.reward = rewards.get(id) ?? null
  return kept.map(({ triplet }) => triplet)
}

function hasIds({ prompt, response }: Triplet): boolean {
  return prompt.token_ids.length > 0 && response.token_ids.length > 0
}

const OUTPUT = 'agentlightning.operation.output'
const PROMPT_IDS = ['prompt_token_ids', `${OUTPUT}.prompt_token_ids`]
/** Where the Weave tracer puts them depends on the versions of vLLM and of the OpenAI client. */
const RESPONSE_IDS = [
  'response_token_ids',
  `${OUTPUT}.response_token_ids.0`,
  `${OUTPUT}.choices.0.token_ids`,
  `${OUTPUT}.choices.0.provider_specific_fields.token_ids`,
]

function toTriplet({ node, agent, responseId }: Call, onWarning: (warning: AdapterWarning) => void): Triplet {
  const { attributes } = node
  const promptIds = firstIds(node, PROMPT_IDS, onWarning)
  const responseIds = firstIds(node, RESPONSE_IDS, onWarning)
  const request = firstNested(attributes, ['gen_ai.request', 'agentlightning.operation.input'])
  const response = firstNested(attributes, ['gen_ai.response', OUTPUT])
  const prompt = firstNested(attributes, ['gen_ai.prompt', 'agentlightning.operation.input.messages'])
  const completion = firstNested(attributes, ['gen_ai.completion', `${OUTPUT}.choices`])
  const logprobs = attributes['logprobs.content']
  return {
    prompt: { token_ids: promptIds, raw_content: prompt, image_urls: imageURLs(prompt) },
    response: {
      token_ids: responseIds,
      raw_content: completion,
      ...(typeof logprobs === 'string' ? { logprobs: parseLogprobs(logprobs, node.id) } : {}),
    },
    reward: null,
    metadata: {
      request: without(request, ['messages']),
      response: without(response, ['choices', 'prompt_token_ids', 'response_token_ids']),
      response_id: responseId,
      agent_name: agent,
    },
  }
}

/** What the triplet has elsewhere is left out of its metadata. */
function without(value: object | null, keys: readonly string[]): object | null {
  if (!isDict(value)) return value
  for (const key of keys) delete value[key]
  return value
}

function parseLogprobs(json: string, id: string): unknown {
  try {
    return parsePythonJSON(json)
  } catch (cause) {
    const message = `The log probabilities of span ${id} are not the JSON that they must be.`
    throw new AglError('value_invalid', message, { cause })
  }
}
