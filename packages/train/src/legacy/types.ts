import type { NamedResources, RolloutMode } from '@agl/store'

/** A task of a legacy server. Times are Unix seconds. */
export interface LegacyTask {
  rolloutId: string
  input: unknown
  mode: RolloutMode | null
  /** The resources to use; null for the latest. */
  resourcesId: string | null
  createTime: number | null
  lastClaimTime: number | null
  /** How often it was given out: more than once where nobody answered in time. */
  numClaims: number | null
  metadata: Record<string, unknown>
}

/** What came of a task. */
export interface LegacyRollout {
  rolloutId: string
  task?: LegacyTask
  finalReward?: number
  triplets?: readonly LegacyTriplet[]
  /** Spans as OpenTelemetry's Python SDK writes them. */
  trace?: readonly Record<string, unknown>[]
  logs?: readonly string[]
  metadata?: Record<string, unknown>
}

export interface LegacyTriplet {
  prompt: unknown
  response: unknown
  reward?: number | null
  metadata?: object
}

/** Servers before version 0.3 say nothing of times and version. */
export interface LegacyResources {
  resourcesId: string
  resources: NamedResources
  createTime?: number
  updateTime?: number
  version?: number
}
