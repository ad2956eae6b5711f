import { makeCall, promptsOf, type Asked, type Maker } from './make-call.ts'
import { chatBody, chatChunks } from './chat.ts'
import { completionBody, completionChunks } from './completions.ts'
import { sendBody, sendFrames, type Exchange } from './deliver.ts'
import { dialectOf } from './dialects/index.ts'
import { embeddingBody } from './embeddings.ts'
import { errorReply, faultReply } from './errors.ts'
import { dataFrames, eventFrames, wireFrame } from './frames.ts'
import { responseEvents } from './response-events.ts'
import { responseBody } from './responses.ts'
import { messagesOf, type ChatMessage } from './template.ts'
import type { Tokenizer } from './tokenizer.ts'
import type { AnyReply, Fault, ModelRequest, ModelServerOptions, Reply } from './types.ts'

const GREETING: Reply = { text: 'Hello! I am a scripted model.' }

/** Hands out the replies and faults of one server, in order. */
export class Script {
  readonly #replies: AnyReply[]
  readonly #faults: (Fault | null)[]
  readonly #options: ModelServerOptions

  constructor(options: ModelServerOptions) {
    this.#options = options
    this.#replies = [...(options.replies ?? [])]
    this.#faults = [...(options.faults ?? [])]
  }

  fault(request: ModelRequest): Fault {
    const next = this.#faults.shift()
    return (next === undefined ? this.#options.fault?.(request) : next) ?? {}
  }

  async reply(request: ModelRequest): Promise<AnyReply> {
    const { flavor = 'openai', replies, reply } = this.#options
    const next = this.#replies.shift()
    if (next !== undefined) return next
    // A 400, because clients try again after a 500.
    const refuse = (message: string): AnyReply => errorReply(flavor, 400, message)
    try {
      if (reply !== undefined) return await reply(request)
    } catch (error) {
      return refuse(`The reply rule threw: ${error instanceof Error ? error.message : String(error)}`)
    }
    return replies === undefined ? GREETING : refuse(`The script's ${replies.length} replies are used up.`)
  }
}

export function requestOf(
  asked: Asked,
  tokenizer: Tokenizer,
  about: Pick<ModelRequest, 'index' | 'path' | 'headers'>,
): ModelRequest {
  const { endpoint, body } = asked
  const conversation = endpoint === 'chat' || endpoint === 'responses'
  const messages = conversation
    ? messagesOf(body)
    : promptMessages(body['prompt'] ?? body['input'], tokenizer)
  return { endpoint, body, messages, text: messages.at(-1)?.text ?? '', ...about }
}

function promptMessages(prompt: unknown, tokenizer: Tokenizer): ChatMessage[] {
  return promptsOf(prompt, tokenizer).map((ids) => ({
    role: 'user',
    text: tokenizer.decode(ids),
    toolCalls: [],
  }))
}

/** True for a fault that keeps the request from being answered at all, and so uses up no reply. */
export function answersAlone(fault: Fault): boolean {
  return fault.status !== undefined || fault.cut === 'before-headers' || fault.stall === 'before-headers'
}

/** Answers a request in place of the model. */
export async function answerFault(exchange: Exchange): Promise<void> {
  const { flavor, fault } = exchange
  await sendBody(exchange, faultReply(flavor, fault.status ?? 500, fault))
}

/** Puts a reply on the wire, in the shape that the request asked for. */
export async function answer(exchange: Exchange, maker: Maker, asked: Asked, given: AnyReply): Promise<void> {
  if (typeof given === 'object' && given.fault !== undefined)
    exchange.fault = { ...given.fault, ...exchange.fault }
  if (answersAlone(exchange.fault)) return answerFault(exchange)
  if (typeof given === 'object' && 'frames' in given) {
    return sendFrames(exchange, given.frames.map(wireFrame), given)
  }
  if (typeof given === 'object' && 'body' in given) return sendBody(exchange, given)
  const reply = typeof given === 'string' ? { text: given } : given
  if (asked.endpoint === 'embeddings') {
    return sendBody(exchange, { body: embeddingBody(asked.body, reply, maker.tokenizer) })
  }
  const call = makeCall(maker, asked, reply)
  const dialect = dialectOf(exchange.flavor)
  if (asked.body['stream'] === true) {
    if (asked.endpoint === 'responses') return sendFrames(exchange, eventFrames(responseEvents(call)))
    const chunks = asked.endpoint === 'chat' ? chatChunks(call) : completionChunks(call)
    return sendFrames(exchange, dataFrames(dialect.chunks?.(chunks, call) ?? chunks))
  }
  if (exchange.fault.error !== undefined) {
    return sendBody(exchange, errorReply(exchange.flavor, 500, 'The generation failed.'))
  }
  if (asked.endpoint === 'responses') return sendBody(exchange, { body: responseBody(call) })
  const body = asked.endpoint === 'chat' ? chatBody(call) : completionBody(call)
  return sendBody(exchange, { body: dialect.body?.(body, call) ?? body })
}
