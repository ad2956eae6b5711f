import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { AglError } from '@agl/core'
import { type DatasetContainer, exportDataset, type ExportOptions } from '@agl/train'
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from 'hyparquet'
import { describe, expect, it } from 'vitest'
import { addRollout, folder, memoryStore, refusal } from './support.ts'

/** The rows of a file, without what is null. */
async function readRows(path: string): Promise<Record<string, unknown>[]> {
  const rows = await parquetReadObjects({ file: await asyncBufferFromFile(path) })
  return rows.map(withoutNull)
}

function withoutNull(row: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(row).filter(([, value]) => value !== undefined && value !== null))
}

const withId = (id: number) => () => [
  { prompt: { token_ids: [id] }, response: { token_ids: [] }, reward: null, metadata: {} },
]

describe('a Parquet file', () => {
  it('spreads triplets over columns', async () => {
    const store = await memoryStore()
    await addRollout(store, 'ro-a', {
      attributes: {
        'logprobs.content': '[{"token": "ho", "logprob": -0.5}, {"logprob": -Infinity}, {"logprob": null}]',
      },
    })
    await addRollout(store, 'ro-b')
    const out = join(folder(), 'train.parquet')
    expect(await exportDataset(store, { format: 'triplets', out })).toMatchObject({ rollouts: 2, lines: 2 })
    const rows = await readRows(out)
    expect(rows).toMatchObject([
      { rollout_id: 'ro-a', logprobs: [-0.5, Number.NEGATIVE_INFINITY, null] },
      { rollout_id: 'ro-b' },
    ])
    expect(rows[1]).toEqual({
      rollout_id: 'ro-b',
      attempt_id: 'at-ro-b',
      prompt_token_ids: [1, 2],
      response_token_ids: [3],
      reward: 0.5,
      agent_name: '*',
      response_id: 'chatcmpl-ro-b',
      prompt: [{ role: 'user', content: 'hi' }],
      response: [{ role: 'assistant', content: 'ho' }],
      image_urls: [],
      response_metadata: { id: 'chatcmpl-ro-b' },
    })
  })

  it.each(['messages', 'openai-chat', 'hf-chat'] as const)(
    'holds the rows of %s as they are',
    async (format) => {
      const store = await memoryStore()
      await addRollout(store, 'ro-a')
      const place = folder()
      const [lines, parquet] = [join(place, 'x.jsonl'), join(place, 'x.parquet')]
      await exportDataset(store, { format, out: lines })
      await exportDataset(store, { format, out: parquet })
      const expected: Record<string, unknown> = JSON.parse(readFileSync(lines, 'utf8'))
      expect(await readRows(parquet)).toEqual([withoutNull(expected)])
    },
  )

  it('is made of a stream too, where that is asked for', async () => {
    const store = await memoryStore()
    await addRollout(store, 'ro-a')
    const path = join(folder(), 'train')
    const stream = createWriteStream(path)
    await exportDataset(store, { format: 'triplets', container: 'parquet', out: stream })
    stream.end()
    await once(stream, 'close')
    expect(await readRows(path)).toMatchObject([{ rollout_id: 'ro-a' }])
  })

  it('is made anew each time, and is there only when it is whole', async () => {
    const store = await memoryStore()
    await addRollout(store, 'ro-a')
    const out = join(folder(), 'train.parquet')
    await exportDataset(store, { format: 'triplets', out })
    const before = readFileSync(out)
    await addRollout(store, 'ro-b')
    const gone = {
      ...store,
      queryRollouts: store.queryRollouts.bind(store),
      getRollout: store.getRollout.bind(store),
      querySpans: () => Promise.reject(new AglError('store_unavailable', 'The store is away.')),
    }
    const error = await refusal(exportDataset(gone, { format: 'triplets', out }))
    expect(error.code).toBe('store_unavailable')
    expect(readFileSync(out)).toEqual(before)
    await exportDataset(store, { format: 'triplets', out })
    expect(await readRows(out)).toMatchObject([{ rollout_id: 'ro-a' }, { rollout_id: 'ro-b' }])
    expect(readdirSync(dirname(out))).toEqual(['train.parquet'])
  })

  it('does not take the place of a file that is not its own', async () => {
    const store = await memoryStore()
    const out = join(folder(), 'notes.parquet')
    writeFileSync(out, 'mine')
    const error = await refusal(exportDataset(store, { format: 'triplets', out }))
    expect(error).toMatchObject({
      code: 'usage',
      message: expect.stringContaining('was not begun by an export'),
    })
    expect(readFileSync(out, 'utf8')).toBe('mine')
    const nowhere = await refusal(
      exportDataset(store, { format: 'triplets', out: join(folder(), 'no/x.parquet') }),
    )
    expect(nowhere).toMatchObject({ code: 'usage', message: expect.stringContaining('cannot be written') })
  })

  it('leaves out a rollout that its columns cannot hold', async () => {
    const store = await memoryStore()
    await addRollout(store, 'ro-a')
    const failures: unknown[] = []
    const onFailure = (_: string, error: unknown): void => void failures.push(error)
    const out = join(folder(), 'train.parquet')
    const adapter = withId(2 ** 31)
    const progress = await exportDataset(store, { format: 'triplets', out, adapter, onFailure })
    expect(progress).toMatchObject({ lines: 0, failed: 1 })
    expect(failures).toEqual([expect.objectContaining({ code: 'value_invalid' })])
    await exportDataset(store, { format: 'triplets', out, adapter: withId(2 ** 31 - 1) })
    expect(await readRows(out)).toMatchObject([{ prompt_token_ids: [2 ** 31 - 1] }])
  })

  it('refuses spans, and containers that are not known', async () => {
    const store = await memoryStore()
    const out = join(folder(), 'x.parquet')
    expect(await refusal(exportDataset(store, { format: 'spans', out }))).toMatchObject({ code: 'usage' })
    const container: DatasetContainer = JSON.parse('"csv"')
    const options: ExportOptions = { format: 'triplets', out, container }
    expect(await refusal(exportDataset(store, options))).toMatchObject({ code: 'usage' })
    expect(existsSync(out)).toBe(false)
  })
})

