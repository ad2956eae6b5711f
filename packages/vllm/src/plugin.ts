import { definePlugin, type LlmStart, type Plugin } from '@agl/core'
import { openai } from '@agl/openai'
import { isLocalServer } from './hosts.ts'

export interface VllmOptions {
  /** Ask for token ids, which is what training needs. @default true */
  tokenIds?: boolean
  /** Ask for log probabilities as well; the server computes them for every token. @default false */
  logprobs?: boolean
  /** Which servers are vLLM's, by the client's base URL. @default loopback, private and single-label hosts */
  match?: (baseURL: string) => boolean
}

/**
 * Asks vLLM servers for token ids; `openai()`, which it brings along, reads them from the answers.
 *
 * Only requests to servers that `match` are changed, by the fields that ask for ids and, if wanted, for log
 * probabilities; what the program set itself stays.
 */
export function vllm(options: VllmOptions = {}): Plugin {
  const { tokenIds = true, logprobs = false, match = isLocalServer } = options
  return definePlugin({
    name: 'vllm',
    hosts: { openai: '>=5 <8' },
    requires: [openai()],
    setup(api) {
      const known = new Map<string, boolean>()
      const isOurs = (baseURL: string | undefined): boolean => {
        if (baseURL === undefined) return false
        let ours = known.get(baseURL)
        if (ours === undefined) {
          ours = match(baseURL)
          // A program may make up base URLs without end.
          if (known.size >= 100) return ours
          known.set(baseURL, ours)
          if (!ours)
            api.note(
              `${baseURL} was not taken for a vLLM server; if it is one, let the option "match" say so.`,
            )
        }
        return ours
      }
      api.on('llm', {
        start({ data }) {
          if (!isOurs(data.baseURL)) return
          const { operation, request } = data
          const extra = {
            ...(tokenIds ? idFields(operation, request) : {}),
            ...(logprobs ? logprobFields(operation, request) : {}),
          }
          if (Object.keys(extra).length > 0) data.extraBody = { ...data.extraBody, ...extra }
        },
      })
    },
  })
}

type Fields = Record<string, unknown>

/** What asks for token ids, as far as the program has not decided it. */
function idFields(operation: LlmStart['operation'], request: Fields): Fields {
  if (operation === 'response') {
    // An answer that is made in the background has no raw messages.
    const possible = request['background'] !== true && request['enable_response_messages'] === undefined
    return possible ? { enable_response_messages: true } : {}
  }
  // With ids asked for, vLLM leaves the prompt's text out of an echo: the program would get another answer.
  const echoes = operation === 'completion' && request['echo'] === true
  return echoes || request['return_token_ids'] !== undefined ? {} : { return_token_ids: true }
}

const INCLUDE = 'message.output_text.logprobs'

/** What asks for log probabilities, as far as the program has not decided it. */
function logprobFields(operation: LlmStart['operation'], request: Fields): Fields {
  if (operation === 'response') {
    const { include } = request
    if (include === undefined) return { include: [INCLUDE] }
    return Array.isArray(include) && !include.includes(INCLUDE) ? { include: [...include, INCLUDE] } : {}
  }
  if (request['logprobs'] !== undefined) return {}
  return { logprobs: operation === 'chat' ? true : 1 }
}
