import assert from 'node:assert/strict'
import { record } from '@agl/core'
import { assertSpans, exercise, inner, newInput, whileActive, written } from './harness.ts'
import type { ContractCase, PluginContract } from './types.ts'

const AT_ONCE = 8

/** What is recorded, and under which trace. */
export function recordCases(contract: PluginContract): ContractCase[] {
  return [
    {
      name: 'records a call of the host as the promised spans, all of them ended',
      run: () =>
        whileActive(contract, async (lightning, sink) => {
          const { spans } = await exercise(contract)
          assertSpans(spans, contract.spans, 'of a call')
          const ids = new Set(spans.map((span) => span.spanId))
          for (const span of inner(spans)) {
            assert.notEqual(span.status.statusCode, 'ERROR', `${span.name}: ${span.status.description}`)
            assert.ok(span.endTime >= span.startTime, `${span.name} ends before it starts.`)
            assert.ok(
              span.parentId !== null && ids.has(span.parentId),
              `The parent of ${span.name} is not in its trace.`,
            )
          }
          await lightning.flush()
          const written = sink.spans.map((span) => span.spanId).toSorted()
          assert.deepEqual(written, [...ids].toSorted(), 'The sink did not get each span once.')
        }),
    },
    {
      name: "ends the span of a call that fails, with the host's error",
      run: () =>
        whileActive(contract, async () => {
          const { error, spans } = await record('contract', () => contract.fail(newInput()))
          assert.ok(error !== undefined, 'fail() did not reject.')
          const failed = inner(spans).filter((span) => span.status.statusCode === 'ERROR')
          assert.ok(failed.length > 0, 'No span has an error status.')
          const told = failed.map(({ attributes }) => attributes['exception.message'])
          if (error instanceof Error) {
            assert.ok(
              told.includes(error.message),
              `No span has the host's error; they say: ${told.join('; ')}`,
            )
          }
        }),
    },
    {
      name: `keeps ${AT_ONCE} traces that run at once apart`,
      run: () =>
        whileActive(contract, async () => {
          const inputs = Array.from({ length: AT_ONCE }, newInput)
          const outcomes = await Promise.all(inputs.map((input) => exercise(contract, input)))
          for (const [index, { spans }] of outcomes.entries()) {
            assertSpans(spans, contract.spans, 'of one of several traces')
            const text = written(spans)
            for (const [other, { canary }] of inputs.entries()) {
              assert.equal(
                text.includes(canary),
                other === index,
                `Trace ${index} has what was sent in trace ${other}.`,
              )
            }
          }
          const ids = (key: 'traceId' | 'rolloutId'): number =>
            new Set(outcomes.flatMap(({ spans }) => spans.map((span) => span[key]))).size
          assert.equal(ids('rolloutId'), AT_ONCE, 'Traces share a rollout.')
          assert.equal(ids('traceId'), AT_ONCE, 'Traces share a trace id.')
        }),
    },
    {
      name: 'records a call outside any trace as a trace of its own, or not at all where so configured',
      run: async () => {
        await whileActive(contract, async (lightning, sink) => {
          await contract.exercise(newInput())
          await lightning.flush()
          assert.ok(sink.spans.length > 0, 'The call was not recorded.')
        })
        const ignoring = { outside: 'ignore' } as const
        await whileActive(
          contract,
          async (lightning, sink) => {
            await contract.exercise(newInput())
            await lightning.flush()
            assert.deepEqual(sink.outline(), '', 'The call was recorded.')
          },
          ignoring,
        )
      },
    },
  ]
}
