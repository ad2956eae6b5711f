import type { Json } from './json.ts'
import type { ChatMessage } from './template.ts'

/**
 * Whose wire format a server speaks, token ids included:
 *
 * - `openai`: none.
 * - `vllm`: current vLLM. Ids on request, its errors, its extra fields.
 * - `vllm-0.10`: vLLM 0.10.2 to 0.12, whose streams leave out ids around tool calls and reasoning.
 * - `vllm-patched`: older vLLM with Agent Lightning's patch: ids in every whole chat answer, at the top.
 * - `litellm`: a LiteLLM proxy before vLLM, which moves ids and loses some of them in streams.
 * - `sglang`: ids in choices, in `meta_info`, or in `sglext`.
 * - `llamacpp`: ids in log probabilities, or in `__verbose`.
 */
export type Flavor = 'openai' | 'vllm' | 'vllm-0.10' | 'vllm-patched' | 'litellm' | 'sglang' | 'llamacpp'

/** The two wire formats that are made from scratch; the others are one of them, changed. */
export type Family = 'openai' | 'vllm'

export type ReasoningField = 'reasoning' | 'reasoning_content'

export type Endpoint = 'chat' | 'completions' | 'responses' | 'embeddings'

export interface ReplyToolCall {
  /** @default `call_` and a number that counts up */
  id?: string
  name: string
  /** JSON text, sent as it is (valid or not), or a value to be serialised. */
  arguments: string | object
}

/** What the model says in one choice. */
export interface ChoiceReply {
  text?: string
  /** Thoughts before the text. Under `openai` only their token count shows; see `reasoningFields`. */
  reasoning?: string
  refusal?: string
  toolCalls?: readonly ReplyToolCall[]
  /** @default `tool_calls` with tool calls, `length` when `max_tokens` cut the reply, otherwise `stop` */
  finish?: string
  /** vLLM's `stop_reason`: the stop string or stop token id. @default null */
  stopReason?: string | number | null
  /** Log probability of each output token, the end token included. Missing ones are computed from the id and its position. */
  logprobs?: readonly number[]
}

/** One answer of the model, to be tokenised and put in the shape that the endpoint and flavor ask for. */
export interface Reply extends ChoiceReply {
  /** One reply per choice, used in turn for `n` > 1. @default every choice gets this reply */
  choices?: readonly ChoiceReply[]
  /** Replaces fields of the computed usage; `null` leaves usage out. */
  usage?: Json | null
  /** @default the model that was asked for */
  model?: string
  /** @default an id of the kind that the endpoint gives out */
  id?: string
  /** Further top-level fields of the answer, or of each streamed chunk. */
  extra?: Json
  /** Streams the fragments of parallel tool calls in turn instead of one call after the other. */
  interleaveToolCalls?: boolean
  /** Tokens in one streamed chunk, as under speculative decoding. @default the request's `stream_interval`, or 1 */
  tokensPerChunk?: number
  /** Embeddings: the vectors, in the order of the inputs. @default unit vectors computed from the text */
  vectors?: readonly (readonly number[])[]
  fault?: Fault
}

/** Full control of an answer that is not a stream. */
export interface RawReply {
  /** Sent as it is when it is a string, otherwise as JSON. */
  body: unknown
  /** @default 200 */
  status?: number
  headers?: Readonly<Record<string, string>>
  fault?: Fault
}

/** A server-sent event. A string becomes its `data:`, any other value does so as JSON. */
export type Frame =
  | string
  | { readonly [key: string]: unknown }
  | {
      /** Written to the socket as it is, framing included. */
      readonly raw: string | Uint8Array
      readonly delay?: number
    }
  | {
      readonly event?: string
      readonly data: unknown
      /** Milliseconds before this frame. */
      readonly delay?: number
    }

/** Replays a recorded stream, frame by frame. `[DONE]` is a frame like any other: leave it out and it is not sent. */
export interface FramesReply {
  frames: readonly Frame[]
  /** @default 200 */
  status?: number
  headers?: Readonly<Record<string, string>>
  fault?: Fault
}

/** A plain string is a reply with that text. */
export type AnyReply = string | Reply | RawReply | FramesReply

