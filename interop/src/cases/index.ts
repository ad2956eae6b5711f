import { Dice } from './dice.ts'
import { messagesCase } from './messages.ts'
import { proxyCase } from './proxy.ts'
import type { GeneratedCase } from './span.ts'
import { tripletsCase } from './triplets.ts'

/** Cases of the adapters in turn: whole runs, and all that is odd about recorded ones. */
export function generateCases(seed: number, count: number): GeneratedCase[] {
  const dice = new Dice(seed)
  return Array.from({ length: count }, (_, i) => {
    if (i % 5 === 3) return proxyCase(dice)
    return i % 5 === 4 ? messagesCase(dice) : tripletsCase(dice)
  })
}
