import type { ActivityKind, ActivityStart, LlmStart } from '@agl/core'
import { describe } from './describe.ts'
import { defined, fields, list, text, type Fields } from './guards.ts'
import { messageOf, requestOf, toolsOf } from './messages.ts'
import { calledTool, currentStream, type Run } from './runs.ts'

/* What LangChain tells a tracer when a run begins becomes an activity's start here, by position, as it is told. */

/** What all of LangChain's `_createRunFor…Start` tell. */
export interface RunStart {
  id: string
  parentId: unknown
  tags: readonly unknown[]
  metadata: Fields
  serialized: Fields
  name: string | undefined
  /** Whether content may be recorded. */
  content: boolean
}

/** What a handler opens for a run. */
export interface Described {
  kind: ActivityKind
  start: ActivityStart[ActivityKind]
  isGraph?: boolean
}

/** LangGraph's mark for runs that are its own plumbing. */
const HIDDEN = 'langsmith:hidden'

export function isHidden({ tags }: RunStart): boolean {
  return tags.includes(HIDDEN)
}

export function runStart(
  serialized: unknown,
  id: unknown,
  parentId: unknown,
  tags: unknown,
  metadata: unknown,
  name: unknown,
): RunStart {
  return {
    id: String(id),
    parentId,
    tags: list(tags),
    metadata: fields(metadata),
    serialized: fields(serialized),
    name: text(name),
    content: true,
  }
}

/** The class that a run is of, such as `RunnableSequence`. */
function classOf({ serialized }: RunStart): string | undefined {
  return text(list(serialized['id']).at(-1)) ?? text(serialized['name'])
}

export function chainStart(run: RunStart, input: unknown, parent: Run | undefined): Described {
  const ids = list(run.serialized['id'])
  const isGraph = ids[0] === 'langgraph' && ids[1] === 'pregel'
  const runName = run.name ?? classOf(run) ?? 'Runnable'
  // LangGraph runs graphs as streams. A name that is given for one run only tells nothing of the agent.
  const stream = isGraph ? currentStream() : undefined
  const ownName = stream === undefined ? runName : stream.name
  // A graph that has a name is an agent, as in LangGraph's own ways to have several; workflows of functions are none.
  const isNamed = isGraph && ownName !== undefined && ownName !== 'LangGraph' && ids[2] !== 'Pregel'
  const name = isNamed ? ownName : runName
  const attributes = attributesOf(run)
  // Where a graph is no agent, its nodes are: that is how trainers tell agents apart.
  if (parent?.isGraph === true && parent.kind !== 'agent' && run.metadata['langgraph_node'] === name)
    attributes['langchain.chain.type'] = name
  const start =
    input === undefined || !run.content ? { name, attributes } : { name, input: describe(input), attributes }
  if (!isGraph) return { kind: classOf(run) === 'AgentExecutor' ? 'agent' : 'chain', start }
  const isAgent = isNamed || run.metadata['ls_integration'] === 'langchain_create_agent'
  return { kind: isAgent ? 'agent' : 'workflow', start, isGraph }
}

export function chatStart(run: RunStart, messages: unknown, extra: unknown): Described {
  const told = list(list(messages)[0]).map((message) => messageOf(message))
  return { kind: 'llm', start: llmStart(run, 'chat', told, extra) }
}

export function completionStart(run: RunStart, prompts: unknown, extra: unknown): Described {
  const told = [{ role: 'user', content: list(prompts)[0] }]
  return { kind: 'llm', start: llmStart(run, 'completion', told, extra) }
}

function llmStart(
  run: RunStart,
  operation: LlmStart['operation'],
  messages: NonNullable<LlmStart['messages']>,
  extra: unknown,
): LlmStart {
  const params = fields(fields(extra)['invocation_params'])
  const tools = toolsOf(params)
  const attributes = attributesOf(run)
  attributes['langchain.name'] = run.name ?? classOf(run)
  return defined<LlmStart>({
    operation,
    provider: text(run.metadata['ls_provider']) ?? classOf(run) ?? 'langchain',
    request: requestOf(params, run.metadata),
    messages,
    tools: tools.length > 0 ? tools : undefined,
    attributes,
  })
}

export function toolStart(run: RunStart, input: unknown, callId: unknown): Described {
  const start = defined<ActivityStart['tool']>({
    name: run.name ?? calledTool() ?? classOf(run) ?? 'tool',
    callId: text(callId),
    type: text(callId) === undefined ? undefined : 'function',
    parameters: run.content ? describe(input) : undefined,
    attributes: attributesOf(run),
  })
  return { kind: 'tool', start }
}

export function retrieverStart(run: RunStart, query: unknown): Described {
  const name = run.name ?? classOf(run) ?? 'retriever'
  const attributes = attributesOf(run)
  return { kind: 'retriever', start: { name, input: run.content ? describe(query) : '', attributes } }
}

/** Tags that LangChain and LangGraph give by themselves and that only repeat where in the tree a run is. */
const OWN_TAG = /^(seq:step|map:key|graph:step|langsmith):/
const OWN_METADATA = /^(langgraph_(?!node$|step$)|ls_|lc_|__|checkpoint_|versions$)/

const metadataKeys = new Map<string, string>()

/** The attribute for a key of metadata; empty for those that LangChain adds by itself. */
function metadataKey(key: string): string {
  const known = metadataKeys.get(key)
  if (known !== undefined) return known
  const name = OWN_METADATA.test(key) ? '' : `langchain.metadata.${key}`
  if (metadataKeys.size < 1000) metadataKeys.set(key, name)
  return name
}

function attributesOf({ id, tags, metadata, content }: RunStart): Fields {
  const attributes: Fields = { 'langchain.run_id': id }
  const own = tags.filter((tag) => typeof tag === 'string' && !OWN_TAG.test(tag))
  if (own.length > 0) attributes['langchain.tags'] = own
  for (const key in metadata) {
    const name = metadataKey(key)
    if (name === '' || (!content && !key.startsWith('langgraph_'))) continue
    const value = metadata[key]
    const isScalar = typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
    attributes[name] = isScalar ? value : describe(value)
  }
  return attributes
}
