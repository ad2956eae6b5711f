import type { ModelRequest, Reply } from '@agl/testkit'
import problems from './problems.json' with { type: 'json' }

/**
 * What the scripted model asks the calculator for, turn by turn. It gets some problems wrong, as models do: a lamp too
 * many, the second coat of paint forgotten, a leak that fills the tank.
 */
const WORK: Readonly<Record<string, readonly (readonly string[])[]>> = {
  bakery: [['14 * 12'], ['168 - 131']],
  bus: [['27 + 19 - 8'], ['52 - 38']],
  garden: [['2 * (18 + 11)'], ['58 - 3']],
  library: [['6 * 35', '4 * 28'], ['210 + 112']],
  marathon: [['5 * 7', '2 * 16'], ['4 * (35 + 32)']],
  paint: [['72 / 9']],
  eggs: [['23 * 5'], ['(115 - 1) / 6']],
  train: [['13 * 60 + 15', '9 * 60 + 40'], ['795 - 580']],
  'school-trip': [['32 * 12'], ['(640 + 384) / 32']],
  candles: [['75 / 8'], ['(75 + 5) / 8']],
  savings: [['243 - 48'], ['195 / 15']],
  tiles: [['400 / 50', '600 / 50'], ['8 * 12']],
  orchard: [['17 * 24'], ['408 / 8'], ['408 - 51']],
  cinema: [['120 * 9', '45 * 6'], ['(1080 + 270) / 2']],
  water: [['900 / 35'], ['(900 + 10) / 35']],
  pages: [['26 * 9'], ['384 - 234'], ['150 / 30'], ['9 + 5']],
  apples: [['5 * 64 - 28'], ['292 / 4']],
  stairs: [['13 * 22']],
  coffee: [['1000 grams / 8'], ['1000 / 8']],
  concert: [['25 - 5'], ['20 * 32'], ['640 + 140']],
  taxi: [['4 + 2 * 16'], ['36 / 3']],
  bees: [['9 * 21'], ['189 * 2 / 3'], ['126 * 2']],
  printer: [['150 / 24'], ['6.25 * 60']],
  age: [['52 / 4'], ['13 + 10']],
  parking: [['4 * 85', '217 - 64 + 39'], ['340 - 192']],
  ribbon: [['500 / 35'], ['35 * 14'], ['500 - 490']],
  wages: [['43 * 17'], ['731 + 5 * 24']],
  sheep: [['84 / 4', '84 / 2'], ['21 * 2 + 42'], ['84 + 84']],
  cable: [['31 * 40']],
  pizza: [['27 * 3'], ['81 / 8'], ['11 * 8 - 81']],
}

/** Plays a model for the problems of this folder: the next calculation of its script, then the last result as the answer. */
export function scriptedModel({ messages }: ModelRequest): Reply {
  const question = messages.find(({ role }) => role === 'user')?.text
  const problem = problems.find((known) => known.question === question)
  if (problem === undefined)
    return { text: 'I am a scripted model and know only the problems of this example.' }
  const turn = messages.filter(({ role }) => role === 'assistant').length
  const expressions = WORK[problem.id]?.[turn]
  if (expressions === undefined) return { text: `Answer: ${messages.at(-1)?.text}` }
  return {
    toolCalls: expressions.map((expression) => ({ name: 'calculator', arguments: { expression } })),
  }
}
