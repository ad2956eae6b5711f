import { spawnSync } from 'node:child_process'
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { type DatasetFormat, exportDataset, type ExportOptions, type ExportProgress } from '@agl/train'
import { describe, expect, it } from 'vitest'
import { decodeTraces } from '@agl/otlp'
import type { Attributes, Span } from '@agl/core'
import { addRollout, folder, memoryStore, readLines, refusal, span } from './support.ts'

/** A span with ids as OpenTelemetry has them. */
function hexSpan(i: number, attemptId: string, attributes: Attributes = {}): Span {
  return span({
    rolloutId: 'ro-a',
    attemptId,
    traceId: 'a'.repeat(32),
    spanId: (i + 1).toString(16).padStart(16, '0'),
    sequenceId: i + 1,
    name: `span ${i}`,
    attributes: { i, 'agentlightning.reward.0.value': i / 3, text: 'ü\n', ...attributes },
    startTime: i,
    endTime: i + 0.5,
  })
}

async function decodeLines(lines: readonly string[]): Promise<Span[]> {
  const contentType = 'application/json'
  const decoded = await Promise.all(lines.map((line) => decodeTraces(Buffer.from(line), { contentType })))
  return decoded.flatMap(({ spans }) => spans)
}

describe('exportDataset', () => {
  it("writes triplets with Python's names and the ids of their rollout", async () => {
    const store = await memoryStore()
    await addRollout(store, 'ro-a')
    await addRollout(store, 'ro-b')
    const out = join(folder(), 'train.jsonl')
    const result = await exportDataset(store, { format: 'triplets', out })
    expect(result).toEqual({
      rollouts: 2,
      total: 2,
      earlier: 0,
      lines: 2,
      failed: 0,
      rejected: 0,
      unfinished: 0,
    })
    expect(readLines(out)).toEqual(
      ['ro-a', 'ro-b'].map((rolloutId) => ({
        rollout_id: rolloutId,
        attempt_id: `at-${rolloutId}`,
        prompt: { token_ids: [1, 2], raw_content: [{ role: 'user', content: 'hi' }], image_urls: [] },
        response: { token_ids: [3], raw_content: [{ role: 'assistant', content: 'ho' }] },
        reward: 0.5,
        metadata: {
          request: null,
          response: { id: `chatcmpl-${rolloutId}` },
          response_id: `chatcmpl-${rolloutId}`,
          agent_name: '*',
        },
      })),
    )
  })

  it('writes chats as fine-tuning takes them, with nothing added', async () => {
    const store = await memoryStore()
    await addRollout(store, 'ro-a')
    const out = join(folder(), 'chats.jsonl')
    await exportDataset(store, { format: 'messages', out })
    expect(readLines(out)).toEqual([
      {
        messages: [
          { role: 'user', content: 'hi' },
          { role: 'assistant', content: 'ho' },
        ],
        tools: null,
      },
    ])
  })

  it("writes spans as Agent Lightning's JSON, those of all attempts", async () => {
    const store = await memoryStore()
    await addRollout(store, 'ro-a')
    const out = join(folder(), 'spans.jsonl')
    await exportDataset(store, { format: 'spans', out })
    expect(readLines(out)).toMatchObject([
      { rollout_id: 'ro-a', span_id: 'call', sequence_id: 1, attributes: { prompt_token_ids: [1, 2] } },
      { rollout_id: 'ro-a', span_id: 'reward', sequence_id: 2, parent_id: null },
    ])
  })

  it('writes spans as requests of OTLP that say the same, those of all attempts', async () => {
    const store = await memoryStore()
    await store.startRollout({ rolloutId: 'ro-a', attemptId: 'at-1' })
    const spans = Array.from({ length: 450 }, (_, i) => hexSpan(i, 'at-1'))
    await store.addSpans(spans)
    await store.startRollout({ rolloutId: 'ro-a', attemptId: 'at-2' })
    await store.addSpans([hexSpan(1000, 'at-2')])
    await store.updateAttempt('ro-a', 'at-2', { status: 'succeeded' })
    const out = join(folder(), 'spans.jsonl')
    const { lines } = await exportDataset(store, { format: 'otlp', out })
    const { items: expected } = await store.querySpans({ rolloutId: 'ro-a' })
    const text = readFileSync(out, 'utf8').trimEnd().split('\n')
    expect(text).toHaveLength(lines)
    expect(await decodeLines(text)).toEqual(expected)
    expect(JSON.parse(text[0] ?? '')).toMatchObject({ resourceSpans: [{ scopeSpans: [{ spans: {} }] }] })
  })

  it('parts requests of OTLP that would be large', async () => {
    const store = await memoryStore()
    await store.startRollout({ rolloutId: 'ro-a', attemptId: 'at-1' })
    const ids = Int32Array.from({ length: 20_000 }, (_, i) => 100_000 + i)
    const spans = Array.from({ length: 8 }, (_, i) => hexSpan(i, 'at-1', { prompt_token_ids: ids }))
    await store.addSpans(spans)
    await store.updateAttempt('ro-a', 'at-1', { status: 'succeeded' })
    const out = join(folder(), 'spans.jsonl')
    await exportDataset(store, { format: 'otlp', out })
    const text = readFileSync(out, 'utf8').trimEnd().split('\n')
    expect(Math.max(...text.map((line) => line.length))).toBeLessThan(1_200_000)
    expect((await decodeLines(text)).map(({ attributes }) => attributes['prompt_token_ids'])).toEqual(
      spans.map(() => ids),
    )
  })

  it('says which rollouts OTLP cannot say as they are, and writes the rest of them', async () => {
    const store = await memoryStore()
    await store.startRollout({ rolloutId: 'ro-a', attemptId: 'at-1' })
    await store.addSpans([hexSpan(1, 'at-1'), { ...hexSpan(2, 'at-1'), spanId: 'no hex' }])
    await store.updateAttempt('ro-a', 'at-1', { status: 'succeeded' })
    const failures: [string, unknown][] = []
    const onFailure = (id: string, error: unknown): void => void failures.push([id, error])
    const out = join(folder(), 'spans.jsonl')
    const first = await exportDataset(store, { format: 'otlp', out, onFailure })
    expect(first).toMatchObject({ rollouts: 1, lines: 1, failed: 1 })
    expect(failures).toEqual([
      [
        'ro-a',
        expect.objectContaining({ message: expect.stringContaining('span no hex: an id is not 16 hex') }),
      ],
    ])
    expect(await decodeLines(readFileSync(out, 'utf8').trimEnd().split('\n'))).toHaveLength(1)
    const again = await exportDataset(store, { format: 'otlp', out, onFailure })
    expect(again).toMatchObject({ earlier: 1, lines: 1, failed: 1 })
  })

  it('takes triplets from the latest attempt alone', async () => {
    const store = await memoryStore()
    await addRollout(store, 'ro-a')
    await store.startRollout({ rolloutId: 'ro-a', attemptId: 'at-2' })
    await store.updateAttempt('ro-a', 'at-2', { status: 'failed' })
    const out = join(folder(), 'train.jsonl')
    expect(await exportDataset(store, { format: 'triplets', out })).toMatchObject({
      rollouts: 1,
      lines: 0,
      failed: 0,
    })
  })

  it('writes to a stream, and no file beside it', async () => {
    const store = await memoryStore()
    await addRollout(store, 'ro-a')
    const stream = new PassThrough()
    const text: string[] = []
    stream.on('data', (data: Buffer) => text.push(data.toString()))
    await exportDataset(store, { format: 'triplets', out: stream })
    expect(JSON.parse(text.join(''))).toMatchObject({ rollout_id: 'ro-a' })
  })

  it("takes another adapter's lines", async () => {
    const store = await memoryStore()
    await addRollout(store, 'ro-a')
    const out = join(folder(), 'own.jsonl')
    const adapter: ExportOptions['adapter'] = (spans) => [{ names: spans.map(({ name }) => name) }]
    await exportDataset(store, { format: 'triplets', out, adapter })
    expect(readLines(out)).toEqual([
      { rollout_id: 'ro-a', attempt_id: 'at-ro-a', names: ['openai.chat.completion', 'span'] },
    ])
  })

  it('tells how far it is', async () => {
    const store = await memoryStore()
    await addRollout(store, 'ro-a')
    const told: ExportProgress[] = []
    const onProgress = (progress: ExportProgress): void => void told.push(progress)
    const out = join(folder(), 'train.jsonl')
    await exportDataset(store, { format: 'triplets', out, onProgress })
    expect(told.at(-1)).toEqual({
      rollouts: 1,
      total: 1,
      earlier: 0,
      lines: 1,
      failed: 0,
      rejected: 0,
      unfinished: 0,
    })
  })

  it('writes ids as lists, in whatever form an adapter passes them on', async () => {
    const store = await memoryStore()
    await addRollout(store, 'one')
    const out = join(folder(), 'out.jsonl')
    const ids = Int32Array.of(5, 6)
    const adapter: ExportOptions['adapter'] = () => [{ prompt: { ids }, all: [ids] }]
    await exportDataset(store, { format: 'triplets', out, adapter })
    expect(readLines(out)).toEqual([expect.objectContaining({ prompt: { ids: [5, 6] }, all: [[5, 6]] })])
  })

  it('ends with an error where the stream that it writes to is closed', async () => {
    const store = await memoryStore()
    await addRollout(store, 'one')
    const out = new PassThrough()
    out.destroy()
    await expect(exportDataset(store, { format: 'triplets', out })).rejects.toThrow(/destroyed|closed/i)
  })

  it('leaves out a rollout that the adapter refuses, and says so', async () => {
    const store = await memoryStore()
    await addRollout(store, 'ro-a')
    await addRollout(store, 'ro-b', { attributes: { 'logprobs.content': 'oops' } })
    await addRollout(store, 'ro-c')
    const failures: [string, unknown][] = []
    const onFailure = (id: string, error: unknown): void => void failures.push([id, error])
    const out = join(folder(), 'train.jsonl')
    const result = await exportDataset(store, { format: 'triplets', out, onFailure })
    expect(result).toMatchObject({ rollouts: 3, lines: 2, failed: 1 })
    expect(failures).toEqual([['ro-b', expect.objectContaining({ code: 'value_invalid' })]])
    expect(readLines(out).map((line) => line['rollout_id'])).toEqual(['ro-a', 'ro-c'])
  })

  it('takes only rollouts whose final reward is good enough', async () => {
    const store = await memoryStore()
    await addRollout(store, 'ro-half')
    await addRollout(store, 'ro-good', { reward: true })
    await addRollout(store, 'ro-text', { reward: '1e0' })
    await addRollout(store, 'ro-nan', { reward: 'nan' })
    await addRollout(store, 'ro-odd', { reward: null, attributes: { 'agentlightning.reward.0.name': 'x' } })
    await addRollout(store, 'ro-none', { reward: null })
    const place = folder()
    const take = async (format: DatasetFormat, minReward: number): Promise<unknown> => {
      const out = join(place, `${format}-${minReward}.jsonl`)
      const result = await exportDataset(store, { format, out, minReward })
      return { ...result, ids: readLines(out).map((line) => line['rollout_id']) }
    }
    const good = { rollouts: 6, total: 6, earlier: 0, failed: 1, rejected: 3, unfinished: 0 }
    expect(await take('triplets', 0.75)).toEqual({ ...good, lines: 2, ids: ['ro-good', 'ro-text'] })
    expect(await take('spans', 0.75)).toMatchObject({ rejected: 3, lines: 4 })
    expect(await take('triplets', 0.5)).toMatchObject({
      rejected: 2,
      ids: ['ro-half', 'ro-good', 'ro-text'],
    })
    const out = join(place, 'triplets-0.75.jsonl')
    const error = await refusal(exportDataset(store, { format: 'triplets', out, minReward: 0.5 }))
    expect(error.message).toContain('cancelled with a reward of at least 0.75;')
    const wrong = refusal(exportDataset(store, { format: 'triplets', minReward: Number.NaN }))
    expect((await wrong).code).toBe('usage')
  })

  it('refuses a format that it does not have', async () => {
    const store = await memoryStore()
    const format: DatasetFormat = JSON.parse('"csv"')
    expect((await refusal(exportDataset(store, { format }))).code).toBe('usage')
  })
})

