import {
  emitAnnotation,
  emitMessage,
  emitObject,
  emitReward,
  operation,
  type ActivityKind,
  type PluginApi,
} from '@agl/core'
import type { AnyReply, ModelRequest } from '@agl/testkit'
import type OpenAI from 'openai'

/** Numbers from 0 to 1 that depend on the seed alone (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

interface Tools {
  client: OpenAI
  api: PluginApi
}

const AGENTS: readonly [string, ...string[]] = ['planner', 'solver', 'critic']
const TOOLS: OpenAI.ChatCompletionTool[] = ['add', 'search'].map((name) => ({
  type: 'function',
  function: {
    name,
    description: `Does ${name}.`,
    parameters: { type: 'object', properties: { x: { type: 'number' } } },
  },
}))

/** Answers what the prompt asks for: `tools K`, `fail`, or text. */
export function answer({ messages }: ModelRequest): AnyReply {
  const prompt = messages.at(-1)?.text ?? ''
  const [, count] = /tools (\d)/.exec(prompt) ?? []
  if (count === undefined)
    return { text: `It is ${prompt.length}, as “${prompt.slice(0, 12)}” says. 完成 🎉` }
  return {
    toolCalls: Array.from({ length: Number(count) }, (_, i) => ({
      name: i % 2 === 0 ? 'add' : 'search',
      arguments: { x: i, why: prompt },
    })),
  }
}

/**
 * An agent run made up from a seed: model calls, streamed or not, some with tools, some that fail, some broken off; agents, tools
 * and operations nested up to four deep; parallel branches; rewards and the other emitters in between.
 */
export async function runProgram(seed: number, tools: Tools): Promise<void> {
  const random = seeded(seed)
  const pick = <T>(items: readonly [T, ...T[]]): T => items[Math.floor(random() * items.length)] ?? items[0]
  const chance = (share: number): boolean => random() < share
  let calls = 0

  const call = async (): Promise<void> => {
    const prompt = `${seed}.${calls++} ${pick(['say it', 'tools 1', 'tools 2', 'longer '.repeat(20)])}`
    const body = {
      model: 'scripted',
      messages: [
        { role: 'system' as const, content: 'You are brief.' },
        { role: 'user' as const, content: prompt },
      ],
      ...(chance(0.5) ? { tools: TOOLS } : {}),
      ...(chance(0.2) ? { n: 2 } : {}),
      ...(chance(0.3) ? { temperature: 0.5 } : {}),
    }
    if (chance(0.1)) {
      await tools.client.chat.completions.create({ ...body, model: 'unknown' }).catch(() => undefined)
    } else if (chance(0.4)) {
      const stopAt = chance(0.2) ? 3 : Number.POSITIVE_INFINITY
      let chunks = 0
      for await (const _ of await tools.client.chat.completions.create({ ...body, stream: true })) {
        if (++chunks >= stopAt) break
      }
    } else await tools.client.chat.completions.create(body)
  }

  const inside = async (kind: Exclude<ActivityKind, 'llm' | 'embedding'>, depth: number): Promise<void> => {
    const activity = tools.api.activity(kind, { name: kind === 'agent' ? pick(AGENTS) : kind })
    await activity.run(() => steps(depth + 1))
    if (kind === 'tool') activity.end({ result: 'done' })
    else activity.end()
  }

  const step = async (depth: number): Promise<void> => {
    const roll = random()
    if (roll < 0.45 || (depth >= 4 && roll < 0.8)) return call()
    if (roll < 0.6) return inside('agent', depth)
    if (roll < 0.66) return inside(pick(['tool', 'chain', 'workflow']), depth)
    if (roll < 0.7) return operation('step', () => steps(depth + 1))()
    if (roll < 0.78) {
      const branches = Array.from({ length: 2 }, () => inside('agent', depth))
      return void (await Promise.all(branches))
    }
    if (roll < 0.92) {
      if (chance(0.2)) emitReward({ right: random(), short: 1 }, { primary: 'right' })
      else emitReward(chance(0.2) ? chance(0.5) : Math.round(random() * 100) / 10)
      return
    }
    if (roll < 0.95) emitMessage(`after ${calls} calls`)
    else if (roll < 0.98) emitObject({ calls, nested: [1, 'two', null] })
    else emitAnnotation({ note: `n${calls}` })
  }

  async function steps(depth: number): Promise<void> {
    const count = 1 + Math.floor(random() * (depth === 0 ? 6 : 3))
    for (let i = 0; i < count; i++) await step(depth)
  }

  await steps(0)
}
