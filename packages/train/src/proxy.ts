import { AglError, type AttributeValue, getRewardsFromSpan, getRewardValue, type Span } from '@agl/core'
import { REWARD } from '@agl/core/semconv'
import { type TokenId, toIds } from './attributes.ts'
import { parseLiteral } from './literal.ts'
import { type AdapterOptions, type AdapterWarning, warnOnce } from './warn.ts'

type OnWarning = (warning: AdapterWarning) => void

/** One model call that a proxy saw, with Python's field names. */
export interface ProxyTriplet {
  prompt: { token_ids: TokenId[] }
  response: { token_ids: TokenId[] }
  /** Null where there is none. */
  reward: number | null
  metadata: { response_id: string | null }
}

interface Item {
  spanId: string
  sequenceId: number
  promptIds: TokenId[]
  responseIds: TokenId[]
  responseId: string | null
}

/**
 * The model calls that a LiteLLM proxy recorded as triplets: what `LlmProxyTraceToTriplet` of Agent Lightning 0.3 gives.
 * A reward is for the last call with a lower sequence id that has none yet; clocks are not relied on.
 *
 * @throws AglError `value_invalid` where Python's adapter raises: a reward that is no number, spans
 * of one sequence id of which some have no start time
 */
export function toProxyTriplets(spans: readonly Span[], options: AdapterOptions = {}): ProxyTriplet[] {
  const { onWarning = warnOnce } = options
  const sorted = inOrder(spans)
  const items = itemsOf(sorted, onWarning)
  const rewards = new Map<string, number>()
  for (const span of sorted) {
    const reward = getRewardValue(span)
    if (reward === undefined) continue
    const item = items.findLast((one) => !rewards.has(one.spanId) && one.sequenceId < span.sequenceId)
    if (item !== undefined) rewards.set(item.spanId, toFloat(reward))
  }
  return items.map(({ spanId, promptIds, responseIds, responseId }) => ({
    prompt: { token_ids: promptIds },
    response: { token_ids: responseIds },
    reward: rewards.get(spanId) ?? null,
    metadata: { response_id: responseId },
  }))
}

/** Other than the tracer's, this adapter makes a number of what AgentOps or an earlier version recorded. */
function toFloat(reward: unknown): number {
  if (typeof reward === 'number' || typeof reward === 'boolean') return Number(reward)
  const text = typeof reward === 'string' ? reward : ''
  const attributes = { [`${REWARD}.0.name`]: 'reward', [`${REWARD}.0.value`]: text }
  return getRewardsFromSpan({ attributes })[0]?.value ?? Number.NaN
}

function inOrder(spans: readonly Span[]): Span[] {
  return spans.toSorted((a, b) => {
    if (a.sequenceId !== b.sequenceId) return a.sequenceId - b.sequenceId
    const start: number | null = a.startTime
    const other: number | null = b.startTime
    if (start === other) return 0
    if (start !== null && other !== null) return start - other
    const message = `Spans of sequence id ${a.sequenceId} cannot be put in order without their start times; give finished spans.`
    throw new AglError('value_invalid', message)
  })
}

function itemsOf(spans: readonly Span[], onWarning: OnWarning): Item[] {
  const items: Item[] = []
  const seen = new Set<string>()
  for (const span of spans) {
    const [promptIds, responseIds] = idsOf(span, onWarning)
    if (promptIds.length === 0 || responseIds.length === 0) continue
    const responseId = responseIdOf(span)
    // The proxy records a request twice: as it came, and as it went to the server.
    if (responseId !== null && seen.has(responseId)) continue
    if (responseId !== null) seen.add(responseId)
    items.push({ spanId: span.spanId, sequenceId: span.sequenceId, promptIds, responseIds, responseId })
  }
  return items
}

function responseIdOf({ attributes }: Span): string | null {
  const own = attributes['gen_ai.response.id']
  const id = isTrue(own) ? own : attributes['llm.hosted_vllm.id']
  return typeof id === 'string' && id !== '' ? id : null
}

/** As Python's `bool`, for what an attribute can be. */
function isTrue(value: AttributeValue | undefined): boolean {
  return typeof value === 'object' ? value.length > 0 : Boolean(value)
}

function idsOf(span: Span, onWarning: OnWarning): [prompt: TokenId[], response: TokenId[]] {
  const read = (key: string): unknown => readAttribute(span, key, onWarning)
  if (span.name === 'raw_gen_ai_request') {
    const prompt = toIds(read('llm.hosted_vllm.prompt_token_ids')) ?? []
    const answers = read('llm.hosted_vllm.response_token_ids')
    const [answer] = Array.isArray(answers) ? answers : []
    const response = (Array.isArray(answer) ? toIds(answer) : undefined) ?? []
    return [prompt, response.length > 0 ? response : idsOfChoice(read('llm.hosted_vllm.choices'))]
  }
  if (span.name !== 'litellm_request') return [[], []]
  return [toIds(read('prompt_token_ids')) ?? [], toIds(read('response_token_ids')) ?? []]
}

function idsOfChoice(choices: unknown): TokenId[] {
  const [choice] = Array.isArray(choices) ? choices : []
  return (choice instanceof Map ? toIds(choice.get('token_ids')) : undefined) ?? []
}

/** Lists are recorded as they are, or as the text that Python's `repr` makes of them. */
function readAttribute({ attributes, spanId }: Span, key: string, onWarning: OnWarning): unknown {
  const value = attributes[key]
  if (typeof value !== 'string') return value
  const literal = parseLiteral(value)
  if (literal === undefined) {
    const message = `The attribute "${key}" of span ${spanId} is no Python literal (null, true and false of JSON are none), so it is left out.`
    onWarning({ code: 'attribute_ignored', message, spanId })
  }
  return literal
}
