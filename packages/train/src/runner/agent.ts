import { AglError, type Span, type SpanCore } from '@agl/core'
import type { AttemptedRollout, NamedResources, PromptTemplateResource } from '@agl/store'
import { firstLLM, firstPromptTemplate, type LLM } from './resources.ts'

/** What an agent may use beside its task. */
export interface RolloutContext {
  rollout: AttemptedRollout
  /** All resources of this rollout, by name. */
  resources: NamedResources
  /** Aborts when the runner gives the attempt up: it was stopped, the attempt took too long, or the rollout was cancelled. */
  signal: AbortSignal
}

/**
 * What an agent may return: nothing, where its spans say all; its final reward; or spans that it made itself, whole ones or
 * such as still lack their ids. Anything else fails the attempt.
 */
export type RolloutResult = void | null | undefined | number | boolean | readonly (Span | SpanCore)[]

type Result = RolloutResult | Promise<RolloutResult>

/** An agent that a `Runner` can run; still callable as the function that it was made of. */
export interface RolloutAgent<Task = unknown> {
  /** Called with the rollout's input and everything that the agent may need. */
  runRollout(task: Task, context: RolloutContext): Result
}

export type RolloutFunction<Task, Rest extends unknown[]> = ((task: Task, ...rest: Rest) => Result) &
  RolloutAgent<Task>

function agentOf<Task, Rest extends unknown[]>(
  fn: (task: Task, ...rest: Rest) => Result,
  inject: (context: RolloutContext) => Rest,
): RolloutFunction<Task, Rest> {
  const called = (task: Task, ...rest: Rest): Result => fn(task, ...rest)
  return Object.assign(called, {
    runRollout: (task: Task, context: RolloutContext) => fn(task, ...inject(context)),
  })
}

/** Makes an agent of a function that takes the task, and the context if it wants it. */
export function rollout<Task = unknown>(
  fn: (task: Task, context: RolloutContext) => Result,
): RolloutFunction<Task, [RolloutContext]> {
  return agentOf(fn, (context) => [context])
}

/** Makes an agent of a function that calls the model that is being trained: the first one among the rollout's resources. */
export function llmRollout<Task = unknown>(
  fn: (task: Task, llm: LLM, context: RolloutContext) => Result,
): RolloutFunction<Task, [LLM, RolloutContext]> {
  return agentOf(fn, (context) => {
    const llm = firstLLM(context.resources, context.rollout)
    if (llm === undefined) throw missing('llm or proxy_llm')
    return [llm, context]
  })
}

/** Makes an agent of a function that uses the prompt that is being tuned: the first template among the rollout's resources. */
export function promptRollout<Task = unknown>(
  fn: (task: Task, template: PromptTemplateResource, context: RolloutContext) => Result,
): RolloutFunction<Task, [PromptTemplateResource, RolloutContext]> {
  return agentOf(fn, (context) => {
    const template = firstPromptTemplate(context.resources)
    if (template === undefined) throw missing('prompt_template')
    return [template, context]
  })
}

function missing(type: string): AglError {
  return new AglError(
    'not_found',
    `The rollout has no resource of type ${type}; add one with store.addResources before the rollout is queued.`,
  )
}
