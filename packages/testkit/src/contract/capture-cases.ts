import assert from 'node:assert/strict'
import { exercise, newInput, whileActive, written } from './harness.ts'
import type { ContractCase, PluginContract } from './types.ts'

/** What may leave the process, and what may not. */
export function captureCases(contract: PluginContract): ContractCase[] {
  return [
    {
      name: 'records content by default, and none with capture.content false',
      run: async () => {
        const input = newInput()
        await whileActive(contract, async () => {
          const text = written((await exercise(contract, input)).spans)
          assert.ok(
            text.includes(input.canary),
            'The canary is not in the record: exercise() must send it as content.',
          )
        })
        await whileActive(
          contract,
          async (lightning, sink) => {
            const { spans } = await exercise(contract, input)
            await contract.fail(input).catch(() => {})
            await lightning.flush()
            const text = written([...spans, ...sink.spans])
            assert.ok(
              !text.includes(input.canary),
              `Content left in spite of capture.content false: ${around(text, input.canary)}`,
            )
          },
          { capture: { content: false } },
        )
      },
    },
    {
      name: 'never records a credential',
      run: () =>
        whileActive(contract, async (lightning, sink) => {
          const input = newInput()
          await exercise(contract, input)
          await contract.fail(input).catch(() => {})
          await lightning.flush()
          const text = written(sink.spans)
          assert.ok(!text.includes(input.secret), `A credential was recorded: ${around(text, input.secret)}`)
        }),
    },
  ]
}

function around(text: string, word: string): string {
  const at = text.indexOf(word)
  return text.slice(Math.max(0, at - 80), at + word.length + 20)
}
