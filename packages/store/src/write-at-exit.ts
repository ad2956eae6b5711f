import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { AglError, type Span, type TraceRecord, spanToJSON } from '@agl/core'
import type { LastWords } from './last-words.ts'
import type { Opening } from './opened.ts'

/** Milliseconds that the end of a program may take longer for it. */
const TIMEOUT = 10_000

/**
 * Writes to a store over the network when nothing asynchronous runs any more: another process does it meanwhile.
 *
 * @throws AglError store_unavailable
 */
export function writeAtExit(
  { url, options }: Opening,
  spans: readonly Span[],
  traces: readonly TraceRecord[],
): void {
  const words: LastWords = { url, options, spans: spans.map(spanToJSON), traces: [...traces] }
  const isSource = import.meta.url.endsWith('.ts')
  const program = new URL(isSource ? './last-words.ts' : './last-words.js', import.meta.url)
  const { status, error, stderr } = spawnSync(
    process.execPath,
    [...(isSource ? ['--conditions=@agl/source'] : []), fileURLToPath(program)],
    {
      input: JSON.stringify(words),
      timeout: TIMEOUT,
      encoding: 'utf8',
      // The program's own preloads are not for us.
      env: { ...process.env, NODE_OPTIONS: '', NODE_NO_WARNINGS: '1' },
    },
  )
  if (status === 0) return
  const [, reason = error?.message ?? 'it was not ready in time'] =
    /^AglError: (.*)$/m.exec(stderr ?? '') ?? []
  throw new AglError('store_unavailable', `The store did not take the last spans: ${reason}`, {
    cause: error,
  })
}
