import { join } from 'node:path'
import { type ActivityData, type ActivityStart, definePlugin, type PluginApi, record, start } from '@agl/core'
import { type DatasetFormat, exportDataset, type ExportOptions, type ExportProgress } from '@agl/train'
import { describe, expect, it } from 'vitest'
import { folder, memoryStore, readLines } from './support.ts'

const PARAMETERS = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] }
const WEATHER = { name: 'weather', description: 'Tells the weather.', parameters: PARAMETERS }
const CALL = { id: 'call-1', type: 'function', name: 'weather', arguments: '{"city": "Bern"}' }
const TOOL = { type: 'function', function: WEATHER }

const ASK: ActivityStart['llm'] = {
  operation: 'chat',
  provider: 'openai',
  request: { model: 'm' },
  messages: [{ role: 'user', content: 'hi' }],
}
const SAY: ActivityData['llm'] = { choices: [{ index: 0, role: 'assistant', content: 'ho' }] }

/** The rows of what a program records. */
async function exported(
  format: DatasetFormat,
  program: (api: PluginApi) => void,
  options: Partial<ExportOptions> = {},
): Promise<{ rows: Record<string, unknown>[]; progress: ExportProgress }> {
  let api: PluginApi | undefined
  const plugin = definePlugin({ name: 'test', setup: (given) => void (api = given) })
  await using _lightning = await start({ plugins: [plugin] })
  const { spans } = await record('solve', () => {
    if (api !== undefined) program(api)
  })
  const [first] = spans
  if (first === undefined) throw new Error('nothing was recorded')
  const store = await memoryStore()
  const { rolloutId, attemptId } = first
  await store.startRollout({ rolloutId, attemptId })
  await store.addSpans(spans)
  await store.updateAttempt(rolloutId, attemptId, { status: 'succeeded' })
  const out = join(folder(), 'chats.jsonl')
  const progress = await exportDataset(store, { format, out, ...options })
  return { rows: readLines(out), progress }
}

const calls =
  (...list: [start: Partial<ActivityStart['llm']>, end: ActivityData['llm']][]) =>
  (api: PluginApi): void => {
    for (const [asked, said] of list) api.activity('llm', { ...ASK, ...asked }).end(said)
  }

/** A second step of an agent: what it said and did before is in its prompt. */
const withTools = calls([
  {
    request: { model: 'm', parallel_tool_calls: false },
    tools: [WEATHER, { name: 'now' }],
    messages: [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'And in Bern?', name: 'user-1' },
      { role: 'assistant', content: 'Let me look.', toolCalls: [CALL] },
      { role: 'tool', content: 'rain', toolCallId: 'call-1' },
    ],
  },
  {
    choices: [
      {
        index: 0,
        role: 'assistant',
        reasoning: 'Once more.',
        finishReason: 'tool_calls',
        toolCalls: [{ ...CALL, id: 'call-2' }],
      },
    ],
  },
])