describe('exporting to a file again', () => {
  it('adds what is new, and repeats nothing', async () => {
    const store = await memoryStore()
    await addRollout(store, 'ro-a')
    const out = join(folder(), 'train.jsonl')
    await exportDataset(store, { format: 'triplets', out })
    expect(await exportDataset(store, { format: 'triplets', out })).toMatchObject({
      rollouts: 1,
      earlier: 1,
      lines: 1,
    })
    await addRollout(store, 'ro-b')
    expect(await exportDataset(store, { format: 'triplets', out })).toMatchObject({
      rollouts: 2,
      earlier: 1,
      lines: 2,
    })
    expect(readLines(out).map((line) => line['rollout_id'])).toEqual(['ro-a', 'ro-b'])
  })

  it('takes a rollout once it has ended', async () => {
    const store = await memoryStore()
    await addRollout(store, 'ro-a', { status: 'running' })
    await addRollout(store, 'ro-b')
    await addRollout(store, 'ro-c', { status: 'running' })
    const out = join(folder(), 'train.jsonl')
    expect(await exportDataset(store, { format: 'triplets', out })).toMatchObject({ lines: 1, unfinished: 2 })
    await store.updateAttempt('ro-a', 'latest', { status: 'failed' })
    expect(await exportDataset(store, { format: 'triplets', out })).toMatchObject({
      earlier: 1,
      lines: 2,
      unfinished: 1,
    })
    await store.updateAttempt('ro-c', 'latest', { status: 'succeeded' })
    expect(await exportDataset(store, { format: 'triplets', out })).toMatchObject({
      earlier: 2,
      lines: 3,
      unfinished: 0,
    })
    expect(readLines(out).map((line) => line['rollout_id'])).toEqual(['ro-b', 'ro-a', 'ro-c'])
  })

  it('takes only rollouts of the given statuses', async () => {
    const store = await memoryStore()
    await addRollout(store, 'ro-a', { status: 'failed' })
    await addRollout(store, 'ro-b')
    const out = join(folder(), 'train.jsonl')
    const statusIn = ['succeeded'] as const
    await exportDataset(store, { format: 'triplets', out, statusIn })
    expect(readLines(out).map((line) => line['rollout_id'])).toEqual(['ro-b'])
    const error = await refusal(exportDataset(store, { format: 'triplets', out }))
    expect(error.message).toContain('holds triplets of rollouts that succeeded;')
  })

  it('refuses a file that it did not begin, and leaves it as it is', async () => {
    const store = await memoryStore()
    const out = join(folder(), 'notes.txt')
    writeFileSync(out, 'mine')
    const error = await refusal(exportDataset(store, { format: 'triplets', out }))
    expect(error).toMatchObject({
      code: 'usage',
      message: expect.stringContaining('was not begun by an export'),
    })
    expect(readFileSync(out, 'utf8')).toBe('mine')
    expect(existsSync(`${out}.progress`)).toBe(false)
  })

  it('refuses a file of another format, of another store, or that was cut', async () => {
    const [store, other] = [await memoryStore(), await memoryStore()]
    await addRollout(store, 'ro-a')
    await addRollout(other, 'ro-other')
    const out = join(folder(), 'train.jsonl')
    await exportDataset(store, { format: 'triplets', out })
    const before = readFileSync(out, 'utf8')
    const messages = await refusal(exportDataset(store, { format: 'messages', out }))
    expect(messages.message).toContain('holds triplets')
    const foreign = await refusal(exportDataset(other, { format: 'triplets', out }))
    expect(foreign.message).toContain('was exported from another store')
    expect(readFileSync(out, 'utf8')).toBe(before)
    writeFileSync(out, before.slice(5))
    const cut = await refusal(exportDataset(store, { format: 'triplets', out }))
    expect(cut.message).toContain('is shorter than the export left it')
  })

  it('begins anew where the file was removed', async () => {
    const store = await memoryStore()
    await addRollout(store, 'ro-a')
    const out = join(folder(), 'train.jsonl')
    await exportDataset(store, { format: 'triplets', out })
    rmSync(out)
    await exportDataset(store, { format: 'messages', out })
    expect(readLines(out)).toHaveLength(1)
  })

  it('says in one sentence where it cannot write', async () => {
    const store = await memoryStore()
    const place = folder()
    const nowhere = await refusal(
      exportDataset(store, { format: 'spans', out: join(place, 'no/train.jsonl') }),
    )
    expect(nowhere).toMatchObject({ code: 'usage', message: expect.stringContaining('cannot be written') })
    mkdirSync(join(place, 'taken'))
    const taken = await refusal(exportDataset(store, { format: 'spans', out: join(place, 'taken') }))
    expect(taken).toMatchObject({ code: 'usage', message: expect.stringContaining('is no file') })
  })
})

