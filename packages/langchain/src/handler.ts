import type { Activity } from '@agl/core'
import { describe } from './describe.ts'
import { fields, isFields, list, text } from './guards.ts'
import { isMessage, llmDataOf } from './messages.ts'
import { recorder, tagsWith } from './recorder.ts'
import { activityBelow, began, ended, runOf, type Run } from './runs.ts'
import {
  chainStart,
  chatStart,
  completionStart,
  isHidden,
  retrieverStart,
  runStart,
  toolStart,
  type Described,
  type RunStart,
} from './starts.ts'

/** Whether a handler is one of this package, whichever copy of it. */
export function isOurs(handler: unknown): boolean {
  return isFields(handler) && handler['name'] === NAME
}

const NAME = 'agl_handler'

/**
 * A callback handler for LangChain, made of none of its classes. It learns of starts by the methods that LangChain keeps
 * for tracers, since those are called at once and in the context of who asked for the run; of ends by the usual callbacks.
 * However many handlers are told of a run, it is recorded once.
 */
export class LangChainHandler {
  readonly name: string = NAME
  readonly lc_serializable = false
  readonly raiseError = false
  /** Otherwise LangChain would tell of ends later, from a queue. */
  readonly awaitHandlers = true
  readonly ignoreLLM = false
  readonly ignoreChain = false
  readonly ignoreAgent = false
  readonly ignoreRetriever = false
  readonly ignoreCustomEvent = true
  readonly #tags: readonly string[]

  constructor(tags: readonly string[] = []) {
    this.#tags = tags
  }

  copy(): this {
    return this
  }

  toJSON(): object {
    return { lc: 1, type: 'not_implemented', id: ['agl', 'langchain', 'LangChainHandler'] }
  }

  /** What makes a handler a tracer to LangChain. */
  _addRunToRunMap(): void {}

  _createRunForChainStart(...args: unknown[]): void {
    const [serialized, input, id, parentId, tags, metadata, , runName, extra] = args
    const deferred = fields(extra)['lc_defers_inputs'] === true
    this.#open(runStart(serialized, id, parentId, tags, metadata, runName), (run, parent) =>
      chainStart(run, deferred ? undefined : input, parent),
    )
  }

  _createRunForChatModelStart(...args: unknown[]): void {
    const [serialized, messages, id, parentId, extra, tags, metadata, runName] = args
    this.#open(runStart(serialized, id, parentId, tags, metadata, runName), (run) =>
      chatStart(run, messages, extra),
    )
  }

  _createRunForLLMStart(...args: unknown[]): void {
    const [serialized, prompts, id, parentId, extra, tags, metadata, runName] = args
    this.#open(runStart(serialized, id, parentId, tags, metadata, runName), (run) =>
      completionStart(run, prompts, extra),
    )
  }

  _createRunForToolStart(...args: unknown[]): void {
    const [serialized, input, id, parentId, tags, metadata, runName, callId] = args
    this.#open(runStart(serialized, id, parentId, tags, metadata, runName), (run) =>
      toolStart(run, input, callId),
    )
  }

  _createRunForRetrieverStart(...args: unknown[]): void {
    const [serialized, query, id, parentId, tags, metadata, runName] = args
    this.#open(runStart(serialized, id, parentId, tags, metadata, runName), (run) =>
      retrieverStart(run, query),
    )
  }

  handleChainEnd(output: unknown, id: string, ...rest: unknown[]): void {
    close(id, (activity, run) => {
      lateInput(activity, run, rest[2])
      activity.end({ output: describe(output) })
    })
  }

  handleToolEnd(output: unknown, id: string): void {
    close(id, (activity) =>
      activity.end({ result: describe(isMessage(output) ? output['content'] : output) }),
    )
  }

  handleRetrieverEnd(documents: unknown, id: string): void {
    close(id, (activity) => activity.end({ output: describe(documents) }))
  }

  handleLLMEnd(result: unknown, id: string, ...rest: unknown[]): void {
    close(id, (activity, run) => {
      if (run.isOurs) withoutIds(result, run)
      // No model was asked.
      if (fields(rest[2])['cached'] === true) activity.update({ attributes: { 'langchain.cached': true } })
      activity.end(llmDataOf(result))
    })
  }

  handleChainError(error: unknown, id: string, ...rest: unknown[]): void {
    close(id, (activity, run) => {
      lateInput(activity, run, rest[2])
      fail(activity, error)
    })
  }

  readonly handleToolError: typeof failed = failed
  readonly handleRetrieverError: typeof failed = failed
  readonly handleLLMError: typeof failed = failed

  #open(start: RunStart, describeStart: (run: RunStart, parent: Run | undefined) => Described): void {
    const api = recorder()
    if (api === undefined) return
    try {
      const known = runOf(start.id)
      if (known !== undefined) return tag(known, this.#tags)
      const parent = runOf(start.parentId)
      if (isHidden(start)) return began(start.id, parent, undefined, undefined, false, [])
      const above = activityBelow(parent)
      if (above === undefined && !api.recording()) return
      start.content = api.capture.content
      const described = describeStart(start, parent)
      const { kind, isGraph = false } = described
      const tags = tagsWith(this.#tags)
      for (let i = 0; i < tags.length; i++)
        (described.start.attributes ??= {})[`agentlightning.tag.${i}`] = tags[i]
      const activity: Activity = api.activity(kind, described.start, above)
      if (!activity.ended) began(start.id, parent, activity, kind, isGraph, tags)
    } catch (error) {
      api.log.once('A run could not be recorded; it goes on without.', error)
    }
  }
}

