import type { ModelRequest, Reply } from '@agl/testkit'

/** Plays the model of all three programs. */
export function scriptedModel({ messages }: ModelRequest): Reply {
  const last = messages.at(-1)?.text ?? ''
  const [, a, b] = /(\d+) times (\d+)/.exec(last) ?? []
  if (a !== undefined && b !== undefined)
    return { toolCalls: [{ name: 'multiply', arguments: { a: Number(a), b: Number(b) } }] }
  if (messages.at(-1)?.role === 'tool') return { text: `It is ${last}.` }
  if (last.includes('plus one')) {
    const before = messages.findLast(({ text }) => /^It is \d+/.test(text ?? ''))?.text ?? ''
    return { text: `It is ${Number(/\d+/.exec(before)?.[0]) + 1}.` }
  }
  if (last.startsWith('Write one line'))
    return { text: last.includes('draft 1') ? 'Rain falls.' : 'Rain writes on the roof.' }
  if (last.startsWith('Is it good?')) return { text: last.includes('roof') ? 'yes' : 'no' }
  return { text: 'Bonjour.' }
}