describe('a process that exports', () => {
  const run = (...args: (string | number)[]) => {
    const program = fileURLToPath(new URL('fixtures/large.ts', import.meta.url))
    const flags = ['--conditions=@agl/source', '--max-old-space-size=64']
    return spawnSync(process.execPath, [...flags, program, ...args.map(String)], { encoding: 'utf8' })
  }

  it('goes on where SIGKILL stopped it: no rollout twice, none missing, no half line', () => {
    const out = join(folder(), 'train.jsonl')
    const count = 300
    for (const killAt of [150, 240]) {
      expect(run(out, count, 20_000, killAt).signal).toBe('SIGKILL')
      const { bytes }: { bytes: number } = JSON.parse(readFileSync(`${out}.progress`, 'utf8'))
      expect(bytes, 'a commit came before').toBeGreaterThan(0)
      expect(statSync(out).size, 'and lines after it').toBeGreaterThan(bytes)
      // As a write that the kill cut in two leaves it.
      appendFileSync(out, '{"rollout_id": "ro-')
    }
    const { status, stdout } = run(out, count, 20_000)
    expect(status).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ rollouts: count, lines: count })
    const expected = Array.from({ length: count }, (_, i) => `ro-${i}`)
    expect(readLines(out).map((line) => line['rollout_id'])).toEqual(expected)
  })

  it('writes 200 MB with 64 MB of heap', () => {
    const { status, stdout } = run(join(folder(), 'train.jsonl'), 20_000, 10_000)
    expect(status).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ lines: 20_000 })
  })
})
