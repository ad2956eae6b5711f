import type { SpanJSON } from '@agl/core'
import type { Dice } from './dice.ts'

export type Attributes = SpanJSON['attributes']

/** Spans for an adapter, with its options under Python's names. */
export interface GeneratedCase {
  adapter: 'triplets' | 'proxy' | 'messages'
  options: Record<string, unknown>
  spans: SpanJSON[]
}

/** A span with what is not given left empty. */
export function span(
  spanId: string,
  sequenceId: number,
  parts: Partial<Omit<SpanJSON, 'start_time' | 'end_time'>> & {
    start_time?: number | null
    end_time?: number | null
  },
): SpanJSON {
  const { start_time = 0, end_time = 0, ...rest } = parts
  const json = {
    rollout_id: 'ro-1',
    attempt_id: 'at-1',
    sequence_id: sequenceId,
    trace_id: 't1',
    span_id: spanId,
    parent_id: null,
    name: 'span',
    status: { status_code: 'UNSET' as const, description: null },
    attributes: {},
    events: [],
    links: [],
    context: null,
    parent: null,
    resource: { attributes: {}, schema_url: '' },
    ...rest,
  }
  // Stores of another make keep spans without times.
  return Object.assign(json, { start_time, end_time } as { start_time: number; end_time: number })
}

/** A reward in every form that a reader knows, or something that only looks like one. */
export function rewardAttributes(dice: Dice): Attributes {
  const entries: [string, Attributes[string]][] = []
  const kind = dice.roll()
  if (kind < 0.75) {
    const count = 1 + dice.below(3)
    for (let i = 0; i < count; i++) {
      entries.push([`agentlightning.reward.${i}.name`, 'r'])
      entries.push([`agentlightning.reward.${i}.value`, dice.pick([1, 0.5, -2, 0, true, '1.5'])])
    }
  } else if (kind < 0.85) {
    const output = dice.pick([
      '{"type": "reward", "value": 1}',
      '{"type": "reward", "value": null}',
      '{"type": "reward", "value": "x"}',
      '{"type": "reward", "value": NaN}',
      '{"type": "other"}',
      'oops',
      '[]',
      '{}',
    ])
    entries.push([dice.pick(['agentops.task.output', 'agentops.entity.output']), output])
  } else if (kind < 0.95) entries.push(['reward', dice.pick([1, 0.5, 'x', false])])
  if (dice.chance(0.01))
    entries.push([
      dice.pick([
        'agentlightning.reward',
        'agentlightning.reward_x',
        'agentlightning.reward.2.name',
        'agentlightning.reward.0',
      ]),
      'x',
    ])
  return Object.fromEntries(dice.shuffled(entries))
}
