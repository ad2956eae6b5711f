import { dialectOf, familyOf } from './dialects/index.ts'
import { errorReply } from './errors.ts'
import { isRecord, number, record, type Json } from './json.ts'
import type { Endpoint, Flavor, RawReply } from './types.ts'

const SHARED = 'model stream stream_options user metadata temperature top_p n seed stop max_tokens logit_bias'
const CHAT =
  'messages audio frequency_penalty presence_penalty function_call functions logprobs top_logprobs ' +
  'max_completion_tokens modalities parallel_tool_calls prediction prompt_cache_key prompt_cache_retention ' +
  'reasoning_effort response_format safety_identifier service_tier store tool_choice tools verbosity ' +
  'web_search_options moderation prompt_cache_options'
const COMPLETIONS = 'prompt best_of echo frequency_penalty presence_penalty logprobs suffix'
const RESPONSES =
  'model stream stream_options user metadata temperature top_p background context_management conversation include ' +
  'input instructions max_output_tokens max_tool_calls moderation parallel_tool_calls previous_response_id prompt ' +
  'prompt_cache_key prompt_cache_options prompt_cache_retention reasoning safety_identifier service_tier store text ' +
  'tool_choice tools top_logprobs truncation'
const EMBEDDINGS = 'model input dimensions encoding_format user'

const words = (text: string): ReadonlySet<string> => new Set(text.split(' '))

/** The fields that api.openai.com takes. */
const FIELDS: Record<Endpoint, ReadonlySet<string>> = {
  chat: words(`${SHARED} ${CHAT}`),
  completions: words(`${SHARED} ${COMPLETIONS}`),
  responses: words(RESPONSES),
  embeddings: words(EMBEDDINGS),
}

const REQUIRED: Record<Endpoint, string> = {
  chat: 'messages',
  completions: 'prompt',
  responses: 'input',
  embeddings: 'input',
}

/** The answer to a request that the real server would refuse, or undefined. */
export function refuse(
  endpoint: Endpoint,
  body: unknown,
  flavor: Flavor,
  strict: boolean,
): RawReply | undefined {
  const bad = (message: string, param?: string): RawReply =>
    errorReply(flavor, 400, message, param === undefined ? {} : { param })
  if (!isRecord(body)) return bad('We could not parse the JSON body of your request.')
  const required = REQUIRED[endpoint]
  if (body[required] === undefined) return bad(`Missing required parameter: '${required}'.`, required)
  if (endpoint === 'chat' && !Array.isArray(body['messages']))
    return bad("'messages' is not a list.", 'messages')
  if (strict) {
    const unknown = Object.keys(body).find((key) => !FIELDS[endpoint].has(key))
    if (unknown !== undefined) return bad(`Unrecognized request argument supplied: ${unknown}`, unknown)
  }
  const refused = dialectOf(flavor).refuse?.(body, endpoint)
  if (refused !== undefined) return bad(refused)
  return logprobProblem(body, flavor, bad) ?? streamProblem(body, endpoint, bad)
}

type Bad = (message: string, param?: string) => RawReply

function logprobProblem(body: Json, flavor: Flavor, bad: Bad): RawReply | undefined {
  const top = number(body['top_logprobs'])
  if (top === undefined || body['messages'] === undefined) return undefined
  const lowest = familyOf(flavor) === 'vllm' ? -1 : 0
  if (top < lowest || top > 20)
    return bad(`'top_logprobs' is ${top}; it goes from ${lowest} to 20.`, 'top_logprobs')
  if (top !== 0 && body['logprobs'] !== true)
    return bad("'top_logprobs' needs 'logprobs' to be true.", 'top_logprobs')
  return undefined
}

function streamProblem(body: Json, endpoint: Endpoint, bad: Bad): RawReply | undefined {
  if (endpoint === 'responses' || body['stream'] === true) return undefined
  if (Object.keys(record(body['stream_options'])).length === 0) return undefined
  return bad("'stream_options' is only allowed when 'stream' is true.", 'stream_options')
}
