import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, it } from 'vitest'
import { openStore } from '../src/index.ts'
import { folder } from './folder.ts'
import { run } from './processes.ts'

/** Opens the file as any SQLite program would, and returns what `PRAGMA integrity_check` says. */
function integrity(file: string): unknown {
  const db = new DatabaseSync(file)
  try {
    return db.prepare('PRAGMA integrity_check').get()?.['integrity_check']
  } finally {
    db.close()
  }
}

describe('a process that is killed', () => {
  it('has stored every span that was acknowledged, whole and in order', async () => {
    const file = join(folder(), 'agl.db')
    const program = run('load.ts', [`sqlite:${file}`, 'w'])
    await program.line(/^40$/)
    program.process.kill('SIGKILL')
    const { signal, lines } = await program.end()
    expect(signal).toBe('SIGKILL')

    expect(integrity(file)).toBe('ok')
    const store = await openStore(`sqlite:${file}`)
    const { items } = await store.querySpans({ rolloutId: 'ro-1' })
    await store.close()
    const acknowledged = Number(lines.at(-1)) * 50
    expect(items.length).toBeGreaterThanOrEqual(acknowledged)
    const order = Array.from(items, (_, i) => `w-${Math.floor(i / 50) + 1}-${i % 50}`)
    expect(items.map(({ spanId }) => spanId)).toEqual(order)
    expect(items.map(({ sequenceId }) => sequenceId)).toEqual(items.map((_, i) => i + 1))
  })

  it('loses no trace that was flushed', async () => {
    const file = join(folder(), 'agl.db')
    const program = run('record.ts', [file])
    await program.line(/^100$/)
    program.process.kill('SIGKILL')
    const { lines } = await program.end()

    expect(integrity(file)).toBe('ok')
    const store = await openStore(`sqlite:${file}`)
    const { items } = await store.queryRollouts()
    const finished = items.filter(({ status }) => status === 'succeeded')
    expect(finished.length).toBeGreaterThanOrEqual(Number(lines.at(-1)))
    for (const { rolloutId } of finished) {
      const spans = await store.querySpans({ rolloutId })
      expect(spans.items.map(({ name }) => name)).toEqual(['agentlightning.message', 'work.session'])
    }
    await store.close()
  })

  it('leaves a file that goes on being written', async () => {
    const file = join(folder(), 'agl.db')
    for (const writer of ['a', 'b', 'c']) {
      const program = run('load.ts', [`sqlite:${file}`, writer])
      await program.line(/^5$/)
      program.process.kill('SIGKILL')
      await program.end()
    }
    const store = await openStore(`sqlite:${file}`)
    const { items } = await store.querySpans({ rolloutId: 'ro-1' })
    await store.close()
    expect(new Set(items.map(({ attemptId }) => attemptId))).toEqual(new Set(['a', 'b', 'c']))
    expect(items.map(({ sequenceId }) => sequenceId)).toEqual(items.map((_, i) => i + 1))
  })
})

describe('several processes', () => {
  it('write one file side by side, and each finds all of its spans there', async () => {
    const file = join(folder(), 'agl.db')
    const writers = ['a', 'b', 'c'].map((writer) => run('load.ts', [`sqlite:${file}`, writer, '40']))
    for (const writer of writers) expect(await writer.end()).toMatchObject({ code: 0, errors: '' })

    expect(integrity(file)).toBe('ok')
    const store = await openStore(`sqlite:${file}`)
    const { items } = await store.querySpans({ rolloutId: 'ro-1' })
    for (const attemptId of ['a', 'b', 'c']) {
      const { total } = await store.querySpans({ rolloutId: 'ro-1', attemptId })
      expect(total).toBe(2000)
    }
    await store.close()
    expect(items.map(({ sequenceId }) => sequenceId)).toEqual(items.map((_, i) => i + 1))
  })
})

describe('runners in several processes', () => {
  it('take each rollout of one file once, and lose none', async () => {
    const url = `sqlite:${join(folder(), 'agl.db')}`
    const store = await openStore(url)
    const ids = (await store.enqueueRollouts(Array.from({ length: 300 }, (_, input) => ({ input })))).map(
      ({ rolloutId }) => rolloutId,
    )
    const programs = [1, 2].map(() => run('runners.ts', [url, '32']))
    const taken: string[] = []
    for (const program of programs) {
      const { code, errors, lines } = await program.end()
      expect({ code, errors }).toEqual({ code: 0, errors: '' })
      taken.push(...lines)
    }
    expect(taken.toSorted()).toEqual(ids.toSorted())
    const { total } = await store.queryRollouts({ statusIn: ['succeeded'] })
    expect(total).toBe(300)
    await store.close()
  })

  it('hear of work that another process brings, and of its end', async () => {
    const url = `sqlite:${join(folder(), 'agl.db')}`
    const store = await openStore(url)
    const program = run('runners.ts', [url, '1', '30'])
    await program.line(/^waiting$/)
    const [rollout] = await store.enqueueRollouts([{ input: 'late' }])
    const id = rollout?.rolloutId ?? ''
    const [finished] = await store.waitForRollouts([id], { timeout: 30 })
    expect(finished).toMatchObject({ rolloutId: id, status: 'succeeded' })
    program.process.kill('SIGKILL')
    await store.close()
  })

  it('that are killed lose their rollout to another one when its time is over', async () => {
    const url = `sqlite:${join(folder(), 'agl.db')}`
    const store = await openStore(url, { watchdogInterval: 0.1 })
    const config = { unresponsiveSeconds: 1, maxAttempts: 2, retryCondition: ['unresponsive' as const] }
    const [rollout] = await store.enqueueRollouts([{ input: 'hang', config }])
    const program = run('runners.ts', [url, '1', '30'])
    await program.line(/^hanging$/)
    program.process.kill('SIGKILL')
    const [again] = await store.dequeueRollouts({ timeout: 30 })
    expect(again).toMatchObject({ rolloutId: rollout?.rolloutId, attempt: { sequenceId: 2 } })
    const { items } = await store.queryAttempts(rollout?.rolloutId ?? '')
    expect(items.map(({ status }) => status)).toEqual(['unresponsive', 'preparing'])
    await store.close()
  })
})

