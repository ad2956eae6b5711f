import type { Rollout } from '@agl/store'
import type { Span } from '@agl/core'
import { type RewardReader, count, isModelCall, text, tokens, totals } from './spans.ts'
import { duration, number, oneLine, type Paint, width } from './text.ts'

export interface TreeOptions {
  rewardsOf: RewardReader
  /** Columns of the terminal; longer lines are cut. */
  columns: number
  paint: Paint
}

interface Node {
  span: Span
  children: Node[]
  /** Tools that the answer of a model call asks for; folded into its line. */
  asked: Span[]
}

/** A trace as lines of text: a head and the tree of its spans. */
export function renderTrace(rollout: Rollout, spans: readonly Span[], options: TreeOptions): string[] {
  const { roots, orphans } = treeOf(spans)
  const lines = head(rollout, spans, options)
  for (const root of roots) lines.push(...branch(root, '', '', options))
  if (orphans.length > 0) {
    lines.push(options.paint('yellow', oneLine(`(${ending(rollout)})`, options.columns)))
    lines.push(...branches(orphans, '', options))
  }
  if (spans.length === 0) lines.push(options.paint('dim', '(no spans)'))
  return lines
}

/** Without their root: it is written last, so it is missing while a program runs and after one was killed. */
function ending(rollout: Rollout): string {
  return rollout.endTime === null
    ? 'unfinished: the program is still running or was killed'
    : 'the span around these is not in the store'
}

function head(
  rollout: Rollout,
  spans: readonly Span[],
  { rewardsOf, columns, paint }: TreeOptions,
): string[] {
  const sum = totals(spans, rewardsOf)
  const { status, endTime, startTime, rolloutId, attempt } = rollout
  const facts = [
    endTime === null ? 'unfinished' : status,
    endTime === null ? undefined : duration(endTime - startTime),
    sum.calls === 0 ? undefined : `${sum.calls} model ${sum.calls === 1 ? 'call' : 'calls'}`,
    tokens(sum.tokensIn, sum.tokensOut),
    sum.reward === undefined ? undefined : `reward ${number(sum.reward)}`,
    attempt !== undefined && attempt.sequenceId > 1 ? `attempt ${attempt.sequenceId}` : undefined,
  ].filter((fact) => fact !== undefined)
  const name = oneLine(nameOf(rollout, spans), Math.max(10, columns - width(rolloutId) - 2))
  return [`${paint('bold', name)}  ${paint('dim', rolloutId)}`, oneLine(facts.join(', '), columns), '']
}

export function nameOf(rollout: Rollout, spans: readonly Span[]): string {
  const name = rollout.metadata?.['name']
  if (typeof name === 'string') return name
  const root = spans.find((span) => span.attributes['agentops.span.kind'] === 'session')
  return root?.name.replace(/\.session$/, '') ?? '(no name)'
}

/** Parents with their children, in the order in which they began. Spans whose parent is not there are `orphans`. */
function treeOf(spans: readonly Span[]): { roots: Node[]; orphans: Node[] } {
  const ordered = spans.toSorted((a, b) => a.startTime - b.startTime || a.sequenceId - b.sequenceId)
  const nodes = new Map<string, Node>(ordered.map((span) => [span.spanId, { span, children: [], asked: [] }]))
  const roots: Node[] = []
  const orphans: Node[] = []
  for (const node of nodes.values()) {
    const { parentId } = node.span
    const parent = parentId === null || inCycle(node, nodes) ? undefined : nodes.get(parentId)
    if (parent === undefined) (parentId === null ? roots : orphans).push(node)
    else if (isAsked(node.span)) parent.asked.push(node.span)
    else parent.children.push(node)
  }
  return { roots, orphans }
}

/** Only spans from elsewhere can be their own ancestors; they must not hang the command. */
function inCycle(node: Node, nodes: ReadonlyMap<string, Node>): boolean {
  const seen = new Set<string>()
  for (let id = node.span.parentId; id !== null && !seen.has(id); id = nodes.get(id)?.span.parentId ?? null) {
    if (id === node.span.spanId) return true
    seen.add(id)
  }
  return false
}

/** The zero-length span that stands for a tool call in a model's answer. */
function isAsked({ name, startTime, endTime }: Span): boolean {
  return name.startsWith('tool_call.') && startTime === endTime
}

function branches(nodes: readonly Node[], indent: string, options: TreeOptions): string[] {
  return nodes.flatMap((node, index) => {
    const last = index === nodes.length - 1
    return branch(node, indent + (last ? '└─ ' : '├─ '), indent + (last ? '   ' : '│  '), options)
  })
}