/** How the delivery of one answer goes wrong. The parts combine. */
export interface Fault {
  /** Answers with this HTTP status, in the flavor's error shape, instead of replying. */
  status?: number
  /** The body for `status`: a string is sent as it is (`''`: no body), anything else as JSON. */
  body?: unknown
  /** Further response headers. */
  headers?: Readonly<Record<string, string>>
  /** Seconds, as a `retry-after` header. */
  retryAfter?: number
  /** Milliseconds to wait before the headers, before the first byte of the body, and before each later frame. */
  latency?: { headers?: number; first?: number; chunk?: number }
  /** Where the socket is destroyed. Mid-stream: after `after` frames. */
  cut?: 'before-headers' | 'mid-body' | 'mid-stream'
  /** Where the server falls silent with the socket open, until the client goes away or the server closes. */
  stall?: 'before-headers' | 'mid-stream'
  /**
   * Ends a stream with an error after `after` frames: `data` is `data: {"error": …}`, `event` an `event: error`, `flat`
   * the bare object of vLLM before 0.10.1. Each is followed by `[DONE]`. A request without a stream gets a 500.
   */
  error?: 'data' | 'event' | 'flat'
  /** Breaks off the JSON of the frame that follows the first `after`. */
  malformed?: boolean
  /** Frames that go through before a mid-stream fault. @default 2 */
  after?: number
  sse?: {
    /** `false` leaves out `data: [DONE]`. */
    done?: false
    /** `false` leaves out the blank line after the last frame. */
    finalBlankLine?: false
    newline?: '\r\n'
    /** A comment line before each frame. */
    comments?: true
    /** Sends each frame in two writes, cut inside a multi-byte character where there is one. */
    splitUtf8?: true
  }
}

/** A request as a rule sees it. */
export interface ModelRequest {
  endpoint: Endpoint
  /** How many requests the server has had before this one. */
  index: number
  path: string
  headers: Readonly<Record<string, string>>
  body: Json
  /** The conversation, whatever the endpoint: one user message for each prompt of a completion. */
  messages: readonly ChatMessage[]
  /** Text of the last message. */
  text: string
}

export interface RecordedRequest {
  method: string
  /** With the query. */
  path: string
  /** Lower-case names; the values of those that carry credentials are `[hidden]`. */
  headers: Record<string, string>
  /** Parsed JSON, `undefined` where there was none. */
  body: unknown
  /** The bytes of the body as text. */
  rawBody: string
  /** Status sent, `undefined` while (or because) nothing was. */
  status: number | undefined
  /** The client went away before the answer was complete. */
  aborted: boolean
}

export interface ModelServerOptions {
  /** @default 'openai' */
  flavor?: Flavor
  /** Answers in order, one per request that is answered. When they are used up, `reply` answers, or a 400 says so. */
  replies?: readonly AnyReply[]
  /** Answers by rule. @default a short greeting */
  reply?: (request: ModelRequest) => AnyReply | Promise<AnyReply>
  /** Faults in order, one per request; `null` is a request that goes well. A fault that answers by itself uses up no reply. */
  faults?: readonly (Fault | null)[]
  /** A fault by request, once `faults` are used up. */
  fault?: (request: ModelRequest) => Fault | undefined
  /** Listed by `/v1/models`; when given, others are answered with 404. */
  models?: readonly string[]
  /** When given, requests need it as a bearer token or as Azure's `api-key`. */
  apiKey?: string
  /** Answers 400 to request fields that the endpoint does not have, as api.openai.com does. @default false */
  strictFields?: boolean
  /** Where reasoning text goes in chat answers. @default `['reasoning']` for vllm, none for openai, else `['reasoning_content']` */
  reasoningFields?: readonly ReasoningField[]
  /** Answers `/version`. @default one that speaks the flavor's format, as '0.17.1' for vllm */
  version?: string
  /** Counted ids and a fixed `created`, for snapshots. @default false */
  deterministic?: boolean
  /** Keep requests in `requests`; turn off for long benchmarks. @default true */
  record?: boolean
  /** @default 0: any free port */
  port?: number
}

export interface ModelServer extends AsyncDisposable {
  /** `http://127.0.0.1:<port>/v1`, for an OpenAI client. */
  readonly baseURL: string
  /** `http://127.0.0.1:<port>` */
  readonly url: string
  readonly port: number
  /** Every request so far, in order of arrival. Entries fill in as the answer goes out. */
  readonly requests: readonly RecordedRequest[]
  /** Resolves when no request is being answered, so that `status` and `aborted` are final. */
  idle(): Promise<void>
  /** Forgets the recorded requests. */
  clear(): void
  /** Destroys open connections and stops listening. */
  close(): Promise<void>
}
