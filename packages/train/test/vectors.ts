import { readFileSync } from 'node:fs'
import { AglError, spanFromJSON, type Span, type SpanJSON } from '@agl/core'

/** Untyped on purpose: the cases are data of many shapes, written by another program. */
type Json = ReturnType<typeof JSON.parse>

/** Spans with what the Python adapter makes of them. */
export interface Case {
  name: string
  note: string
  /** Under Python's names. */
  options: Record<string, unknown>
  spans: Span[]
  expected: unknown
  /** The ids of the tree after its repair, as `[id, child, …]`. */
  tree?: unknown
}

const FLOATS: Record<string, number> = {
  nan: Number.NaN,
  inf: Number.POSITIVE_INFINITY,
  '-inf': Number.NEGATIVE_INFINITY,
}

/** Reads JSON in which non-finite numbers are `{"$float": …}`. */
function revive(json: string): Json {
  return JSON.parse(json, (_key, value: Json) =>
    typeof value === 'object' && value !== null && '$float' in value ? FLOATS[value.$float] : value,
  )
}

export function load(file: string): Case[] {
  const parsed = revive(readFileSync(new URL(`fixtures/${file}.json`, import.meta.url), 'utf8'))
  return parsed.cases.map((test: Json) => ({
    ...test,
    spans: test.spans.map((span: SpanJSON) => spanFromJSON(span)),
    expected: plain(test.expected),
  }))
}

/** Python's names as ours. */
export function camelCase(options: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(options).map(([key, value]) => [
      key.replace(/^_/, '').replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase()),
      value,
    ]),
  )
}

/** What a call gives, or that it refused. */
export function outcome(call: () => unknown): unknown {
  try {
    return plain(call())
  } catch (error) {
    if (!AglError.is(error)) throw error
    return { error: 'raised' }
  }
}

/** `-0` equals `0`, keys are in no order, and one error of Python's is as good as another. */
function plain(value: unknown): unknown {
  if (Object.is(value, -0)) return 0
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null) return value
  if ('error' in value && typeof value.error === 'string') return { error: 'raised' }
  return new Map(Object.entries(value).map(([key, item]) => [key, plain(item)]))
}
