import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { record, start, spanToJSON, type Config, type Lightning, type Span } from '@agl/core'
import { memorySink, type MemorySink } from '../sink.ts'
import type { ContractInput, PluginContract } from './types.ts'

export function newInput(): ContractInput {
  const word = (kind: string): string => `${kind}${randomUUID().replaceAll('-', '')}`
  return { canary: word('canary'), secret: word('secret') }
}

/** Runs `body` while the plugin is active, and shuts down after it. */
export async function whileActive(
  contract: PluginContract,
  body: (lightning: Lightning, sink: MemorySink) => Promise<void>,
  config: Config = {},
): Promise<void> {
  const sink = memorySink()
  const plugins = [...(config.plugins ?? []), contract.plugin()]
  const lightning = await start({ log: 'silent', sinks: [sink], ...config, plugins })
  try {
    await body(lightning, sink)
  } finally {
    await lightning.shutdown()
  }
}

/** Makes the call in a trace of its own. Throws what the call throws. */
export async function exercise(contract: PluginContract, input: ContractInput = newInput()): Promise<Traced> {
  const outcome = await record('contract', () => contract.exercise(input))
  if ('error' in outcome && outcome.error !== undefined) throw outcome.error
  return { result: outcome.result, spans: outcome.spans }
}

export interface Traced {
  result: unknown
  spans: readonly Span[]
}

/** The spans besides the trace's root. */
export function inner(spans: readonly Span[]): Span[] {
  return spans.filter((span) => span.parentId !== null)
}

export function assertSpans(spans: readonly Span[], expected: readonly string[], when: string): void {
  const names = inner(spans)
    .map((span) => span.name)
    .toSorted()
  assert.deepEqual(names, expected.toSorted(), `The spans ${when} are not the promised ones.`)
}

/** All that would be stored of these spans, as text. */
export function written(spans: readonly Span[]): string {
  return JSON.stringify(spans.map((span) => spanToJSON(span)))
}
