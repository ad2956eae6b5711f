import type { Lightning, Span } from '@agl/core'
import type { AttemptedRollout, Store } from '@agl/store'

export interface HookContext {
  rollout: AttemptedRollout
  store: Store
  lightning: Lightning
}

/**
 * Called around each attempt, in this order. What they throw is told and changes nothing; one that works on after the
 * attempt was given up is waited for as long as the agent, for a second.
 */
export interface Hooks {
  onRolloutStart?(context: HookContext): void | Promise<void>
  /** Inside the trace, before the agent: what is recorded here belongs to the attempt. */
  onTraceStart?(context: HookContext): void | Promise<void>
  /** Inside the trace, after an agent that returned. */
  onTraceEnd?(context: HookContext): void | Promise<void>
  /** Before the attempt's end is reported, whatever it is. */
  onRolloutEnd?(context: HookContext & { spans: readonly Span[] }): void | Promise<void>
}