describe('chats for OpenAI', () => {
  it('have messages, tools and settings as its fine-tuning takes them, and teach only the last answer', async () => {
    const { rows } = await exported('openai-chat', withTools)
    const { type, id, ...called } = CALL
    const toolCall = { type, function: called }
    expect(rows).toEqual([
      {
        messages: [
          { role: 'system', content: 'Be brief.' },
          { role: 'user', content: 'And in Bern?', name: 'user-1' },
          { role: 'assistant', content: 'Let me look.', tool_calls: [{ id, ...toolCall }], weight: 0 },
          { role: 'tool', content: 'rain', tool_call_id: 'call-1' },
          { role: 'assistant', content: null, tool_calls: [{ id: 'call-2', ...toolCall }] },
        ],
        tools: [TOOL, { type: 'function', function: { name: 'now' } }],
        parallel_tool_calls: false,
      },
    ])
  })

  it('have nothing about tools where there are none', async () => {
    const asked = { request: { model: 'm', parallel_tool_calls: true } }
    const { rows } = await exported('openai-chat', calls([asked, SAY]))
    expect(rows.map((row) => Object.keys(row))).toEqual([['messages']])
  })

  it('are one for each answer where several were asked for', async () => {
    const said = ['one', 'two'].map((content, index) => ({ index, role: 'assistant', content }))
    const { rows } = await exported('openai-chat', calls([{ request: { n: 2 } }, { choices: said }]))
    expect(rows).toEqual(
      said.map(({ content }) => ({
        messages: [
          { role: 'user', content: 'hi' },
          { role: 'assistant', content },
        ],
      })),
    )
  })

  it('keep the parts of a content', async () => {
    const content = [
      { type: 'text', text: 'What is this?' },
      { type: 'image_url', image_url: { url: 'data:image/png;base64,AA', detail: 'low' } },
    ]
    const { rows } = await exported('openai-chat', calls([{ messages: [{ role: 'user', content }] }, SAY]))
    expect(rows).toMatchObject([{ messages: [{ role: 'user', content }, { content: 'ho' }] }])
  })

  it('take a text for a text, though it looks like JSON', async () => {
    const content = '[{"type": "poem", "text": "x"}]'
    const { rows } = await exported('openai-chat', calls([{ messages: [{ role: 'user', content }] }, SAY]))
    expect(rows).toMatchObject([{ messages: [{ content }, { content: 'ho' }] }])
  })

  it.each<[string, (api: PluginApi) => void]>([
    ['failed', (api) => api.activity('llm', ASK).fail(new Error('no'))],
    [
      'failed in the middle of its answer',
      (api) => {
        const call = api.activity('llm', ASK)
        call.update(SAY)
        call.fail(new Error('no'))
      },
    ],
    ['was broken off', calls([{}, { ...SAY, finish: 'cancelled' }])],
    [
      'was cut at a limit',
      calls([{}, { choices: [{ index: 0, role: 'assistant', content: 'h', finishReason: 'length' }] }]),
    ],
    ['has an empty answer', calls([{}, { choices: [{ index: 0, role: 'assistant', content: '' }] }])],
    ['was refused', calls([{}, { choices: [{ index: 0, role: 'assistant', refusal: 'No.' }] }])],
    ['has no prompt', calls([{ messages: [] }, SAY])],
    ['is no chat', calls([{ operation: 'completion' }, SAY])],
    [
      'is an embedding',
      (api) => api.activity('embedding', { provider: 'openai', request: {}, input: 'hi' }).end({ count: 1 }),
    ],
  ])('leave out a call that %s', async (_, program) => {
    const { rows, progress } = await exported('openai-chat', (api) => {
      program(api)
      calls([{}, SAY])(api)
    })
    expect(rows).toHaveLength(1)
    expect(progress).toMatchObject({ lines: 1, failed: 0 })
  })
})

describe('chats for Hugging Face', () => {
  it('are split into prompt and completion, with the arguments of tools as objects', async () => {
    const { rows } = await exported('hf-chat', withTools)
    const toolCall = { type: 'function', function: { name: 'weather', arguments: { city: 'Bern' } } }
    expect(rows).toEqual([
      {
        prompt: [
          { role: 'system', content: 'Be brief.' },
          { role: 'user', content: 'And in Bern?', name: 'user-1' },
          { role: 'assistant', content: 'Let me look.', tool_calls: [{ id: 'call-1', ...toolCall }] },
          { role: 'tool', content: 'rain', tool_call_id: 'call-1' },
        ],
        completion: [
          {
            role: 'assistant',
            content: null,
            tool_calls: [{ id: 'call-2', ...toolCall }],
            reasoning_content: 'Once more.',
          },
        ],
        tools: [TOOL, { type: 'function', function: { name: 'now' } }],
      },
    ])
  })

  it('have the same columns without tools', async () => {
    const { rows } = await exported('hf-chat', calls([{}, SAY]))
    expect(rows).toEqual([
      {
        prompt: [{ role: 'user', content: 'hi' }],
        completion: [{ role: 'assistant', content: 'ho' }],
        tools: null,
      },
    ])
  })

  it('keep arguments that are no JSON as the model wrote them', async () => {
    const said = { index: 0, role: 'assistant', toolCalls: [{ ...CALL, arguments: '{"city": ' }] }
    const { rows } = await exported('hf-chat', calls([{}, { choices: [said] }]))
    const call = { function: { name: 'weather', arguments: '{"city": ' } }
    expect(rows).toMatchObject([{ completion: [{ tool_calls: [call] }] }])
  })

  it('refuse images, which are in columns of their own there', async () => {
    const content = [{ type: 'image_url', image_url: { url: 'data:image/png;base64,AA' } }]
    const failures: unknown[] = []
    const onFailure = (_: string, error: unknown): void => void failures.push(error)
    const program = calls([{ messages: [{ role: 'user', content }] }, SAY])
    const { progress } = await exported('hf-chat', program, { onFailure })
    expect(progress).toMatchObject({ lines: 0, failed: 1 })
    expect(failures).toEqual([expect.objectContaining({ code: 'value_invalid' })])
  })
})

describe('a chat that Python’s adapter gives', () => {
  it('has the same messages', async () => {
    const [{ rows }, { rows: python }] = [
      await exported('openai-chat', calls([{ tools: [WEATHER] }, SAY])),
      await exported('messages', calls([{ tools: [WEATHER] }, SAY])),
    ]
    expect(rows).toEqual(python)
  })
})
