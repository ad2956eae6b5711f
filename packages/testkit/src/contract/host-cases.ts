import assert from 'node:assert/strict'
import { definePlugin, type ActivityKind, type Plugin } from '@agl/core'
import { memorySink } from '../sink.ts'
import { exercise, newInput, whileActive } from './harness.ts'
import { importAlone } from './import-alone.ts'
import type { ContractCase, PluginContract } from './types.ts'

/** The host behaves as if the plugin were not there. */
export function hostCases(contract: PluginContract): ContractCase[] {
  return [
    {
      name: "gives the caller the host's own result",
      run: async () => {
        const input = newInput()
        const expected = await contract.exercise(input)
        await whileActive(contract, async () => {
          const { result } = await exercise(contract, input)
          assert.deepEqual(result, expected, 'The result is not what the host gives without the plugin.')
        })
      },
    },
    {
      name: "gives the caller the host's own error",
      run: async () => {
        const input = newInput()
        const expected = await errorOf(contract, input)
        await whileActive(contract, async () => {
          const error = await errorOf(contract, input)
          assert.deepEqual(
            describeError(error),
            describeError(expected),
            'The error is not the one without the plugin.',
          )
        })
      },
    },
    {
      name: 'keeps the trouble of other plugins and of sinks away from the host',
      run: async () => {
        const input = newInput()
        const expected = await contract.exercise(input)
        const sink = memorySink()
        sink.fail()
        await whileActive(
          contract,
          async () => assert.deepEqual((await exercise(contract, input)).result, expected),
          { plugins: [throwing()], sinks: [sink] },
        )
      },
    },
    {
      name: 'adds no process listeners',
      run: async () => {
        // Hosts may add some of their own at their first call.
        await contract.exercise(newInput())
        const before = processListeners()
        await whileActive(contract, async () => {
          await exercise(contract)
          assert.deepEqual(processListeners(), before, 'There are other process listeners than before.')
        })
        assert.deepEqual(processListeners(), before, 'There are other process listeners than before.')
      },
    },
    {
      name: 'does nothing when it is imported',
      run: () => importAlone(contract.module, contract.nodeOptions ?? []),
    },
  ]
}

async function errorOf(
  contract: PluginContract,
  input: Parameters<PluginContract['fail']>[0],
): Promise<unknown> {
  try {
    await contract.fail(input)
  } catch (error) {
    return error
  }
  return assert.fail('fail() did not reject.')
}

function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error
  return {
    type: error.constructor,
    name: error.name,
    message: error.message,
    keys: Object.keys(error).toSorted(),
  }
}

const KINDS: readonly ActivityKind[] = [
  'llm',
  'tool',
  'agent',
  'workflow',
  'chain',
  'retriever',
  'embedding',
  'operation',
]

function throwing(): Plugin {
  const trouble = (): never => {
    throw new Error('This hook always throws.')
  }
  return definePlugin({
    name: 'contract-throwing',
    setup: (api) => {
      for (const kind of KINDS) api.on(kind, { start: trouble, end: trouble })
    },
  })
}

function processListeners(): Record<string, number> {
  return Object.fromEntries(process.eventNames().map((name) => [String(name), process.listenerCount(name)]))
}
