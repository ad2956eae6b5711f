import type { ModelRequest, Reply } from '@agl/testkit'

/** Plays a model that multiplies well and talks much, unless it is told not to. */
export function scriptedModel({ messages }: ModelRequest): Reply {
  const text = messages.at(-1)?.text ?? ''
  const [, a, b] = /(\d+) times (\d+)/.exec(text) ?? []
  const product = String(Number(a) * Number(b))
  return { text: text.includes('alone') ? product : `That would be ${product}, I think.` }
}
