// Configuration and the running tracer
export { defineConfig, definePlugin, ensurePlugin, start } from './lightning.ts'
export type { Lightning } from './lightning.ts'
export { activeTrace, openTrace, record, trace } from './trace.ts'
export type { Outcome } from './trace.ts'
export { lightningSpanProcessor } from './otel.ts'
export type { LightningSpanProcessor } from './otel.ts'
export { AglError } from './errors.ts'
export type { AglErrorCode } from './errors.ts'

// Emitters and readers
export { emitAnnotation, emitException, emitMessage, emitObject, emitReward, operation } from './emit.ts'
export type { EmitOptions, OperationOptions } from './emit.ts'
export {
  findFinalReward,
  findRewards,
  getMessageValue,
  getObjectValue,
  getRewardsFromSpan,
  getRewardValue,
  isRewardSpan,
} from './reward.ts'
export type { Reward } from './reward.ts'

// The record
export { spanFromJSON, spanToJSON } from './span.ts'
export type { SpanJSON } from './span.ts'
export { useClockAndIds } from './context.ts'
export type * from './types.ts'
export type * from './activity-types.ts'
