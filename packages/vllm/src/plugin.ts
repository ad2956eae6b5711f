import { definePlugin, type LlmStart, type Plugin } from '@agl/core'
import { openai } from '@agl/openai'
import { isLocalServer } from './hosts.ts'
import { TokenReader } from './tokens.ts'

export interface VllmOptions {
  /** Ask for token ids, which is what training needs. @default true */
  tokenIds?: boolean
  /** Ask for log probabilities as well; the server computes them for every token. @default false */
  logprobs?: boolean
  /** Which servers are vLLM's, by the client's base URL. @default loopback, private and single-label hosts */
  match?: (baseURL: string) => boolean
}

/**
 * Asks vLLM servers for token ids and reads them from the answers. Brings `openai()` along.
 *
 * Only requests to servers that `match` are changed, by `return_token_ids` and, if asked for, `logprobs`; what the
 * program set itself stays. Ids that a program asked for by itself are read wherever they come from.
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
          const ours = isOurs(data.baseURL)
          const asked = data.request['return_token_ids']
          if (ours) addFields(data, { tokenIds: tokenIds && asked === undefined, logprobs })
          if (asked === true || (ours && tokenIds && asked === undefined)) {
            data.readers ??= []
            data.readers.push(
              new TokenReader(() => {
                api.log.once('A server sent token ids that are not lists of integers; they are not recorded.')
              }),
            )
          }
        },
      })
    },
  })
}

/** The Responses API has no such fields. */
function addFields(data: LlmStart, wanted: { tokenIds: boolean; logprobs: boolean }): void {
  if (data.operation === 'response') return
  const extra: Record<string, unknown> = {}
  if (wanted.tokenIds) extra['return_token_ids'] = true
  if (wanted.logprobs && data.request['logprobs'] === undefined) {
    extra['logprobs'] = data.operation === 'chat' ? true : 1
  }
  if (Object.keys(extra).length > 0) data.extraBody = { ...data.extraBody, ...extra }
}