/** Another handler is told of a run that is being recorded: its tags come on top. */
function tag(run: Run, tags: readonly string[]): void {
  const more = tags.filter((name) => !run.tags.includes(name))
  if (more.length === 0) return
  run.tags = [...run.tags, ...more]
  const attributes = Object.fromEntries(run.tags.map((name, i) => [`agentlightning.tag.${i}`, name]))
  run.activity?.update({ attributes })
}

function close(id: unknown, end: (activity: Activity, run: Run) => void): void {
  const run = ended(id)
  if (run?.activity === undefined) return
  try {
    end(run.activity, run)
  } catch (error) {
    run.activity.end()
    recorder()?.log.once('What a run came to could not be recorded.', error)
  }
}

/** In streams, the input is only known at the end. */
function lateInput(activity: Activity, run: Run, told: unknown): void {
  const { inputs } = fields(told)
  if (inputs === undefined || recorder()?.capture.content === false) return
  const input = describe(inputs)
  if (input !== undefined) activity.update({ attributes: { [`agentops.${run.kind}.input`]: input } })
}

function failed(error: unknown, id: string): void {
  close(id, (activity) => fail(activity, error))
}

function fail(activity: Activity, error: unknown): void {
  const { name, message, is_bubble_up: isBubbleUp } = fields(error)
  // By these LangGraph leaves a node to wait for a person, or to go on in the graph around it.
  if (isBubbleUp === true)
    activity.end({ attributes: { 'langgraph.left_by': text(name) ?? 'GraphBubbleUp' } })
  else if (isAbort(name, message)) activity.end({ finish: 'aborted' })
  else activity.fail(error)
}

/** LangChain 0.3, LangGraph and ChatOpenAI's streams throw plain errors where a signal went off. */
function isAbort(name: unknown, message: unknown): boolean {
  if (name === 'AbortError' || name === 'ModelAbortError') return true
  return name === 'Error' && (message === 'Aborted' || message === 'Abort' || message === 'AbortError')
}

/**
 * LangChain names messages without an id after their run, where there is one. Messages of a run that is none to the
 * program stay as they are without us.
 */
function withoutIds(result: unknown, run: Run): void {
  for (const generation of list(list(fields(result)['generations'])[0])) {
    const { message } = fields(generation)
    if (!isFields(message) || message['id'] !== `run-${run.id}`) continue
    message['id'] = undefined
    delete fields(message['lc_kwargs'])['id']
  }
}
