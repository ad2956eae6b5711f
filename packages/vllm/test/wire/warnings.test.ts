import { expect, it, vi } from 'vitest'
import { asked, CLIENTS, streamed, tell, WITH_USAGE } from './support.ts'

/** What is logged while a program runs several times. */
async function warningsOf(program: () => Promise<unknown>): Promise<string[]> {
  const log = vi.spyOn(console, 'error').mockImplementation(() => undefined)
  for (let i = 0; i < 3; i++) await program()
  const lines = log.mock.calls.map((call) => call.join(' '))
  log.mockRestore()
  return lines.filter((line) => line.includes('token ids'))
}

const [, make] = CLIENTS[0] ?? []
const config = { log: 'warn' as const }

it('case 15: missing ids are warned of once per process, hidden and cut ones not at all', async () => {
  if (make === undefined) throw new Error('no client')
  const reply = () => ({ text: 'Adding', toolCalls: [{ name: 'add', arguments: {} }], reasoning: 'so' })
  const old = { server: { flavor: 'vllm-0.10' as const, reply }, config }
  const current = { server: { flavor: 'vllm' as const, reply }, config }
  const cut = {
    server: { ...current.server, fault: () => ({ cut: 'mid-stream' as const, after: 2 }) },
    config,
  }
  expect(await warningsOf(() => tell(make, current, asked({ include_reasoning: false })))).toEqual([])
  expect(await warningsOf(() => tell(make, cut, streamed(WITH_USAGE)))).toEqual([])
  expect(await warningsOf(() => tell(make, old, streamed(WITH_USAGE)))).toEqual([
    expect.stringContaining('sent other token ids than it counts'),
  ])
})

it('case 15: a server that was asked and sends none is warned of once', async () => {
  if (make === undefined) throw new Error('no client')
  const warnings = await warningsOf(() => tell(make, { server: {}, config }, asked()))
  expect(warnings).toEqual([expect.stringContaining('was asked for token ids sent none')])
})
