import type { Span } from '@agl/core'
import { type AdapterWarning, toTriplets } from '@agl/train'
import { describe, expect, it } from 'vitest'
import { callAttributes, REWARD, span } from './support.ts'

const ROUNDS = 2000

/** Numbers from 0 to 1 that depend on the seed alone (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Spans below a root and each other, with few distinct times so that many fit as tightly, in Unix seconds. */
function floating(random: () => number): Span[] {
  const below = (count: number): number => Math.floor(random() * count)
  const range = [4, 8, 30][below(3)] ?? 4
  const spans = [span({ spanId: 's0', startTime: 1.76e9, endTime: 1.76e9 + range })]
  for (let i = 1; i < 4 + below(30); i++) {
    const [startTime = 0, endTime = 0] = [below(range), below(range)]
      .map((time) => 1.76e9 + time / 10)
      .toSorted((a, b) => a - b)
    const parentId = i < 3 || random() < 0.6 ? 's0' : `s${below(i)}`
    const kind = random()
    const parts =
      kind < 0.5
        ? { name: 'openai.chat.completion', attributes: callAttributes(`chatcmpl-${i}`) }
        : kind < 0.8
          ? { attributes: { 'agent.name': `agent ${i}` } }
          : { attributes: REWARD }
    spans.push(span({ spanId: `s${i}`, parentId, startTime, endTime, ...parts }))
  }
  return spans
}

/** Triplets, and ids of the branches that were lost. */
function adapted(spans: readonly Span[]): unknown {
  const warnings: AdapterWarning[] = []
  const triplets = toTriplets(spans, { onWarning: (warning) => void warnings.push(warning) })
  return { triplets, lost: warnings.map(({ spanId }) => spanId) }
}

describe('the repair of a hierarchy', () => {
  it(`finds by search what comparing each with all finds, in ${ROUNDS} traces`, () => {
    const random = seeded(1)
    const lost = new Set<boolean>()
    for (let round = 0; round < ROUNDS; round++) {
      const spans = floating(random)
      // A span that never ended cannot be sorted, so that all are compared; it starts too late to enclose any.
      const child = { ...span({ spanId: 'open', parentId: 's1', startTime: 1.77e9 }), endTime: null }
      const unfinished: Span[] = JSON.parse(JSON.stringify([child]))
      const given = adapted(spans)
      expect(given, `round ${round}`).toEqual(adapted([...spans, ...unfinished]))
      lost.add(JSON.stringify(given).includes('"lost":[]'))
    }
    expect(lost.size, 'with lost branches and without').toBe(2)
  })

  it('puts 100,000 calls below the agents that enclose them', () => {
    const count = 100_000
    const spans = Array.from({ length: count }, (_, i) =>
      i % 10 === 0
        ? span({
            spanId: `s${i}`,
            parentId: 'root',
            attributes: { 'agent.name': `agent ${i / 10}` },
            startTime: 1.76e9 + i,
            endTime: 1.76e9 + i + 9.5,
          })
        : span({
            spanId: `s${i}`,
            parentId: 'root',
            name: 'openai.chat.completion',
            startTime: 1.76e9 + i,
            endTime: 1.76e9 + i + 0.25,
          }),
    )
    const root = span({ spanId: 'root', startTime: 1.76e9, endTime: 1.76e9 + count })
    const agents = toTriplets([root, ...spans]).map(({ metadata }) => metadata.agent_name)
    const expected = spans.flatMap((_, i) => (i % 10 === 0 ? [] : [`agent ${Math.floor(i / 10)}`]))
    expect(agents).toEqual(expected)
  })
})
