import type { Span } from '@agl/core'
import type OpenAI from 'openai'
import { versionOf } from '../hosts.ts'
import { load, type Packages, resolveIn } from '../packages.ts'
import { replaying } from './replay.ts'

/** How much of one kind of thing was found in the record of a call. */
export interface Part {
  what: string
  found: number
  of: number
}

/** Something that a program does with a host library. */
export interface Workload {
  name: string
  host: string
  needs: readonly (keyof Packages)[]
  /** Loads the host; undefined where the project has none. */
  open(folders: readonly string[]): Promise<OpenWorkload | undefined>
}

export interface OpenWorkload {
  version: string
  call(): Promise<unknown>
  /** What the record of one call has of all that there was. */
  recorded(spans: readonly Span[]): Part[]
  close(): Promise<void>
}

const OPENAI = { host: 'openai', needs: ['openai', '@agl/testkit'] } as const

/** The only list of what can be measured. */
export const workloads: readonly Workload[] = [
  { ...OPENAI, name: 'Chat completion of 50 tokens', open: (folders) => chat(folders, 50, false) },
  { ...OPENAI, name: 'Stream of 200 tokens', open: (folders) => chat(folders, 200, true) },
  { name: 'Chain of three steps', host: '@langchain/core', needs: [], open: chain },
]

const MESSAGES = [
  { role: 'system', content: 'You are a careful assistant who answers in one paragraph.' },
  { role: 'user', content: 'Which ships lay in the harbour this morning, and which have left since?' },
  {
    role: 'assistant',
    content: 'Three lay there at dawn. Two of them left with the tide, one after the other.',
  },
  { role: 'user', content: 'Tell me about the third: where it came from, and what it carries.' },
] as const

async function chat(folders: readonly string[], length: number, streams: boolean): Promise<OpenWorkload> {
  const { default: Client } = await load('openai', folders)
  const { startModelServer } = await load('@agl/testkit', folders)
  const text = 'The'.padEnd(3 + 4 * (length - 2), ' sea') + '.'
  const server = await startModelServer({ flavor: 'vllm', reply: () => text, record: false })
  const client = new Client({
    baseURL: server.baseURL,
    apiKey: 'none',
    fetch: replaying(server),
    maxRetries: 0,
  })
  const request = { model: 'bench', messages: [...MESSAGES] }
  const { usage } = await client.chat.completions.create(request)
  return {
    version: versionIn('openai', folders),
    async call() {
      if (!streams) return client.chat.completions.create(request)
      const options = { stream: true, stream_options: { include_usage: true } } as const
      for await (const _chunk of await client.chat.completions.create({ ...request, ...options })) continue
    },
    recorded: (spans) => chatParts(spans, text, usage),
    close: () => server.close(),
  }
}

function chatParts(spans: readonly Span[], text: string, usage: OpenAI.CompletionUsage | undefined): Part[] {
  const { prompt_tokens: promptTokens = 0, completion_tokens: tokens = 0 } = usage ?? {}
  const attributes = spans.find(({ name }) => name === 'openai.chat.completion')?.attributes ?? {}
  const messages = MESSAGES.filter(({ content }, i) => attributes[`gen_ai.prompt.${i}.content`] === content)
  const hasAnswer = attributes['gen_ai.completion.0.content'] === text
  const hasUsage =
    attributes['gen_ai.usage.prompt_tokens'] === promptTokens &&
    attributes['gen_ai.usage.completion_tokens'] === tokens
  return [
    { what: 'messages', found: messages.length, of: MESSAGES.length },
    { what: 'answer', found: Number(hasAnswer), of: 1 },
    { what: 'usage', found: Number(hasUsage), of: 1 },
    { what: 'prompt ids', found: lengthOf(attributes['prompt_token_ids']), of: promptTokens },
    { what: 'response ids', found: lengthOf(attributes['response_token_ids']), of: tokens },
    { what: 'logprobs', found: lengthOf(parsed(attributes['logprobs.content'])), of: tokens },
  ]
}

async function chain(folders: readonly string[]): Promise<OpenWorkload | undefined> {
  const urls = ['@langchain/core/runnables', '@langchain/core/utils/testing'].map((specifier) =>
    folders.map((folder) => resolveIn(folder, specifier)).find((url) => url !== undefined),
  )
  const [runnables, testing] = urls
  if (runnables === undefined || testing === undefined) return undefined
  const { RunnableLambda }: typeof import('@langchain/core/runnables') = await import(runnables)
  const { FakeListChatModel }: typeof import('@langchain/core/utils/testing') = await import(testing)
  const answer = 'It carries salt.'
  const steps = RunnableLambda.from((text: string) => `${text}?`)
    .pipe(new FakeListChatModel({ responses: [answer] }))
    .pipe(RunnableLambda.from(({ text }) => text))
  return {
    version: versionIn('@langchain/core', folders),
    call: () => steps.invoke('What does the ship carry'),
    recorded(spans) {
      const runs = spans.filter(({ parentId }) => parentId !== null)
      const answers = runs.filter(({ attributes }) => attributes['gen_ai.completion.0.content'] === answer)
      return [
        { what: 'runs', found: runs.length, of: 4 },
        { what: 'answer', found: answers.length, of: 1 },
      ]
    },
    close: async () => {},
  }
}

function versionIn(name: string, folders: readonly string[]): string {
  return folders.map((folder) => versionOf(name, folder)).find((version) => version !== undefined) ?? ''
}

function lengthOf(value: unknown): number {
  return Array.isArray(value) || value instanceof Int32Array ? value.length : 0
}

function parsed(value: unknown): unknown {
  return typeof value === 'string' ? JSON.parse(value) : undefined
}
