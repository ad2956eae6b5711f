import { activeTrace, operation, record, start, type Lightning, type Span } from '@agl/core'
import { langchain, langchainHandler } from '@agl/langchain'
import { treeOf, type SpanNode } from '@agl/testkit'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadHosts, type Hosts } from './hosts.ts'
import { chains } from './programs/chains.ts'
import { failures } from './programs/failures.ts'
import { graphs } from './programs/graphs.ts'
import { streams } from './programs/streams.ts'
import { tools } from './programs/tools.ts'
import type { Given, Program } from './programs/types.ts'
import { openRuns } from '../src/runs.ts'
import { recorder, withoutIds } from './recorder.ts'

const MODES = ['plugin', 'handler', 'both'] as const
type Mode = (typeof MODES)[number] | 'neither'

interface Outcome {
  result: string
  events: string[]
  spans: readonly Span[]
}

/** Runs a program as `mode` says, with or without a callback handler of its own. */
async function run(h: Hosts, program: Program, mode: Mode, watched: boolean): Promise<Outcome> {
  const { handler, events } = recorder()
  const ours = mode === 'handler' || mode === 'both' ? [langchainHandler()] : []
  const callbacks = [...ours, ...(watched ? [handler] : [])]
  const given: Given = {
    h,
    config: callbacks.length === 0 ? {} : { callbacks },
    span: async (name, fn) => (activeTrace() === undefined ? fn() : operation(name, async () => fn())()),
  }
  const body = async (): Promise<string> => {
    const result = await program.run(given).catch((error: unknown) => error)
    await h.awaitAllCallbacks()
    return withoutIds(result)
  }
  if (mode === 'neither') return { result: await body(), events, spans: [] }
  const { result = 'nothing', error, spans } = await record('program', body)
  if (error !== undefined) throw error
  return { result, events, spans }
}

/** Names of the spans below the root, indented, with what is notable of each. */
function outline(nodes: readonly SpanNode[], depth = 0): string {
  const lines = nodes.flatMap(({ span, children }) => {
    const { status, attributes, name } = span
    const error = status.statusCode === 'ERROR' ? '!' : ''
    const finish = attributes['agl.finish'] === undefined ? '' : `~${String(attributes['agl.finish'])}`
    const agent = attributes['langchain.chain.type'] === undefined ? '' : '@'
    const label = String(attributes['langchain.name'] ?? attributes['agentlightning.operation.name'] ?? '')
    const title = name === 'openai.chat.completion' || name === 'openai.completion' ? `${label}.llm` : name
    // What LangGraph calls the function of a conditional edge differs from version to version.
    const plainName = title.replace(/^Branch<.*>\.chain$/, 'RunnableLambda.chain')
    const shown = name === 'agentlightning.operation' ? `(${label})` : plainName
    return [`${'  '.repeat(depth)}${shown}${agent}${error}${finish}`, outline(children, depth + 1)]
  })
  return lines.filter((line) => line !== '').join('\n')
}

function trimmed(tree: string): string {
  const lines = tree.split('\n').filter((line) => line.trim() !== '')
  const indent = Math.min(...lines.map((line) => line.length - line.trimStart().length))
  return lines.map((line) => line.slice(indent)).join('\n')
}

export function checkPrograms(versions: 'latest' | 'lowest'): void {
  const all = [...chains, ...tools, ...graphs, ...streams, ...failures]
  const programs = all.filter(({ only = versions }) => only === versions)
  const plain = new Map<string, { watched: Outcome; alone: Outcome }>()
  const held: { hosts?: Hosts; lightning?: Lightning } = {}
  const hosts = (): Hosts => {
    if (held.hosts === undefined) throw new Error('not loaded')
    return held.hosts
  }
  beforeAll(async () => void (held.hosts = await loadHosts(versions)))

  describe('without us', () => {
    it.each(programs)('$name', async (program) => {
      const watched = await run(hosts(), program, 'neither', true)
      const alone = await run(hosts(), program, 'neither', false)
      plain.set(program.name, { watched, alone })
      expect(alone.result).toMatch(program.result ?? /./)
      expect(watched.events.length).toBeGreaterThan(0)
    })
  })

  describe.each(MODES)('recorded whole, with results and callbacks as without us: %s', (mode) => {
    beforeAll(async () => {
      const plugins = mode === 'handler' ? [] : [langchain()]
      held.lightning = await start({ plugins, log: 'error', drain: 100 })
    })
    afterAll(async () => void (await held.lightning?.shutdown()))

    it.each(programs)('$name', async (program) => {
      const alone = await run(hosts(), program, mode, false)
      const watched = await run(hosts(), program, mode, true)
      const tree = treeIn(watched.spans)
      expect(tree).toBe(trimmed(treeOfProgram(program, versions)))
      expect(treeIn(alone.spans)).toBe(tree)
      expect(alone.result).toBe(plain.get(program.name)?.alone.result)
      expect(watched.result).toBe(plain.get(program.name)?.watched.result)
      expect(watched.events).toEqual(plain.get(program.name)?.watched.events)
      expect(openRuns()).toBe(0)
    })
  })
}

function treeOfProgram({ tree }: Program, versions: 'latest' | 'lowest'): string {
  return typeof tree === 'string' ? tree : tree[versions]
}

function treeIn(spans: readonly Span[]): string {
  return outline(treeOf(spans)[0]?.children ?? [])
}
