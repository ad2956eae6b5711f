import type { Writable } from 'node:stream'
import type { Span } from '@agl/core'
import type { RolloutStatus, Store } from '@agl/store'
import type { AdapterOptions } from '../warn.ts'
import type { DatasetFormat } from './formats.ts'

/** What holds the rows: JSON lines, or a Parquet file. */
export type DatasetContainer = 'jsonl' | 'parquet'

/** How far an export is; of a file of lines, over all runs that made it. */
export interface ExportProgress {
  /** Rollouts that are dealt with, and those that the store has. */
  rollouts: number
  total: number
  /** Of these, the ones that an earlier export to the same file had dealt with, and this one passes over. */
  earlier: number
  /** Rows written. */
  lines: number
  /** Rollouts that the adapter refused, or of which OTLP cannot say all spans; see `onFailure`. */
  failed: number
  /** Rollouts whose final reward is below `minReward`, or that have none. */
  rejected: number
  /** Rollouts that had not ended; they are looked at again when the export to this file is repeated. */
  unfinished: number
}

/** What an export needs of a store. */
export type DatasetSource = Pick<Store, 'queryRollouts' | 'getRollout' | 'querySpans'>

export interface ExportOptions extends AdapterOptions {
  format: DatasetFormat
  /** @default 'parquet' for a file whose name ends so, else 'jsonl' */
  container?: DatasetContainer
  /** A file or a stream. A file of lines is continued where an earlier export to it stopped. @default process.stdout */
  out?: string | Writable
  /** Makes the rows of a rollout in place of the format's own adapter. */
  adapter?: (spans: readonly Span[]) => readonly object[]
  /** Which rollouts. @default ['succeeded', 'failed', 'cancelled'] */
  statusIn?: readonly RolloutStatus[]
  /** Only rollouts whose last reward is at least this. */
  minReward?: number
  /** Called about twice a second, and at the end. */
  onProgress?: (progress: ExportProgress) => void
  /**
   * Called for each rollout that the adapter refuses, and for one of which OTLP cannot say all spans; the others are
   * exported all the same.
   */
  onFailure?: (rolloutId: string, error: unknown) => void
}

/** Makes rows of a few spans of one rollout. A text is a line as it is. */
export type SpanRows = (
  spans: readonly Span[],
  refuse: (spanId: string, reason: string) => void,
) => Iterable<object | string>