function branch(node: Node, first: string, rest: string, options: TreeOptions): string[] {
  return [line(node, first, options), ...branches(node.children, rest, options)]
}

/** `name  facts  what was said`; the last part takes what room is left. */
function line({ span, asked }: Node, indent: string, { rewardsOf, columns, paint }: TreeOptions): string {
  const failed = span.status.statusCode === 'ERROR'
  const name = oneLine(span.name, Math.max(8, Math.floor(columns / 2)))
  const rewards = rewardsOf(span).map((reward, index) =>
    index === 0 ? `reward ${number(reward.value)}` : `${oneLine(reward.name, 30)} ${number(reward.value)}`,
  )
  const instant = span.endTime <= span.startTime
  const all = [instant ? undefined : duration(span.endTime - span.startTime), ...callFacts(span), ...rewards]
  const facts = oneLine(
    all.filter((fact) => fact !== undefined).join(', '),
    columns - width(indent) - width(name) - 2,
  )
  const room = columns - width(indent) - width(name) - width(facts) - 4
  const told = said(span, asked)
  const detail = failed ? `✗ ${failure(span)}${told === undefined ? '' : ` (${told})`}` : told
  const shown = detail === undefined || room < 4 ? '' : oneLine(detail, room)
  return [
    paint('dim', indent) + paint(failed ? 'red' : 'cyan', name),
    rewards.length > 0 ? paint('green', facts) : facts,
    paint(failed ? 'red' : 'dim', shown),
  ]
    .filter((part) => part !== '' && !isBlank(part))
    .join('  ')
}

function isBlank(part: string): boolean {
  return part.trim() === ''
}

function callFacts(span: Span): (string | undefined)[] {
  if (!isModelCall(span)) return []
  const { attributes } = span
  const model = text(span, 'gen_ai.response.model') ?? text(span, 'gen_ai.request.model')
  return [
    model === undefined ? undefined : oneLine(model, 40),
    tokens(count(span, 'gen_ai.usage.prompt_tokens'), count(span, 'gen_ai.usage.completion_tokens')),
    choices(attributes),
    exactness(attributes),
    text(span, 'agl.finish'),
  ]
}

/** The first answer is shown; more than that one are at least counted. */
function choices(attributes: Span['attributes']): string | undefined {
  const indices = Object.keys(attributes).flatMap(
    (key) => /^gen_ai\.completion\.(\d+)\./.exec(key)?.[1] ?? [],
  )
  const { size } = new Set(indices)
  return size > 1 ? `${size} choices` : undefined
}

/** What a trainer needs: the ids as the server gave them, and the log probabilities. */
function exactness(attributes: Span['attributes']): string | undefined {
  const ids = 'response_token_ids' in attributes && 'prompt_token_ids' in attributes
  const marks = [
    ids ? 'ids' : undefined,
    'logprobs.content' in attributes ? 'logprobs' : undefined,
    'agl.partial.response_token_ids' in attributes ? 'ids with a gap' : undefined,
    attributes['agl.tokens.complete'] === false ? 'incomplete' : undefined,
  ].filter((mark) => mark !== undefined)
  return marks.length === 0 ? undefined : `[${marks.join(' + ')}]`
}

function failure(span: Span): string {
  return span.status.description ?? text(span, 'exception.message') ?? 'failed'
}

/** What a model answered, a tool was given and gave back, or an emitter said. */
function said(span: Span, asked: readonly Span[]): string | undefined {
  if (asked.length > 0) return asked.map((call) => toolCall(call)).join('; ')
  const result = text(span, 'tool.result')
  if ('tool.name' in span.attributes)
    return toolCall(span) + (result === undefined ? '' : ` → ${start(result)}`)
  return (
    text(span, 'gen_ai.completion.0.content') ??
    text(span, 'gen_ai.completion.0.refusal') ??
    text(span, 'agentlightning.message.body') ??
    text(span, 'agentlightning.object.json') ??
    text(span, 'agentlightning.object.literal') ??
    text(span, 'agentlightning.operation.name')
  )
}

function toolCall(span: Span): string {
  return `${start(text(span, 'tool.name') ?? 'tool')}(${start(text(span, 'tool.parameters') ?? '')})`
}

/** Enough of a text for any terminal's line. */
function start(value: string): string {
  return value.length > 500 ? `${value.slice(0, 500)}…` : value
}
