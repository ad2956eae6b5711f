import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { spanToJSON } from '@agl/core'
import { decodeTraces } from '@agl/otlp'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { Progress } from '../src/progress.ts'
import { ALL, App, lonelyBin } from './support.ts'

const STORE = ['--store', 'sqlite:.agl/demo.db']

/** An app with the traces of `agl demo`. */
async function recorded(): Promise<App> {
  const app = new App()
  await app.agl(['demo', '--problems', '4'])
  return app
}

function parse(text: string): Record<string, unknown>[] {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
}

describe('agl export', () => {
  it('writes triplets to a file, with the ids and the reward of every run', async () => {
    const app = await recorded()
    const { code, stdout, stderr } = await app.agl([
      'export',
      '--format',
      'triplets',
      ...STORE,
      '--out',
      'train.jsonl',
    ])
    expect({ code, stdout }).toEqual({ code: 0, stdout: '' })
    const triplets = parse(readFileSync(join(app.folder, 'train.jsonl'), 'utf8'))
    expect(stderr).toBe(`agl: ${triplets.length} lines of triplets from 4 rollouts in train.jsonl\n`)
    const ids = { token_ids: expect.arrayContaining([expect.any(Number)]) }
    for (const triplet of triplets) expect(triplet).toMatchObject({ prompt: ids, response: ids })
    const rewards = triplets.filter(({ reward }) => reward !== null)
    expect(new Set(rewards.map((triplet) => triplet['rollout_id'])).size).toBe(4)
  })

  it('goes on with the same file, and repeats nothing', async () => {
    const app = await recorded()
    const args = ['export', '--format', 'triplets', ...STORE, '--out', 'train.jsonl']
    await app.agl(args)
    const before = readFileSync(join(app.folder, 'train.jsonl'), 'utf8')
    const again = await app.agl(args)
    expect(again.code).toBe(0)
    expect(again.stderr).toMatch(/ from 4 rollouts in train\.jsonl; 4 are from an earlier export\n$/)
    expect(readFileSync(join(app.folder, 'train.jsonl'), 'utf8')).toBe(before)
    await app.agl(['demo', '--problems', '2'])
    const { stderr } = await app.agl(args)
    const after = readFileSync(join(app.folder, 'train.jsonl'), 'utf8')
    expect(after.startsWith(before)).toBe(true)
    expect(stderr).toContain(
      `${parse(after).length} lines of triplets from 6 rollouts in train.jsonl; 4 are from an earlier export`,
    )
  })

  it('writes chats to standard output, with the tools that were called', async () => {
    const { code, stdout } = await (await recorded()).agl(['export', '--format', 'messages', ...STORE])
    expect(code).toBe(0)
    expect(parse(stdout)[0]).toMatchObject({
      messages: [
        { role: 'system' },
        { role: 'user' },
        { role: 'assistant', tool_calls: [{ type: 'function' }] },
      ],
      tools: [{ type: 'function', function: { name: 'calculator' } }],
    })
  })

  it('writes only chats of runs whose reward is good enough, for OpenAI', async () => {
    const app = await recorded()
    const args = ['export', '--format', 'openai-chat', ...STORE]
    const { stdout, stderr } = await app.agl([...args, '--min-reward', '1'])
    const chats = parse(stdout)
    expect(chats[0]).toMatchObject({ messages: expect.any(Array), tools: [{ type: 'function' }] })
    const [, left = 'none'] = /(\d) (?:is|are) left out for want of reward/.exec(stderr) ?? []
    const { stdout: all } = await app.agl([...args, '--min-reward=-1'])
    expect(parse(all).length > chats.length).toBe(left !== 'none')
    const { code, stderr: none } = await app.agl([...args, '--min-reward', '1.5', '--out', 'none.jsonl'])
    expect(code).toBe(0)
    expect(none).toBe(
      'agl: 0 lines of openai-chat from 4 rollouts in none.jsonl; 4 are left out for want of reward\n',
    )
  })

  it('writes a Parquet file', async () => {
    const app = await recorded()
    const args = ['export', '--format', 'triplets', ...STORE, '--out', 'train.parquet']
    const { code, stderr } = await app.agl(args)
    expect(stderr).toMatch(/^agl: \d+ rows of triplets from 4 rollouts in train\.parquet\n$/)
    expect(code).toBe(0)
    const file = readFileSync(join(app.folder, 'train.parquet'), 'latin1')
    expect(file.slice(0, 4) + file.slice(-4)).toBe('PAR1PAR1')
    expect(file).toContain('prompt_token_ids')
  })

  it("writes spans as Agent Lightning's JSON", async () => {
    const { stdout } = await (await recorded()).agl(['export', '--format', 'spans', ...STORE])
    const spans = parse(stdout)
    expect(new Set(spans.map((span) => span['rollout_id'])).size).toBe(4)
    expect(spans[0]).toMatchObject({
      sequence_id: 1,
      parent_id: expect.any(String),
      attributes: expect.any(Object),
    })
  })

  it('writes spans as lines of OTLP, which say the same, and goes on with the same file', async () => {
    const app = await recorded()
    const args = ['export', '--format', 'otlp', ...STORE, '--out', 'spans.jsonl']
    const { code, stderr } = await app.agl(args)
    expect(code).toBe(0)
    expect(stderr).toMatch(/^agl: \d+ lines of otlp from 4 rollouts in spans\.jsonl\n$/)
    await app.agl(['demo', '--problems', '2'])
    const { stderr: again } = await app.agl(args)
    expect(again).toContain('from 6 rollouts in spans.jsonl; 4 are from an earlier export')
    const lines = readFileSync(join(app.folder, 'spans.jsonl'), 'utf8').trimEnd().split('\n')
    const contentType = 'application/json'
    const decoded = await Promise.all(lines.map((line) => decodeTraces(Buffer.from(line), { contentType })))
    const expected = (await app.traces('.agl/demo.db')).flatMap(({ spans }) => spans)
    expect(decoded.flatMap(({ spans }) => spans).map(spanToJSON)).toEqual(expected.map(spanToJSON))
  })

  it('writes the others where a run cannot be adapted, names it, and fails', async () => {
    const app = new App()
    app.write('good.mjs', `import { emitReward } from '@agl/core'\nemitReward(1)`)
    app.write(
      'bad.mjs',
      `import { emitAnnotation } from '@agl/core'\nemitAnnotation({ 'agentlightning.reward_x': 1 })`,
    )
    await app.agl(['run', 'bad.mjs'])
    await app.agl(['run', 'good.mjs'])
    const [bad] = await app.traces()
    const { code, stderr } = await app.agl(['export', '--format', 'triplets', '--out', 'train.jsonl'])
    expect(code).toBe(1)
    const lines = stderr.trimEnd().split('\n')
    expect(lines[0]).toContain(
      `agl: ${bad?.rollout.rolloutId} is left out: "agentlightning.reward" must be a list`,
    )
    expect(lines.slice(1)).toEqual([
      'agl: 0 lines of triplets from 2 rollouts in train.jsonl; 1 could not be adapted and is left out',
    ])
  })

  it('says that a run has not ended', async () => {
    const app = new App()
    app.write('killed.mjs', `console.log('now')\nsetInterval(() => {}, 1000)`)
    const env = { AGL_LOG: 'silent' }
    await app.agl(['run', 'killed.mjs'], {
      env,
      onOutput: (child) => setTimeout(() => child.kill('SIGKILL'), 600),
    })
    const { code, stderr } = await app.agl(['export', '--format', 'spans', '--out', 'spans.jsonl'])
    expect(code).toBe(0)
    expect(stderr).toContain('1 has not ended; export to the same file again when they have')
  })

  it.each([
    [[], 'Which format? Give --format triplets, messages, openai-chat, hf-chat, spans or otlp.'],
    [
      ['--format', 'csv'],
      'There is no format "csv"; give --format triplets, messages, openai-chat, hf-chat, spans or otlp.',
    ],
    [['--format', 'spans', '--store', 'nosql:x'], 'begins with "nosql:"'],
    [['--format', 'spans', '--min-reward', 'high'], 'The option --min-reward takes a number.'],
    [['--format', 'spans', 'now'], 'Unused args: `now`'],
  ])('refuses %j as wrong usage', async (args, sentence) => {
    const { code, stdout, stderr } = await new App().agl(['export', ...args])
    expect(stderr).toContain(sentence)
    expect(stderr.trim().split('\n')).toHaveLength(1)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  })

  it('does not touch a file that is not an export', async () => {
    const app = await recorded()
    writeFileSync(join(app.folder, 'notes.txt'), 'mine')
    const { code, stderr } = await app.agl(['export', '--format', 'spans', ...STORE, '--out', 'notes.txt'])
    expect(code).toBe(2)
    expect(stderr).toBe(
      'agl: notes.txt is there already and was not begun by an export; choose another file, or remove it.\n',
    )
    expect(readFileSync(join(app.folder, 'notes.txt'), 'utf8')).toBe('mine')
  })

  it('does not make a store where there is none', async () => {
    const app = new App()
    const { code, stderr } = await app.agl(['export', '--format', 'spans', '--out', 'spans.jsonl'])
    expect(code).toBe(1)
    expect(stderr).toContain('There is no store at .agl/agl.db')
    expect(existsSync(join(app.folder, 'spans.jsonl'))).toBe(false)
  })

  it('names the package to install when it is missing', async () => {
    const app = new App(
      ALL.filter((name) => name !== '@agl/train'),
      lonelyBin(),
    )
    const { code, stderr } = await app.agl(['export', '--format', 'spans'])
    expect(code).toBe(1)
    expect(stderr).toBe('agl: @agl/train is needed for this and not installed; run: npm install @agl/train\n')
  })

  it('is content when its reader has had enough', async () => {
    const app = await recorded()
    const command = `"${process.execPath}" --conditions=@agl/source "${app.bin}" export --format spans ${STORE.join(' ')} | head -c 100 > part; echo "\${PIPESTATUS[0]}" > code`
    await app.node([
      '-e',
      `require('child_process').execFileSync('bash', ['-c', ${JSON.stringify(command)}])`,
    ])
    expect(readFileSync(join(app.folder, 'part'), 'utf8')).toHaveLength(100)
    expect(readFileSync(join(app.folder, 'code'), 'utf8')).toBe('0\n')
  })
})

describe('progress', () => {
  afterEach(() => {
    vi.restoreAllMocks()
    vi.useRealTimers()
  })

  function told(isTTY: boolean, work: (progress: Progress) => void): string[] {
    const lines: string[] = []
    const { isTTY: before } = process.stderr
    process.stderr.isTTY = isTTY
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => lines.push(String(text)) > 0)
    work(new Progress())
    process.stderr.isTTY = before
    return lines
  }

  it('changes one line on a terminal, and clears it at the end', () => {
    const lines = told(true, (progress) => {
      progress.update('1 of 2')
      progress.update('2 of 2')
      progress.done()
    })
    expect(lines).toEqual(['\r\u001B[K1 of 2', '\r\u001B[K2 of 2', '\r\u001B[K'])
  })

  it('prints a plain line every few seconds elsewhere', () => {
    vi.useFakeTimers({ toFake: ['performance'] })
    const lines = told(false, (progress) => {
      progress.update('1 of 3')
      vi.advanceTimersByTime(6000)
      progress.update('2 of 3')
      progress.update('3 of 3')
      progress.done()
    })
    expect(lines).toEqual(['2 of 3\n'])
  })
})
