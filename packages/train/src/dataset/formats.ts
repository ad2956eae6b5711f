import { AglError, type Span } from '@agl/core'
import { isDict, parsePythonJSON } from '@agl/core/semconv'
import { toMessages } from '../messages.ts'
import type { ChatMessage, ToolCallParam } from '../params.ts'
import { toTriplets } from '../triplets.ts'
import { type AdapterOptions, warnOnce } from '../warn.ts'
import { type Chat, type ChatTool, toChats } from './chats.ts'

/**
 * What a row of a dataset is:
 * `triplets`: a step of reinforcement learning, as `toTriplets` gives it, with the ids of its rollout and attempt;
 * `messages`: a model call, as `toMessages` gives it;
 * `openai-chat`: an answer with its prompt, as OpenAI's fine-tuning takes it;
 * `hf-chat`: the same as Hugging Face's TRL reads it;
 * `spans`: a span as Agent Lightning's JSON;
 * `otlp`: a request of OTLP in JSON with spans of one rollout, as the file exporter of OpenTelemetry's collector writes it.
 */
export type DatasetFormat = RowFormat | 'spans' | 'otlp'

/** The formats whose rows are made from a rollout's latest attempt. */
export type RowFormat = 'triplets' | 'messages' | 'openai-chat' | 'hf-chat'

type Adapter = (spans: readonly Span[], options: AdapterOptions) => readonly object[]

const ADAPTERS: Readonly<Record<RowFormat, Adapter>> = {
  triplets: (spans, { onWarning = warnOnce }) => toTriplets(spans, { onWarning }),
  messages: toMessages,
  'openai-chat': (spans) => toChats(spans).map(toOpenAIChat),
  'hf-chat': (spans) => toChats(spans).map(toHuggingFaceChat),
}

export const FORMATS: readonly DatasetFormat[] = [
  'triplets',
  'messages',
  'openai-chat',
  'hf-chat',
  'spans',
  'otlp',
]

/** Whether rows are spans of all attempts, and not made by an adapter from those of the latest. */
export function isOfSpans(format: DatasetFormat): format is 'spans' | 'otlp' {
  return format === 'spans' || format === 'otlp'
}

/** The rows of one attempt. A chat stands for itself; steps must be told which run they are of. */
export function toRows(
  format: DatasetFormat,
  spans: readonly Span[],
  options: AdapterOptions & { adapter?: (spans: readonly Span[]) => readonly object[] },
): readonly object[] {
  const [first] = spans
  if (first === undefined) return []
  const adapt = isOfSpans(format) ? undefined : ADAPTERS[format]
  const rows = options.adapter?.(spans) ?? adapt?.(spans, options) ?? []
  if (format !== 'triplets' && !isOfSpans(format)) return rows
  const { rolloutId, attemptId } = first
  return rows.map((row) => ({ rollout_id: rolloutId, attempt_id: attemptId, ...row }))
}

/** A line of a file for OpenAI's supervised fine-tuning. */
interface OpenAIChat {
  messages: (ChatMessage & { weight?: 0 })[]
  tools?: ChatTool[]
  parallel_tool_calls?: boolean
}

/** Earlier answers are rows of their own where they are this model's, so only the last one is learned here. */
function toOpenAIChat({ prompt, answer, tools, parallelToolCalls }: Chat): OpenAIChat {
  const messages = prompt.map((message) =>
    message.role === 'assistant' ? { ...message, weight: 0 as const } : message,
  )
  return {
    messages: [...messages, answer],
    ...(tools.length > 0 ? { tools } : {}),
    ...(tools.length > 0 && parallelToolCalls !== undefined
      ? { parallel_tool_calls: parallelToolCalls }
      : {}),
  }
}

/** A row of TRL's conversational prompt-completion type, of which only the completion is learned. */
interface HuggingFaceChat {
  prompt: object[]
  completion: object[]
  /** Always there, as all rows of a file must have the same columns. */
  tools: ChatTool[] | null
}

function toHuggingFaceChat({ prompt, answer, reasoning, tools }: Chat): HuggingFaceChat {
  const completion = toTemplateMessage(answer)
  return {
    prompt: prompt.map(toTemplateMessage),
    completion: [reasoning === undefined ? completion : { ...completion, reasoning_content: reasoning }],
    tools: tools.length > 0 ? tools : null,
  }
}

/** A message as chat templates take it: arguments of tools are objects. */
function toTemplateMessage({ content, tool_calls: calls, ...message }: ChatMessage): object {
  const parts = Array.isArray(content) ? content.filter((part) => !isText(part)) : []
  if (parts.length > 0) {
    throw new AglError(
      'value_invalid',
      'A prompt has images, sound or files, which TRL takes from columns of their own; use the format openai-chat.',
    )
  }
  const base = { ...message, content }
  return calls === undefined ? base : { ...base, tool_calls: calls.map(toTemplateCall) }
}

function isText(part: unknown): boolean {
  return isDict(part) && part['type'] === 'text'
}

function toTemplateCall({ function: { name, arguments: text }, ...call }: ToolCallParam): object {
  return { ...call, function: { name, arguments: toObject(text) } }
}

/** What a model said that is no JSON stays as it is. */
function toObject(text: unknown): unknown {
  if (typeof text !== 'string') return text
  try {
    const value = parsePythonJSON(text)
    return isDict(value) ? value : text
  } catch {
    return text
  }
}
