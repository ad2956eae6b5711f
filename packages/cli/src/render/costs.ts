import type { Cost } from '../bench/measure.ts'
import type { Result } from '../bench/session.ts'
import type { Part } from '../bench/workloads.ts'
import { type Paint, table } from './text.ts'

/** One workload as a table: what each set of plugins costs, and what it recorded. */
export function renderCosts(result: Result, paint: Paint): string[] {
  const { name, host, version, rounds, calls, plain, again, plugins } = result
  const noise = {
    wall: Math.abs(again.wall - plain.wall),
    cpu: Math.abs(again.cpu - plain.cpu),
  }
  const rows = [
    ['PLUGINS', 'TIME', 'ADDED', 'CPU', 'ADDED', 'RECORDED'],
    ['none', amount(plain.wall), '', amount(plain.cpu), '', ''],
    ['none, again (A/A)', ...cells(again, difference(again, plain), undefined), ''],
    ...plugins.map((cost) => [
      cost.plugins.join(' + '),
      ...cells(cost, cost.added, noise),
      recorded(cost.recorded),
    ]),
  ]
  const [head = '', ...rest] = table(rows, [1, 2, 3, 4])
  return [
    `${paint('bold', name)}, ${host} ${version}, ${rounds} rounds of ${calls}`,
    `  ${paint('dim', head)}`,
    ...rest.map((line) => `  ${line}`),
    '',
  ]
}

function difference(cost: Cost, plain: Cost): Cost {
  return { wall: cost.wall - plain.wall, cpu: cost.cpu - plain.cpu }
}

function cells({ wall, cpu }: Cost, added: Cost, noise: Cost | undefined): string[] {
  const show = (kind: keyof Cost): string => {
    const text = `${added[kind] < 0 ? '-' : '+'}${amount(Math.abs(added[kind]))}`
    return noise !== undefined && Math.abs(added[kind]) <= noise[kind] ? `(${text})` : text
  }
  return [amount(wall), show('wall'), amount(cpu), show('cpu')]
}

function amount(microseconds: number): string {
  return microseconds.toFixed(microseconds < 100 ? 1 : 0)
}

/** As `4 messages, answer, 12 of 50 logprobs, no usage`. */
function recorded(parts: readonly Part[]): string {
  return parts
    .map(({ what, found, of }) => {
      if (found === 0) return `no ${what}`
      if (of === 1) return what
      return found === of ? `${of} ${what}` : `${found} of ${of} ${what}`
    })
    .join(', ')
}
