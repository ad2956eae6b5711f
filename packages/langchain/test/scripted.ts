import type { CallbackManagerForLLMRun } from '@langchain/core/callbacks/manager'
import type { BaseChatModel } from '@langchain/core/language_models/chat_models'
import type { LLM } from '@langchain/core/language_models/llms'
import type { BaseMessage } from '@langchain/core/messages'
import type { ChatGenerationChunk, ChatResult, GenerationChunk } from '@langchain/core/outputs'
import type { Hosts } from './hosts.ts'

/** What the model says next: a text, calls of tools, or a failure. */
export type Line =
  | string
  | Error
  | { calls: { name: string; args: Record<string, unknown> }[]; text?: string }

type Script = readonly Line[] | ((messages: readonly BaseMessage[]) => Line)

export interface ScriptedOptions {
  /** Waits before it answers, until the call is aborted. */
  delay?: number
  /** Called inside the model, where a client would make its request. */
  inside?: () => unknown
  name?: string
}

/** A chat model that says its lines in turn (or by rule), whole or word by word, and needs no server. */
export function scripted(h: Hosts, script: Script, options: ScriptedOptions = {}): BaseChatModel {
  let turn = 0
  const next = async (
    messages: readonly BaseMessage[],
    signal?: AbortSignal,
  ): Promise<Exclude<Line, Error>> => {
    if (options.delay !== undefined) await pause(options.delay, signal)
    await options.inside?.()
    const line = typeof script === 'function' ? script(messages) : script[turn++ % script.length]
    if (line instanceof Error) throw line
    return line ?? ''
  }
  const partsOf = (line: Exclude<Line, Error>) =>
    (typeof line === 'string' ? [] : line.calls).map(({ name, args }, index) => ({
      name,
      args: JSON.stringify(args),
      id: `call_${turn}_${index}`,
      index,
      type: 'tool_call_chunk' as const,
    }))
  const textOf = (line: Exclude<Line, Error>): string => (typeof line === 'string' ? line : (line.text ?? ''))

  class ScriptedModel extends h.BaseChatModel {
    static override lc_name(): string {
      return options.name ?? 'ScriptedModel'
    }
    override _llmType(): string {
      return 'scripted'
    }
    override bindTools(): this {
      return this
    }
    override async _generate(messages: BaseMessage[], given: { signal?: AbortSignal }): Promise<ChatResult> {
      const line = await next(messages, given.signal)
      const message = new h.AIMessageChunk({ content: textOf(line), tool_call_chunks: partsOf(line) })
      Object.assign(message, { usage_metadata: { input_tokens: 3, output_tokens: 2, total_tokens: 5 } })
      return { generations: [{ text: textOf(line), message }] }
    }
    override async *_streamResponseChunks(
      messages: BaseMessage[],
      given: { signal?: AbortSignal },
      manager?: CallbackManagerForLLMRun,
    ): AsyncGenerator<ChatGenerationChunk> {
      const line = await next(messages, given.signal)
      for (const word of textOf(line).split(/(?<= )/)) {
        const message = new h.AIMessageChunk({ content: word })
        const chunk = new h.ChatGenerationChunk({ text: word, message })
        yield chunk
        await manager?.handleLLMNewToken(word, undefined, undefined, undefined, undefined, { chunk })
      }
      const parts = partsOf(line)
      if (parts.length === 0) return
      const message = new h.AIMessageChunk({ content: '', tool_call_chunks: parts })
      yield new h.ChatGenerationChunk({ text: '', message })
    }
  }
  return new ScriptedModel({})
}

/** A model of the older kind: text in, text out. */
export function scriptedText(h: Hosts, lines: readonly string[]): LLM {
  let turn = 0
  class ScriptedText extends h.LLM {
    static override lc_name(): string {
      return 'ScriptedText'
    }
    override _llmType(): string {
      return 'scripted'
    }
    override async _call(): Promise<string> {
      return lines[turn++ % lines.length] ?? ''
    }
    override async *_streamResponseChunks(
      _prompt: string,
      _options: unknown,
      manager?: CallbackManagerForLLMRun,
    ): AsyncGenerator<GenerationChunk> {
      for (const word of (lines[turn++ % lines.length] ?? '').split(/(?<= )/)) {
        yield new h.GenerationChunk({ text: word })
        await manager?.handleLLMNewToken(word)
      }
    }
  }
  return new ScriptedText({})
}

function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms)
    signal?.addEventListener('abort', () => {
      clearTimeout(timer)
      reject(signal.reason instanceof Error ? signal.reason : new Error('Aborted'))
    })
  })
}
