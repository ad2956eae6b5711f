import { isDeepStrictEqual } from 'node:util'
import { AglError, spanFromJSON } from '@agl/core'
import { toMessages, toProxyTriplets, toTriplets } from '@agl/train'
import { describe, expect, it } from 'vitest'
import { generateCases } from '../src/cases/index.ts'
import type { GeneratedCase } from '../src/cases/span.ts'
import { type PythonProgram, startPython } from '../src/python.ts'

const COUNT = 3000
/** Other cases with another `AGL_SEED`. */
const seed = Number(process.env['AGL_SEED'] ?? 1)

interface Compared {
  test: GeneratedCase
  ours: unknown
  python: unknown
}

async function compare(program: PythonProgram, test: GeneratedCase): Promise<Compared> {
  return { test, ours: outcome(() => adapt(test)), python: plain(await program.ask(test)) }
}

function adapt({ adapter, options, spans: json }: GeneratedCase): unknown {
  const spans = json.map(spanFromJSON)
  if (adapter === 'messages') return toMessages(spans)
  if (adapter === 'proxy') return toProxyTriplets(spans, { onWarning: () => undefined })
  return toTriplets(spans, { ...camelCase(options), onWarning: () => undefined })
}

function camelCase(options: Record<string, unknown>): Record<string, unknown> {
  const rename = (key: string): string =>
    key.replace(/^_/, '').replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase())
  return Object.fromEntries(Object.entries(options).map(([key, value]) => [rename(key), value]))
}

function outcome(call: () => unknown): unknown {
  try {
    return plain({ result: call() })
  } catch (error) {
    if (!AglError.is(error)) throw error
    return 'refused'
  }
}

/** One error is as good as another, keys are in no order, and non-finite numbers are told by name. */
function plain(value: unknown): unknown {
  if (typeof value === 'number') return Number.isFinite(value) ? value + 0 : String(value)
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null) return value
  if ('error' in value) return 'refused'
  if ('$float' in value) return { nan: 'NaN', inf: 'Infinity', '-inf': '-Infinity' }[String(value.$float)]
  return new Map(Object.entries(value).map(([key, item]) => [key, plain(item)]))
}

describe('the adapters', () => {
  it(
    `give what Python's give for ${COUNT} generated cases (AGL_SEED=${seed})`,
    { timeout: 300_000 },
    async () => {
      await using program = await startPython('agentlightning', 'adapters.py')
      const compared = await Promise.all(generateCases(seed, COUNT).map((test) => compare(program, test)))
      for (const adapter of ['triplets', 'proxy', 'messages']) {
        const given = compared.filter(({ test, ours }) => test.adapter === adapter && ours !== 'refused')
        expect(given.length).toBeGreaterThan(COUNT / 20)
      }
      const different = compared.filter(({ ours, python }) => !isDeepStrictEqual(ours, python))
      expect(different.slice(0, 3)).toEqual([])
    },
  )
})
