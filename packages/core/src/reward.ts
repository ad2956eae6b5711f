import { AglError } from './errors.ts'
import {
  ANNOTATION,
  filterAndUnflatten,
  isDict,
  MESSAGE_BODY,
  OBJECT_JSON,
  OBJECT_LITERAL,
  OBJECT_TYPE,
  parsePythonJSON,
  REWARD,
} from './semconv.ts'
import type { Span } from './types.ts'

export interface Reward {
  name: string
  value: number
}

/**
 * The rewards that a span carries, the primary one first.
 *
 * @throws AglError where attributes begin like a reward but are none, as the Python reader does
 */
export function getRewardsFromSpan(span: Pick<Span, 'attributes'>): Reward[] {
  if (!Object.keys(span.attributes).some((key) => key.startsWith(REWARD))) return []
  const found = filterAndUnflatten(span.attributes, REWARD)
  const rewards = Array.isArray(found) ? found.map(toReward) : [undefined]
  if (rewards.every((reward) => reward !== undefined)) return rewards
  throw new AglError('value_invalid', `"${REWARD}" must be a list of names and numbers from index 0.`)
}

function toReward(reward: unknown): Reward | undefined {
  if (!isDict(reward) || typeof reward['name'] !== 'string') return undefined
  const value = toNumber(reward['value'])
  return value === undefined ? undefined : { name: reward['name'], value }
}

/** Numeric texts count, as they do for the Python reader: `1_000`, `inf` and `nan` too, `0x10` not. */
function toNumber(value: unknown): number | undefined {
  if (typeof value === 'number' || typeof value === 'boolean') return Number(value)
  if (typeof value !== 'string') return undefined
  const text = value
    .trim()
    .toLowerCase()
    .replace(/(\d)_(?=\d)/g, '$1')
  if (!/^[-+]?(?:inf(?:inity)?|nan|(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)$/.test(text)) return undefined
  return Number(text.replace(/inf.*/, '1e999'))
}

/**
 * The primary reward of a span, or undefined. A number, but for spans that AgentOps or an earlier version wrote: what
 * stands there is passed on as it is, as the Python reader does.
 */
export function getRewardValue(span: Pick<Span, 'attributes' | 'name'>): unknown {
  const [first] = getRewardsFromSpan(span)
  if (first !== undefined) return first.value
  for (const key of ['agentops.task.output', 'agentops.entity.output']) {
    const output = agentOpsOutput(span.attributes[key])
    if (output?.['type'] === 'reward') return output['value'] ?? undefined
  }
  return span.name === ANNOTATION ? span.attributes['reward'] : undefined
}

function agentOpsOutput(output: unknown): Record<string, unknown> | undefined {
  if (typeof output !== 'string') return undefined
  let parsed: unknown
  try {
    parsed = parsePythonJSON(output)
  } catch {
    return undefined
  }
  if (isDict(parsed)) return parsed
  if (Array.isArray(parsed) ? parsed.length > 0 : Boolean(parsed)) {
    throw new AglError('value_invalid', "The output of AgentOps' span is JSON but no object.")
  }
  return undefined
}

export function isRewardSpan(span: Pick<Span, 'attributes' | 'name'>): boolean {
  return getRewardValue(span) !== undefined
}

/** The spans that carry a reward, in the order given. */
export function findRewards(spans: readonly Span[]): Span[] {
  return spans.filter(isRewardSpan)
}

/** The last reward in the order given, or undefined; see `getRewardValue` for its type. */
export function findFinalReward(spans: readonly Span[]): unknown {
  for (const span of spans.toReversed()) {
    const value = getRewardValue(span)
    if (value !== undefined) return value
  }
  return undefined
}

/** The text of an `emitMessage` span. */
export function getMessageValue(span: Pick<Span, 'attributes'>): string | undefined {
  const body = span.attributes[MESSAGE_BODY]
  if (body === undefined || typeof body === 'string') return body
  throw new AglError('value_invalid', 'The message of this span is not a text.')
}

/** The value of an `emitObject` span. @throws AglError where it cannot be decoded */
export function getObjectValue(span: Pick<Span, 'attributes'>): unknown {
  const json = span.attributes[OBJECT_JSON]
  const literal = span.attributes[OBJECT_LITERAL]
  const type = span.attributes[OBJECT_TYPE] ?? 'str'
  if (json === undefined && literal === undefined) return null
  let value: unknown
  let cause: unknown
  try {
    if (json === undefined) value = decodeLiteral(type, literal)
    else if (typeof json === 'string') value = parsePythonJSON(json)
  } catch (error) {
    cause = error
  }
  if (value !== undefined) return value
  const message = `The object of this span cannot be read as ${JSON.stringify(type)}.`
  throw new AglError('value_invalid', message, { cause })
}

function decodeLiteral(type: unknown, literal: unknown): unknown {
  if (type === 'str') return literal
  if (type === 'float') return toNumber(literal)
  if (type === 'int' && typeof literal === 'number') return Math.trunc(literal)
  if (typeof literal !== 'string') return undefined
  if (type === 'bool') return literal.toLowerCase() === 'true'
  if (type === 'int') return /^\s*[-+]?\d+(_\d+)*\s*$/.test(literal) ? toNumber(literal) : undefined
  if (type === 'bytes') return Uint8Array.from(atob(literal), (char) => char.charCodeAt(0))
  return undefined
}