describe('a program', () => {
  it('ends by itself with a store left open', async () => {
    const file = join(folder(), 'agl.db')
    expect(await run('endings.ts', ['idle', file]).end()).toMatchObject({ code: 0, errors: '' })
    // All is in the one file: the log beside it is gone, as after `close`.
    expect(readdirSync(dirname(file))).toEqual([basename(file)])
    const store = await openStore(`sqlite:${file}`)
    expect((await store.statistics()).totalRollouts).toBe(1)
    await store.close()
  })

  it('ends only when what it began to write is written', async () => {
    const file = join(folder(), 'agl.db')
    expect(await run('endings.ts', ['unawaited', file]).end()).toMatchObject({ code: 0, errors: '' })
    const store = await openStore(`sqlite:${file}`)
    expect((await store.statistics()).totalSpans).toBe(5000)
    await store.close()
  })

  it('that calls process.exit hands over its last spans, those of an open trace included', async () => {
    const file = join(folder(), 'agl.db')
    expect(await run('endings.ts', ['exit', file]).end()).toMatchObject({ code: 3, errors: '' })
    const store = await openStore(`sqlite:${file}`)
    const { items } = await store.queryRollouts()
    const names = await Promise.all(
      items.map(async ({ rolloutId }) => {
        const spans = await store.querySpans({ rolloutId })
        return spans.items.map(({ name }) => name)
      }),
    )
    expect(items.map(({ metadata }) => metadata?.['name'])).toEqual(['finished', 'open'])
    expect(names).toEqual([
      ['agentlightning.message', 'finished.session'],
      ['agentlightning.message', 'open.session'],
    ])
    expect(items[0]?.status).toBe('succeeded')
    await store.close()
  })
})

describe('a disk without room', () => {
  it('fails the write with a clear sentence, and all is stored once there is room', async ({ skip }) => {
    const disk = join(folder(), 'disk')
    mkdirSync(disk)
    try {
      execFileSync('/bin/mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', disk], { stdio: 'pipe' })
    } catch (error) {
      if (process.env['CI']) throw error
      console.warn('SKIPPED: a full disk could not be tried, since this user may not mount one.')
      skip('needs the right to mount a small disk')
    }
    try {
      const program = run('full.ts', [join(disk, 'agl.db')])
      const failure = await program.line(/^failed/)
      expect(failure).toBe(
        `failed store_unavailable: The disk is full and the store file ${join(disk, 'agl.db')} cannot grow; free some space and try again.`,
      )
      execFileSync('/bin/mount', ['-o', 'remount,size=64m', disk])
      program.process.stdin?.write('go on\n')
      const { code, lines, errors } = await program.end()
      expect({ code, errors }).toEqual({ code: 0, errors: '' })
      const { count, written, dropped } = JSON.parse(lines.at(-1)?.replace('done ', '') ?? '')
      expect({ written, dropped }).toEqual({ written: 2 * count, dropped: 0 })
      expect(integrity(join(disk, 'agl.db'))).toBe('ok')
      const store = await openStore(`sqlite:${join(disk, 'agl.db')}`)
      const { total } = await store.queryRollouts({ statusIn: ['succeeded'] })
      expect(total).toBe(count)
      await store.close()
    } finally {
      execFileSync('/bin/umount', [disk])
    }
  })

  it('is told from other trouble when a limit on file sizes is met', async ({ skip }) => {
    if (process.platform === 'win32') skip('needs limits on file sizes')
    const file = join(folder(), 'agl.db')
    // In blocks of 1024 bytes.
    const program = run('full.ts', [file], { shell: 'ulimit -f 2000' })
    const failure = await program.line(/^failed/)
    expect(failure).toContain(`store_unavailable: The store file ${file} cannot be read or written`)
    program.process.kill('SIGKILL')
    await program.end()
    expect(integrity(file)).toBe('ok')
  })
})
