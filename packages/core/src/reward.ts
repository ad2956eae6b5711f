import { AglError } from './errors.ts'
import { ANNOTATION, filterAndUnflatten, MESSAGE_BODY, OBJECT, REWARD } from './semconv.ts'
import type { Attributes, Span } from './types.ts'

export interface Reward {
  name: string
  value: number
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/**
 * The rewards that a span carries, the primary one first.
 *
 * @throws AglError where attributes begin like a reward but are none, as the Python reader does
 */
export function getRewardsFromSpan(span: Pick<Span, 'attributes'>): Reward[] {
  if (!Object.keys(span.attributes).some((key) => key.startsWith(REWARD))) return []
  const rewards = filterAndUnflatten(span.attributes, REWARD)
  const broken = new AglError(
    'value_invalid',
    `Attributes under "${REWARD}" must be a list of names and numbers from index 0.`,
  )
  if (!Array.isArray(rewards)) throw broken
  return rewards.map((reward: unknown) => {
    if (!isObject(reward) || typeof reward['name'] !== 'string') throw broken
    const value = typeof reward['value'] === 'boolean' ? Number(reward['value']) : toNumber(reward['value'])
    if (value === undefined) throw broken
    return { name: reward['name'], value }
  })
}

/** Numeric texts count, as they do for the Python reader. */
function toNumber(value: unknown): number | undefined {
  if (typeof value === 'number') return value
  if (typeof value !== 'string' || value.trim() === '') return undefined
  const number = Number(value)
  return Number.isNaN(number) ? undefined : number
}

/**
 * The primary reward of a span, or undefined. A number, but for spans that AgentOps or an earlier version wrote: what
 * stands there is passed on as it is, as the Python reader does.
 */
export function getRewardValue(span: Pick<Span, 'attributes' | 'name'>): unknown {
  const [first] = getRewardsFromSpan(span)
  if (first !== undefined) return first.value
  for (const key of ['agentops.task.output', 'agentops.entity.output']) {
    const output = agentOpsOutput(read(span.attributes, key))
    if (output?.['type'] === 'reward') return output['value'] ?? undefined
  }
  return span.name === ANNOTATION ? read(span.attributes, 'reward') : undefined
}

function agentOpsOutput(output: unknown): Record<string, unknown> | undefined {
  if (typeof output !== 'string') return undefined
  let parsed: unknown
  try {
    parsed = JSON.parse(output)
  } catch {
    return undefined
  }
  if (isObject(parsed)) return parsed
  if (Array.isArray(parsed) ? parsed.length > 0 : Boolean(parsed)) {
    throw new AglError('value_invalid', "The output that AgentOps' span carries is JSON but no object.")
  }
  return undefined
}

function read(attributes: Attributes, key: string): unknown {
  return Object.hasOwn(attributes, key) ? attributes[key] : undefined
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
  const body = read(span.attributes, MESSAGE_BODY)
  if (body === undefined || typeof body === 'string') return body
  throw new AglError('value_invalid', 'The message of this span is not a text.')
}

/** The value of an `emitObject` span. @throws AglError where it cannot be decoded */
export function getObjectValue(span: Pick<Span, 'attributes'>): unknown {
  const json = read(span.attributes, `${OBJECT}.json`)
  const literal = read(span.attributes, `${OBJECT}.literal`)
  const named = read(span.attributes, `${OBJECT}.type`) ?? 'str'
  const type = typeof named === 'string' ? named : typeof named
  try {
    if (typeof json === 'string') return JSON.parse(json)
  } catch (cause) {
    throw new AglError('value_invalid', 'The object of this span is not valid JSON.', { cause })
  }
  if (typeof literal !== 'string') return null
  if (type === 'str') return literal
  if (type === 'bool') return literal.toLowerCase() === 'true'
  if (type === 'int' && /^\s*[-+]?\d+(_\d+)*\s*$/.test(literal)) return Number(literal.replaceAll('_', ''))
  if (type === 'float' && toNumber(literal) !== undefined) return toNumber(literal)
  if (type === 'bytes') return Uint8Array.from(atob(literal), (char) => char.charCodeAt(0))
  throw new AglError(
    'value_invalid',
    `The object of this span has the type "${type}", whose literal cannot be read.`,
  )
}