describe('a process that exports to Parquet', () => {
  const run = (flags: readonly string[], ...args: (string | number)[]) => {
    const program = fileURLToPath(new URL('fixtures/large.ts', import.meta.url))
    return spawnSync(process.execPath, ['--conditions=@agl/source', ...flags, program, ...args.map(String)], {
      encoding: 'utf8',
    })
  }

  it('leaves the file as it was when it is killed, and the next one makes it', async () => {
    const out = join(folder(), 'train.parquet')
    expect(run([], out, 2, 10).status).toBe(0)
    expect(run([], out, 3000, 20_000, 2900).signal).toBe('SIGKILL')
    expect(await readRows(out)).toHaveLength(2)
    expect(run([], out, 300, 20_000).status).toBe(0)
    const rows = await readRows(out)
    const expected = Array.from({ length: 300 }, (_, i) => `ro-${i}`)
    expect(rows.map((row) => row['rollout_id'])).toEqual(expected)
    expect(readdirSync(dirname(out))).toEqual(['train.parquet'])
  })

  it('writes 100 MB of rows with 64 MB of heap', async () => {
    const out = join(folder(), 'train.parquet')
    const { status, stderr } = run(['--max-old-space-size=64'], out, 10_000, 10_000)
    expect(stderr).toBe('')
    expect(status).toBe(0)
    const { num_rows: rows, row_groups: groups } = await parquetMetadataAsync(await asyncBufferFromFile(out))
    expect(rows).toBe(10_000n)
    expect(groups.length).toBeGreaterThan(10)
  })

  it('says which package is missing', () => {
    const hook = `import { registerHooks } from 'node:module'
      registerHooks({ resolve(specifier, context, next) {
        if (specifier === 'hyparquet-writer') throw Object.assign(new Error('none'), { code: 'ERR_MODULE_NOT_FOUND' })
        return next(specifier, context)
      } })`
    const out = join(folder(), 'train.parquet')
    const { status, stderr } = run([`--import=data:text/javascript,${encodeURIComponent(hook)}`], out, 1, 10)
    expect(status).toBe(1)
    expect(stderr).toContain('npm install hyparquet-writer')
    expect(readdirSync(dirname(out))).toEqual([])
  })
})
