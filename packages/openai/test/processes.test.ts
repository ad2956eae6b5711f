import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { COPIES } from './copies.ts'

/** Runs a program of `fixtures` in a process of its own and reads the JSON that it prints. */
async function program(
  name: string,
  args: readonly string[],
  flags: readonly string[] = [],
): Promise<unknown> {
  const file = fileURLToPath(new URL(`fixtures/${name}.ts`, import.meta.url))
  const all = ['--conditions=@agl/source', ...flags, file, ...args]
  const { stdout } = await promisify(execFile)(process.execPath, all)
  return JSON.parse(stdout)
}

describe('failures that a program does not handle', () => {
  it.each(COPIES)(
    'reach the process as often as without us: %s, version %i, %s',
    async (alias, _, format) => {
      const [without, traced] = await Promise.all([
        program('rejections', [alias, format, 'plain']),
        program('rejections', [alias, format, 'traced']),
      ])
      expect(without).toMatchObject({
        'not awaited': [expect.stringContaining('unhandled')],
        caught: [],
        'next of a stream': [expect.stringContaining('unhandled')],
        'caught late': [expect.stringContaining('unhandled'), 'handled later'],
      })
      expect(traced).toEqual(without)
    },
    60_000,
  )
})

describe('what a program drops', () => {
  it.each(['openai5', 'openai6', 'openai'])(
    'ends as abandoned while its trace stays open: %s',
    async (alias) => {
      const lines = await program('dropped', [alias], ['--expose-gc'])
      expect(Array.isArray(lines) ? lines.map(String).toSorted() : lines).toEqual([
        'openai.chat.completion abandoned',
        'openai.chat.completion abandoned',
        'openai.chat.completion abandoned',
        'openai.embedding abandoned',
        'openai.response abandoned',
      ])
    },
  )

  it.each(['openai5', 'openai6', 'openai'])(
    'is told from what it still waits for while garbage is collected: %s',
    async (alias) => {
      const lines = await program('waiting', [alias], ['--expose-gc'])
      expect(lines).toEqual({
        create: 'OK hi',
        parse: 'OK hi',
        'parse withResponse': 'OK hi',
        'one more promise': 'OK hi',
        'awaited late': 'OK hi',
        stream: 'OK hi there',
        'iterator alone': 'OK hi there',
        tee: 'OK hi there',
        toReadableStream: 'OK hi there',
        'stream helper': 'OK hi there',
      })
    },
    60_000,
  )

  it('leaves less than 5 MB after 10,000 aborted streams of one open trace', async () => {
    const result = await program('heap', ['10000'], ['--expose-gc'])
    expect(result).toEqual({ left: expect.any(Number), written: 15_000 })
    expect(Object(result).left).toBeLessThan(5_000_000)
  }, 120_000)
})
