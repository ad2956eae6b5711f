import { familyOf } from './dialects/index.ts'
import type { Json } from './json.ts'
import type { Fault, Flavor, RawReply } from './types.ts'

interface ErrorDetail {
  param?: string | null
  /** OpenAI's error code; vLLM repeats the status. */
  code?: string | null
  type?: string
}

const OPENAI_TYPES: Record<number, string> = {
  401: 'invalid_request_error',
  403: 'permission_error',
  404: 'invalid_request_error',
  429: 'requests',
}
const VLLM_TYPES: Record<number, string> = {
  404: 'NotFoundError',
  422: 'UnprocessableEntityError',
  429: 'TooManyRequestsError',
  501: 'NotImplementedError',
}
const MESSAGES: Record<number, string> = {
  400: 'The request is not valid.',
  401: 'Incorrect API key provided.',
  404: 'The model does not exist.',
  429: 'Rate limit reached for requests.',
  500: 'The server had an error while processing your request.',
  503: 'The engine is overloaded, please try again later.',
}

/** The `error` object of a flavor. */
function errorObject(flavor: Flavor, status: number, message?: string, detail: ErrorDetail = {}): Json {
  const shown = message ?? MESSAGES[status] ?? `The request failed with status ${status}.`
  const param = detail.param ?? null
  if (flavor === 'litellm') return { message: shown, type: 'None', param: 'None', code: String(status) }
  if (flavor === 'llamacpp') {
    const type = status >= 500 ? 'server_error' : 'invalid_request_error'
    return { code: status, message: shown, type }
  }
  if (familyOf(flavor) === 'vllm') {
    const type = VLLM_TYPES[status] ?? (status >= 500 ? 'InternalServerError' : 'BadRequestError')
    return { message: shown, type, param, code: status }
  }
  const type =
    detail.type ?? OPENAI_TYPES[status] ?? (status >= 500 ? 'server_error' : 'invalid_request_error')
  return { message: shown, type, param, code: detail.code ?? null }
}

/** Before 0.10.1, vLLM's errors are not wrapped. */
function errorBody(flavor: Flavor, error: Json): Json {
  return flavor === 'vllm-patched' ? { object: 'error', ...error } : { error }
}

export function errorReply(flavor: Flavor, status: number, message?: string, detail?: ErrorDetail): RawReply {
  return { status, body: errorBody(flavor, errorObject(flavor, status, message, detail)) }
}

/** vLLM's key check answers with a bare string where every other error is an object. */
export function unauthorized(flavor: Flavor): RawReply {
  if (flavor.startsWith('vllm')) return { status: 401, body: { error: 'Unauthorized' } }
  return errorReply(flavor, 401, undefined, { code: 'invalid_api_key' })
}

/** What a fault with a status answers: its own body, else what the flavor sends with that status. */
export function faultReply(flavor: Flavor, status: number, fault: Fault): RawReply {
  if ('body' in fault) return { status, body: fault.body }
  if (status === 401) return unauthorized(flavor)
  if (status === 429) return errorReply(flavor, 429, undefined, { code: 'rate_limit_exceeded' })
  // A crashed vLLM engine answers with no body at all.
  if (status === 500 && flavor.startsWith('vllm')) return { status, body: '' }
  return errorReply(flavor, status)
}

/** An error that arrives after the answer has begun. */
export function streamError(
  flavor: Flavor,
  shape: 'data' | 'event' | 'flat',
): { event?: string; data: Json } {
  const error = errorObject(flavor, 500, 'The generation failed.')
  if (shape === 'data') return { data: errorBody(flavor, error) }
  if (shape === 'event') return { event: 'error', data: error }
  return { data: { object: 'error', ...error } }
}
