import { AglError } from '@agl/core'
import { Exporter, type ExporterOptions, type ExportState, FINISHED } from './exporter.ts'
import { FORMATS } from './formats.ts'
import { exclusively } from './lock.ts'
import { jsonLines, streamLines } from './output.ts'
import { ResumableFile } from './resumable.ts'
import { spanRowsOf } from './span-rows.ts'
import type { DatasetSource, ExportOptions, ExportProgress } from './types.ts'

/**
 * Writes the rollouts of a store as rows of a dataset, in order of their arrival. Holds a page of rollouts, the spans of
 * one of them and a few megabytes of rows in memory, however many there are.
 *
 * A file of lines may be exported to again, after a kill or because there is more: it is continued without losing or
 * repeating a rollout, and `FILE.progress` beside it keeps the place. A Parquet file is made anew, as `FILE.part`, and
 * takes its name when it is whole.
 *
 * @throws AglError `usage` for options that are not known or do not go together, for a file that is not of this export's
 * making, and while another export writes to it; `package_missing` where Parquet or OTLP needs a package that is not
 * installed
 */
export async function exportDataset(store: DatasetSource, options: ExportOptions): Promise<ExportProgress> {
  const { format, out = process.stdout, statusIn = FINISHED, minReward = null } = options
  if (!FORMATS.includes(format)) {
    throw new AglError(
      'usage',
      `The format "${String(format)}" is not known; known are: ${FORMATS.join(', ')}.`,
    )
  }
  if (minReward !== null && (typeof minReward !== 'number' || Number.isNaN(minReward)))
    throw new AglError('usage', 'minReward must be a number.')
  const named = typeof out === 'string' && /\.parquet$/i.test(out) ? 'parquet' : 'jsonl'
  const { container = named }: { container?: string } = options
  const fresh: ExportState = {
    format,
    statusIn,
    minReward,
    seen: 0,
    last: null,
    unfinished: [],
    lines: 0,
    failed: 0,
    rejected: 0,
  }
  const given: ExporterOptions = { ...options, spanRows: await spanRowsOf(format) }
  if (container === 'parquet') {
    const { exportParquet } = await import('./parquet-file.ts')
    return exportParquet(store, given, fresh, out)
  }
  if (container !== 'jsonl')
    throw new AglError('usage', `The container "${container}" is not known; known are: jsonl, parquet.`)
  if (typeof out !== 'string') return new Exporter(store, given, fresh, jsonLines(streamLines(out))).run()
  return exclusively(out, async () => {
    const file = await ResumableFile.open(out, fresh, (saved) => checkState(saved, fresh, store, out))
    try {
      return await new Exporter(store, given, file.state, jsonLines(file)).run()
    } finally {
      await file.close()
    }
  })
}

/** The saved state, where it is one of this export. */
async function checkState(
  saved: unknown,
  fresh: ExportState,
  store: DatasetSource,
  out: string,
): Promise<ExportState> {
  const state = isState(saved) ? saved : undefined
  if (state === undefined || describe(state) !== describe(fresh)) {
    const what = state === undefined ? 'something else' : describe(state)
    throw new AglError(
      'usage',
      `${out} holds ${what}; choose another file, or remove it and ${out}.progress to begin anew.`,
    )
  }
  if (state.seen === 0) return state
  const { items } = await store.queryRollouts({ limit: 1, offset: state.seen - 1 })
  if (items[0]?.rolloutId === state.last) return state
  throw new AglError(
    'usage',
    `${out} was exported from another store; choose another file, or remove it and ${out}.progress to begin anew.`,
  )
}

function describe({ format, statusIn, minReward }: ExportState): string {
  const which = minReward === null ? '' : ` with a reward of at least ${minReward}`
  return `${format} of rollouts that ${statusIn.join(' or ')}${which}`
}

function isState(value: unknown): value is ExportState {
  if (typeof value !== 'object' || value === null) return false
  const { format, statusIn, minReward, seen, unfinished, lines, failed, rejected }: Partial<ExportState> =
    value
  const counts: readonly unknown[] = [seen, lines, failed, rejected]
  return (
    FORMATS.some((known) => known === format) &&
    Array.isArray(statusIn) &&
    (minReward === null || typeof minReward === 'number') &&
    Array.isArray(unfinished) &&
    counts.every((count) => Number.isInteger(count))
  )
}
