import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import * as core from '@agl/core'
import * as semconv from '@agl/core/semconv'

interface Case {
  name: string
  op?: string
  call?: string
  input: Record<string, unknown>
  args: Record<string, unknown>
  expected: unknown
  otel?: { spans?: unknown[]; error?: string }
  raised?: string
  spans?: core.SpanJSON[]
  tags?: string[]
  tracer?: string
}
function load(file: string): Case[] {
  const data: { cases: Case[] } = JSON.parse(readFileSync(new URL(`fixtures/${file}.json`, import.meta.url), 'utf8'), (_k, v) => (v && typeof v === 'object' && '$float' in v ? Number(({ nan: 'NaN', inf: 'Infinity', '-inf': '-Infinity' } as Record<string, string>)[v.$float as string]) : v))
  return data.cases
}
const attempt = (fn: () => unknown): unknown => {
  try { return fn() } catch (error) { if (!core.AglError.is(error)) throw error; return { error: true } }
}
const want = (expected: unknown): unknown => expected && typeof expected === 'object' && 'error' in expected ? { error: true } : expected
const zero = (v: unknown): unknown => v === undefined ? undefined : JSON.parse(JSON.stringify(v, (_k, x) => (typeof x === 'number' && !Number.isFinite(x) ? String(x) : Object.is(x, -0) ? 0 : x)))

describe('flatten', () => {
  const ops: Record<string, (i: any) => unknown> = {
    flatten: (i) => semconv.flatten(i.data, { expandLeafLists: i.expand_leaf_lists }),
    unflatten: (i) => semconv.unflatten(i.data),
    roundtrip: (i) => semconv.unflatten(semconv.flatten(i.data, { expandLeafLists: i.expand_leaf_lists })),
    filter: (i) => semconv.filter(i.attributes, i.prefix),
    filter_and_unflatten: (i) => semconv.filterAndUnflatten(i.attributes, i.prefix),
    sanitize_value: (i) => semconv.sanitizeValue(i.value),
    sanitize_list: (i) => semconv.sanitizeList(i.list),
    sanitize_attributes: (i) => semconv.sanitizeAttributes(i.attributes),
    check_attributes: (i) => semconv.checkAttributes(i.attributes) ?? null,
    make_tag_attributes: (i) => semconv.makeTagAttributes(i.tags),
    extract_tags: (i) => semconv.extractTags(i.attributes),
    make_link_attributes: (i) => semconv.makeLinkAttributes(i.links),
    extract_links: (i) => semconv.extractLinks(i.attributes),
    query_linked_spans: (i) => semconv.queryLinkedSpans(i.spans.map(core.spanFromJSON), i.links).map((s) => s.spanId),
  }
  for (const c of load('flatten')) it(`${c.name} ${c.op} ${c.tags ?? ''}`, () => {
    expect(zero(attempt(() => ops[c.op!]!(c.input)))).toEqual(zero(want(c.expected)))
  })
})
describe('rewards', () => {
  for (const c of load('rewards')) it(c.name, () => {
    const spans = c.spans!.map(core.spanFromJSON)
    const e = c.expected as Record<string, unknown>
    expect(spans.map((s) => attempt(() => core.getRewardValue(s) ?? null))).toEqual((e['get_reward_value'] as unknown[]).map(want))
    expect(spans.map((s) => attempt(() => core.getRewardsFromSpan(s)))).toEqual((e['get_rewards_from_span'] as unknown[]).map(want))
    expect(attempt(() => core.findRewards(spans).map((s) => s.spanId))).toEqual(want(e['find_reward_spans']))
    expect(attempt(() => core.findFinalReward(spans) ?? null)).toEqual(want(e['find_final_reward']))
  })
})
