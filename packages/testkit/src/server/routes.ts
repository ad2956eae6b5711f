import { dialectOf } from './dialects/index.ts'
import { errorReply } from './errors.ts'
import { isTokenIds, record, text, type Json } from './json.ts'
import { encodeSegments, messagesOf, promptSegments } from './template.ts'
import type { Tokenizer } from './tokenizer.ts'
import type { Endpoint, ModelServerOptions, RawReply } from './types.ts'

export interface Route {
  endpoint: Endpoint
  /** The deployment that an Azure path names. */
  deployment: string | undefined
}

const ENDPOINTS = new Map<string, Endpoint>([
  ['/chat/completions', 'chat'],
  ['/completions', 'completions'],
  ['/responses', 'responses'],
  ['/embeddings', 'embeddings'],
])

/** Which endpoint of a model a path asks for, OpenAI's (`/v1/…`) or Azure's (`/openai/deployments/<name>/…`). */
export function modelRoute(path: string): Route | undefined {
  const azure = /^\/openai\/(?:deployments\/([^/]+)|v1)(\/.+)$/.exec(path)
  const endpoint = ENDPOINTS.get(azure?.[2] ?? path.replace(/^\/v1(?=\/)/, ''))
  if (endpoint === undefined) return undefined
  const deployment = azure === null ? undefined : decodeURIComponent(azure[1] ?? '')
  return { endpoint, deployment: deployment === '' ? undefined : deployment }
}

/** Whether the server's key guards a path. vLLM leaves all but its API open. */
export function isGuarded(path: string): boolean {
  return path.startsWith('/v1') || path.startsWith('/openai')
}

/** The small endpoints beside the model: health, version, models, and vLLM's tokenizer. */
export function serviceReply(
  method: string,
  path: string,
  body: unknown,
  options: ModelServerOptions,
  tokenizer: Tokenizer,
): RawReply {
  const flavor = options.flavor ?? 'openai'
  const models = options.models ?? ['testkit-model']
  if (method === 'GET') {
    if (path === '/health') return { body: '' }
    if (path === '/version') return { body: { version: options.version ?? dialectOf(flavor).version } }
    if (path === '/v1/models')
      return { body: { object: 'list', data: models.map((id) => model(id, options)) } }
    const id = path.startsWith('/v1/models/')
      ? decodeURIComponent(path.slice('/v1/models/'.length))
      : undefined
    if (id !== undefined && models.includes(id)) return { body: model(id, options) }
  } else if (flavor.startsWith('vllm') && path === '/tokenize')
    return { body: tokenize(record(body), tokenizer) }
  else if (flavor.startsWith('vllm') && path === '/detokenize') {
    const { tokens } = record(body)
    return { body: { prompt: isTokenIds(tokens) ? tokenizer.decode(tokens) : '' } }
  }
  return errorReply(flavor, 404, `There is nothing at ${method} ${path}.`)
}

function model(id: string, { flavor }: ModelServerOptions): Json {
  const base = { id, object: 'model', created: 1_700_000_000 }
  const { ownedBy } = dialectOf(flavor)
  if (!ownedBy.startsWith('vllm')) return { ...base, owned_by: ownedBy }
  return {
    ...base,
    owned_by: ownedBy,
    root: id,
    parent: null,
    max_model_len: MAX_MODEL_LENGTH,
    permission: [],
  }
}

const MAX_MODEL_LENGTH = 131_072

/** The ids of a text, or of a conversation in the chat template. */
function tokenize(body: Json, tokenizer: Tokenizer): Json {
  const tools = Array.isArray(body['tools']) ? body['tools'] : []
  const tokens = Array.isArray(body['messages'])
    ? encodeSegments(promptSegments(messagesOf(body), tools), tokenizer)
    : tokenizer.encode(text(body['prompt']) ?? '')
  const strings =
    body['return_token_strs'] === true ? { token_strs: tokens.map((id) => tokenizer.token(id).text) } : {}
  return { count: tokens.length, max_model_len: MAX_MODEL_LENGTH, tokens, ...strings }
}
