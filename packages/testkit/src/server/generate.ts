import { callSegments, type Segment } from './template.ts'
import { decodeBytes, type Token, type Tokenizer } from './tokenizer.ts'
import type { ChoiceReply, ReplyToolCall } from './types.ts'

/** Which part of the answer a token spells; `control` ones (markers, a call's JSON around its arguments) spell none. */
type Part =
  | { kind: 'control' }
  | { kind: 'text' | 'reasoning' | 'refusal' }
  | { kind: 'call' | 'arguments'; call: number }

/** What a parser makes of a token. No field: nothing to show. A text of `''` is half a character. */
interface Delta {
  text?: string
  reasoning?: string
  refusal?: string
  /** A call begins. */
  call?: number
  /** A piece of a call's arguments. */
  arguments?: { call: number; text: string }
}

/** One step of the model: a token, and what shows of the answer by then. */
export interface Step {
  /** Counts the choice's tokens from 0. */
  position: number
  token: Token
  delta: Delta
}

interface ToolCall {
  id: string
  name: string
  arguments: string
}

/** One choice, decoded: ids are what the model said, the rest is what a parser leaves of it. */
export interface Generation {
  steps: readonly Step[]
  ids: readonly number[]
  text: string
  reasoning: string
  refusal: string
  calls: readonly ToolCall[]
  reasoningTokens: number
  finish: string
  stopReason: string | number | null
  /** Log probability by position, where the reply gave them. */
  logprobs: readonly number[]
}

export interface GenerateOptions {
  /** Tokens at most; the rest is cut off and the finish is `length`. */
  maxTokens: number | undefined
  interleave: boolean
  /** Without a parser (`/v1/completions`) all that is no special token is text. */
  parse: boolean
  /** Names the calls that have no id. */
  nextCallId: () => string
}

/** Tokenises a reply as thoughts, text, refusal, tool calls and the end token, in that order. */
export function generate(reply: ChoiceReply, tokenizer: Tokenizer, options: GenerateOptions): Generation {
  const calls = (reply.toolCalls ?? []).map((call) => readCall(call, options.nextCallId))
  const parts = options.parse ? spell(reply, calls) : unparsed(spell(reply, calls))
  const tokens: { token: Token; part: Part }[] = []
  for (const [segment, part] of parts) {
    const ids = typeof segment === 'string' ? tokenizer.encode(segment) : [tokenizer.special(segment.special)]
    for (const id of ids) tokens.push({ token: tokenizer.token(id), part })
  }
  const cut = options.maxTokens !== undefined && options.maxTokens < tokens.length
  if (cut) tokens.length = Math.max(0, options.maxTokens ?? 0)

  const deltas = decodeParts(tokens)
  const shown = join(deltas, calls)
  const order = options.interleave ? interleaved(deltas) : deltas
  return {
    steps: tokens.map(({ token }, position) => ({ position, token, delta: order[position] ?? {} })),
    ids: tokens.map(({ token }) => token.id),
    ...shown,
    reasoningTokens: tokens.filter(({ part }) => part.kind === 'reasoning').length,
    finish: cut ? 'length' : (reply.finish ?? (shown.calls.length > 0 ? 'tool_calls' : 'stop')),
    stopReason: cut ? null : (reply.stopReason ?? null),
    logprobs: reply.logprobs ?? [],
  }
}

function readCall(call: ReplyToolCall, nextCallId: () => string): ToolCall {
  const args = typeof call.arguments === 'string' ? call.arguments : JSON.stringify(call.arguments)
  return { id: call.id ?? nextCallId(), name: call.name, arguments: args }
}

function spell(reply: ChoiceReply, calls: readonly ToolCall[]): [Segment, Part][] {
  const control: Part = { kind: 'control' }
  const parts: [Segment, Part][] = []
  if (reply.reasoning !== undefined) {
    parts.push([{ special: '<think>' }, control])
    parts.push([reply.reasoning, { kind: 'reasoning' }])
    parts.push([{ special: '</think>' }, control])
  }
  if (reply.text !== undefined) parts.push([reply.text, { kind: 'text' }])
  if (reply.refusal !== undefined) parts.push([reply.refusal, { kind: 'refusal' }])
  for (const [index, { name, arguments: args }] of calls.entries()) {
    const [open, head, body, tail, close] = callSegments(name, args)
    parts.push([open, control], [head, { kind: 'call', call: index }])
    parts.push([body, { kind: 'arguments', call: index }], [tail, control], [close, control])
  }
  parts.push([{ special: '<|im_end|>' }, control])
  return parts
}

function unparsed(parts: readonly [Segment, Part][]): [Segment, Part][] {
  const text: Part = { kind: 'text' }
  return parts.map(([segment, part]) => [segment, typeof segment === 'string' ? text : part])
}

/**
 * Decodes token by token as a server does: half a character waits for its other half, and a call shows once the
 * last token of its head is there.
 */
function decodeParts(tokens: readonly { token: Token; part: Part }[]): Delta[] {
  let waiting: number[] = []
  return tokens.map(({ token, part }, index) => {
    const next = tokens[index + 1]?.part
    if (part.kind === 'control') return {}
    if (part.kind === 'call') return next === part ? {} : { call: part.call }
    let text = token.text
    if (waiting.length > 0 || !token.whole) {
      waiting.push(...token.bytes)
      const end = next === part ? wholeCharacters(waiting) : waiting.length
      text = decodeBytes(waiting.slice(0, end))
      waiting = waiting.slice(end)
    }
    if (part.kind === 'arguments') return { arguments: { call: part.call, text } }
    return { [part.kind]: text }
  })
}

/** How many of the bytes are whole characters. */
function wholeCharacters(bytes: readonly number[]): number {
  let start = bytes.length - 1
  while (start > 0 && ((bytes[start] ?? 0) & 0xc0) === 0x80) start--
  const lead = bytes[start] ?? 0
  const length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1
  return start + length > bytes.length ? start : bytes.length
}

function join(
  deltas: readonly Delta[],
  calls: readonly ToolCall[],
): Pick<Generation, 'text' | 'reasoning' | 'refusal' | 'calls'> {
  const shown: ToolCall[] = []
  let [text, reasoning, refusal] = ['', '', '']
  for (const delta of deltas) {
    text += delta.text ?? ''
    reasoning += delta.reasoning ?? ''
    refusal += delta.refusal ?? ''
    const begun = delta.call === undefined ? undefined : calls[delta.call]
    if (begun !== undefined) shown.push({ ...begun, arguments: '' })
    const call = delta.arguments === undefined ? undefined : shown[delta.arguments.call]
    if (call !== undefined) call.arguments += delta.arguments?.text ?? ''
  }
  return { text, reasoning, refusal, calls: shown }
}

/**
 * Lets the calls take turns: all begin, then one fragment each. Only what is shown changes places; the ids stay in the
 * order in which the model said them.
 */
function interleaved(deltas: readonly Delta[]): Delta[] {
  const isCall = (delta: Delta): boolean => delta.call !== undefined || delta.arguments !== undefined
  const starts = deltas.filter((delta) => delta.call !== undefined)
  const queues = starts.map(({ call }) => deltas.filter((delta) => delta.arguments?.call === call))
  const turns = [...starts]
  for (let turn = 0; turns.length < deltas.filter(isCall).length; turn++) {
    for (const queue of queues) {
      const fragment = queue[turn]
      if (fragment !== undefined) turns.push(fragment)
    }
  }
  return deltas.map((delta) => (isCall(delta) ? (turns.shift() ?? {}) : delta))
}
