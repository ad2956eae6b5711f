import type { Span } from '@agl/core'
import type { Rollout } from '@agl/store'
import { type RewardReader, totals, type Totals } from './spans.ts'
import { duration, number, oneLine, table } from './text.ts'
import { nameOf } from './tree.ts'

/** One line of the list. Times are Unix seconds. */
export interface TraceSummary extends Totals {
  id: string
  name: string
  startTime: number
  /** Seconds; undefined for a trace that has not ended. */
  duration: number | undefined
  status: string
}

export function summarize(rollout: Rollout, spans: readonly Span[], rewardsOf: RewardReader): TraceSummary {
  const { rolloutId: id, startTime, endTime, status } = rollout
  return {
    id,
    name: nameOf(rollout, spans),
    startTime,
    duration: endTime === null ? undefined : endTime - startTime,
    // A killed program cannot say that it ended, so what looks like running may not be.
    status: endTime === null && status === 'running' ? 'unfinished' : status,
    ...totals(spans, rewardsOf),
  }
}

export function renderList(traces: readonly TraceSummary[]): string[] {
  const rows = traces.map((trace) => [
    trace.id,
    oneLine(trace.name, 32),
    when(trace.startTime),
    trace.duration === undefined ? '' : duration(trace.duration),
    trace.status,
    String(trace.spans),
    trace.tokensIn === undefined ? '' : String(trace.tokensIn),
    trace.tokensOut === undefined ? '' : String(trace.tokensOut),
    trace.reward === undefined ? '' : number(trace.reward),
  ])
  const titles = ['ID', 'NAME', 'STARTED', 'TOOK', 'STATUS', 'SPANS', 'IN', 'OUT', 'REWARD']
  return table([titles, ...rows], [3, 5, 6, 7, 8])
}

/** Local time, as `2026-11-23 14:05:09`. */
function when(seconds: number): string {
  return new Date(seconds * 1000).toLocaleString('sv-SE')
}
