import assert from 'node:assert/strict'
import { AglError, record, start } from '@agl/core'
import { assertSpans, exercise, newInput, whileActive } from './harness.ts'
import type { ContractCase, PluginContract } from './types.ts'

const TIMES = 3

/** Start, stop, resume and shutdown. */
export function lifeCases(contract: PluginContract): ContractCase[] {
  const functions = (): readonly unknown[] => contract.hostFunctions?.() ?? []
  const assertSame = (actual: readonly unknown[], expected: readonly unknown[], message: string): void => {
    assert.ok(
      actual.length === expected.length && actual.every((fn, index) => Object.is(fn, expected[index])),
      message,
    )
  }
  const stopped = contract.spansWhenStopped ?? []
  return [
    {
      name: 'is active once started, and says so when it is stopped',
      run: () =>
        whileActive(contract, async (lightning) => {
          const state = (): string | undefined =>
            lightning.status().find(({ name }) => name === contract.name)?.state
          // The host may be loaded by its first call only.
          await contract.exercise(newInput())
          assert.equal(state(), 'active')
          await lightning.stop(contract.name)
          assert.equal(state(), 'stopped')
        }),
    },
    {
      name: 'records nothing before start and after shutdown, and leaves no function replaced',
      run: async () => {
        const before = functions()
        assertSpans((await exercise(contract)).spans, [], 'before start')
        await whileActive(contract, async () => void (await exercise(contract)))
        assertSpans((await exercise(contract)).spans, [], 'after shutdown')
        assertSame(functions(), before, "After shutdown a function of the host is not the host's own.")
      },
    },
    {
      name: "puts the host's own functions back when it stops, and its one wrapper when it resumes",
      run: async () => {
        await contract.exercise(newInput())
        const own = functions()
        await whileActive(contract, async (lightning) => {
          const replaced = functions()
          if (own.length > 0) {
            const none = own.every((fn, index) => Object.is(fn, replaced[index]))
            assert.ok(!none, 'None of hostFunctions() is replaced while the plugin is active.')
          }
          for (let time = 0; time < TIMES; time++) {
            await lightning.stop(contract.name)
            if (stopped.length === 0) {
              assertSame(functions(), own, "After stop a function of the host is not the host's own.")
            }
            assertSpans((await exercise(contract)).spans, stopped, 'while stopped')
            await lightning.resume(contract.name)
            await lightning.resume(contract.name)
            assertSpans((await exercise(contract)).spans, contract.spans, 'after resume')
          }
        })
      },
    },
    {
      name: 'records a call once when start is called twice or the plugin is given again',
      run: () =>
        whileActive(contract, async (lightning) => {
          assert.equal(await start({ log: 'silent', plugins: [contract.plugin()] }), lightning)
          await assert.rejects(lightning.use(contract.plugin()), (error) => AglError.is(error))
          assertSpans((await exercise(contract)).spans, contract.spans, 'after a second start')
        }),
    },
    {
      name: 'ends what is open when the plugin is stopped in the middle of a call',
      run: () =>
        whileActive(contract, async (lightning) => {
          const { spans } = await record('contract', async () => {
            const call = contract.exercise(newInput())
            await lightning.stop(contract.name)
            await call
          })
          assert.ok(
            spans.some((span) => span.parentId === null),
            'The trace never ended.',
          )
          for (const { name, status } of spans)
            assert.notEqual(status.statusCode, 'ERROR', `${name}: ${status.description}`)
        }),
    },
  ]
}
