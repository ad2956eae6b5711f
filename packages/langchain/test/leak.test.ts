import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'

const run = promisify(execFile)

describe('ten thousand calls of a kind leave no run open, and no more than 2 MB of heap', () => {
  it.each([
    ['errors', { OK: 10_000, ERROR: 20_000 }],
    ['aborts', { OK: 10_000, aborted: 20_000 }],
    ['broken-off streams', { OK: 10_000, cancelled: 30_000 }],
    ['abandoned generators', { OK: 10_000, ERROR: 20_000, abandoned: 10_000 }],
  ])(
    '%s',
    async (kind, ends) => {
      const program = fileURLToPath(new URL('fixtures/leak.ts', import.meta.url))
      const options = ['--expose-gc', '--conditions=@agl/source', program, kind, '10000']
      const { stdout } = await run(process.execPath, options)
      const found: { left: number; open: number } = JSON.parse(stdout)
      expect(found).toMatchObject({ open: 0, ends, late: 0 })
      expect(found.left).toBeLessThan(2_000_000)
    },
    180_000,
  )
})
