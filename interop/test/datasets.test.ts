import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { definePlugin, type PluginApi, record, start } from '@agl/core'
import { openStore, type Store } from '@agl/store'
import { startModelServer } from '@agl/testkit'
import { type DatasetFormat, exportDataset, type ExportProgress } from '@agl/train'
import { vllm } from '@agl/vllm'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { answer, runProgram } from '../src/programs.ts'
import { type PythonProgram, startPython } from '../src/python.ts'

const RUNS = 60
/** The time that making the environment may take. */
const ENVIRONMENT = 20 * 60_000

type Row = Record<string, unknown>

let python: PythonProgram
let store: Store
let folder: string

beforeAll(async () => {
  python = await startPython('datasets', 'readers.py')
  folder = mkdtempSync(join(tmpdir(), 'agl-datasets-'))
  store = await openStore('memory:')
  await using server = await startModelServer({ flavor: 'vllm', models: ['scripted'], reply: answer })
  let api: PluginApi | undefined
  const own = definePlugin({ name: 'own', setup: (given) => void (api = given) })
  await using _lightning = await start({ plugins: [vllm({ logprobs: true }), own], strict: true })
  const client = new OpenAI({ baseURL: server.baseURL, apiKey: 'none', maxRetries: 0 })
  for (let seed = 1; seed <= RUNS; seed++) {
    const { spans } = await record(`run ${seed}`, () => api && runProgram(seed, { client, api }))
    const [{ rolloutId, attemptId } = { rolloutId: '', attemptId: '' }] = spans
    await store.startRollout({ rolloutId, attemptId })
    await store.addSpans(spans)
    await store.updateAttempt(rolloutId, attemptId, { status: 'succeeded' })
  }
}, ENVIRONMENT)

afterAll(async () => {
  await python?.[Symbol.asyncDispose]()
  await store?.close()
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true })
})

/** One export in both containers: the lines as they are, and what Python reads of the files. */
async function exported(format: DatasetFormat): Promise<{
  lines: Row[]
  progress: ExportProgress
  jsonl: Row
  parquet: Row
}> {
  const [file, parquet] = [join(folder, `${format}.jsonl`), join(folder, `${format}.parquet`)]
  const progress = await exportDataset(store, { format, out: file })
  // A Parquet file is made anew, a file of lines is continued.
  expect(await exportDataset(store, { format, out: parquet })).toEqual({ ...progress, earlier: 0 })
  const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1)
  return {
    lines: lines.map((line) => JSON.parse(line)),
    progress,
    jsonl: fields(await python.ask({ file })),
    parquet: fields(await python.ask({ file: parquet })),
  }
}

function fields(value: unknown): Row {
  expect(value).toBeTypeOf('object')
  return { ...(value as object) }
}

function rowsOf(value: unknown): Row[] {
  return Array.isArray(value) ? value.map(fields) : []
}

function withoutNull(row: Row): Row {
  return Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null))
}

describe('files of rows, in pyarrow and Hugging Face’s datasets', () => {
  it('have the ids, log probabilities and rewards of triplets in columns of numbers', async () => {
    const { lines, parquet, progress } = await exported('triplets')
    expect(progress).toMatchObject({ total: RUNS, failed: 0 })
    expect(lines.length).toBeGreaterThan(2 * RUNS)
    expect(parquet['columns']).toEqual({
      rollout_id: 'string',
      attempt_id: 'string',
      prompt_token_ids: 'list<element: int32>',
      response_token_ids: 'list<element: int32>',
      logprobs: 'list<element: float>',
      reward: 'double',
      agent_name: 'string',
      response_id: 'string',
      prompt: 'extension<arrow.json>',
      response: 'extension<arrow.json>',
      image_urls: 'list<element: string>',
      request: 'extension<arrow.json>',
      response_metadata: 'extension<arrow.json>',
    })
    const expected = lines.map((line) => {
      const [prompt, response, metadata] = ['prompt', 'response', 'metadata'].map((key) => fields(line[key]))
      const logprobs = response?.['logprobs']
      return {
        rollout_id: line['rollout_id'],
        attempt_id: line['attempt_id'],
        prompt_token_ids: prompt?.['token_ids'],
        response_token_ids: response?.['token_ids'],
        logprobs: Array.isArray(logprobs)
          ? logprobs.map((entry) => Math.fround(Number(fields(entry)['logprob'])))
          : null,
        reward: line['reward'],
        agent_name: metadata?.['agent_name'],
        response_id: metadata?.['response_id'],
        prompt: prompt?.['raw_content'],
        response: response?.['raw_content'],
        image_urls: prompt?.['image_urls'],
        request: metadata?.['request'],
        response_metadata: metadata?.['response'],
      }
    })
    expect(rowsOf(parquet['datasets'])).toEqual(expected)
    const numbers = ['prompt_token_ids', 'response_token_ids', 'logprobs', 'reward'] as const
    const onlyNumbers = (row: Row): Row => Object.fromEntries(numbers.map((name) => [name, row[name]]))
    expect(rowsOf(parquet['arrow']).map(onlyNumbers)).toEqual(expected.map(onlyNumbers))
    for (const name of numbers)
      expect(expected.filter((row) => row[name] !== null).length).toBeGreaterThan(RUNS / 4)
  }, 120_000)

  it.each(['openai-chat', 'hf-chat', 'messages'] as const)(
    'have the rows of %s as they were written',
    async (format) => {
      const { lines, parquet, jsonl, progress } = await exported(format)
      expect(progress).toMatchObject({ total: RUNS, failed: 0 })
      expect(lines.length).toBeGreaterThan(RUNS)
      expect(rowsOf(parquet['datasets']).map(withoutNull)).toEqual(lines.map(withoutNull))
      expect(rowsOf(jsonl['datasets']).map(withoutNull)).toHaveLength(lines.length)
    },
    120_000,
  )

  it('have chats for TRL that need no care: messages and tools are objects with the fields they had', async () => {
    const { parquet } = await exported('hf-chat')
    const json = 'List(Json(decode=True))'
    expect(parquet['features']).toEqual({ prompt: json, completion: json, tools: json })
    const rows = rowsOf(parquet['datasets'])
    const [withTools, without] = [true, false].map((has) =>
      rows.find(({ completion }) => JSON.stringify(completion).includes('tool_calls') === has),
    )
    const added = { name: 'add', arguments: { x: 0, why: expect.any(String) } }
    const calls = expect.arrayContaining([expect.objectContaining({ type: 'function', function: added })])
    expect(withTools).toMatchObject({ completion: [{ role: 'assistant', tool_calls: calls }] })
    expect(without).toMatchObject({
      prompt: [{ role: 'system', content: 'You are brief.' }, { role: 'user' }],
    })
  }, 120_000)
})
