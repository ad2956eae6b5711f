import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { AglError } from '@agl/core'
import { describe, expect, it } from 'vitest'
import { openStore } from '../src/index.ts'
import { APPLICATION_ID, MIGRATIONS } from '../src/sqlite/schema.ts'
import { folder } from './folder.ts'
import { run } from './processes.ts'
import { llmSpan } from './spans.ts'

/** Runs `statements` on the file as any SQLite program would. */
function sql(file: string, ...statements: string[]): void {
  const db = new DatabaseSync(file)
  for (const statement of statements) db.exec(statement)
  db.close()
}

function pragma(file: string, name: string): unknown {
  const db = new DatabaseSync(file, { readOnly: true })
  try {
    return Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0]
  } finally {
    db.close()
  }
}

/** What opening `url` is refused with; one sentence, whatever it is. */
async function refusal(url: string): Promise<{ code: string; message: string }> {
  const { code, message } = await openStore(url).then(
    () => ({ code: 'none', message: `${url} was opened` }),
    (error: AglError) => error,
  )
  expect(message).toMatch(/^[A-Z].*\.$/)
  return { code, message }
}

describe('a store URL', () => {
  it('names a file relative to the working directory', async () => {
    const file = join(folder(), 'agl.db')
    const store = await openStore(`sqlite:${relative(process.cwd(), file)}`)
    await store.close()
    expect(existsSync(file)).toBe(true)
  })

  it('may have the two slashes before an absolute path that other programs write', async () => {
    const file = join(folder(), 'agl.db')
    await (await openStore(`sqlite://${file}`)).close()
    expect(existsSync(file)).toBe(true)
  })

  it.each([
    ['agl.db', 'write "sqlite:agl.db"'],
    ['sqlite:', 'names no file'],
    ['sqlite::memory:', 'use "memory:"'],
    ['sqlite://agl.db', 'could mean two files'],
    ['mysql://somebody:secret@host/db', 'begins with "mysql:"'],
    ['memory', 'names no kind of store'],
    ['', 'names no kind of store'],
  ])('that is not understood is refused with what to write: %s', async (url, hint) => {
    const { code, message } = await refusal(url)
    expect(code).toBe('usage')
    expect(message).toContain(hint)
    expect(message).not.toContain('secret')
  })
})

describe('opening a SQLite file', () => {
  it('makes it, its folders and its schema', async () => {
    const file = join(folder(), 'deep', 'er', 'agl.db')
    await (await openStore(`sqlite:${file}`)).close()
    // Nothing is left beside the file once nobody has it open.
    expect(readdirSync(dirname(file))).toEqual([basename(file)])
    expect(pragma(file, 'user_version')).toBe(2)
    expect(pragma(file, 'journal_mode')).toBe('wal')
  })

  it('takes an empty file for a new one', async () => {
    const file = join(folder(), 'agl.db')
    writeFileSync(file, '')
    await (await openStore(`sqlite:${file}`)).close()
    expect(pragma(file, 'user_version')).toBe(2)
  })

  it('succeeds for all processes that open the same new files at the same moments', async () => {
    const path = folder()
    const programs = [1, 2, 3, 4].map(() => run('race.ts', [path]))
    await Promise.all(programs.map((program) => program.line(/^ready$/)))
    const begin = Date.now() + 100
    for (const program of programs) program.process.stdin?.end(String(begin))
    for (const program of programs) {
      expect(await program.end()).toMatchObject({ lines: ['ready', '60 files opened'], errors: '' })
    }
  })

  it('finds again what was stored, and goes on counting', async () => {
    const url = `sqlite:${join(folder(), 'agl.db')}`
    for (const _ of [1, 2]) {
      await using store = await openStore(url)
      await store.addSpans([llmSpan()], { createMissing: true })
    }
    await using store = await openStore(url)
    const { items } = await store.querySpans({ rolloutId: 'ro-1' })
    expect(items.map(({ sequenceId }) => sequenceId)).toEqual([1, 2])
  })

  it('brings a file of the first version up to date, and keeps what is in it', async () => {
    const file = join(folder(), 'agl.db')
    sql(
      file,
      ...MIGRATIONS.slice(0, 1),
      `PRAGMA application_id = ${APPLICATION_ID}`,
      'PRAGMA user_version = 1',
      `INSERT INTO rollouts (rollout_id, input, start_time, status, config, metadata) VALUES ('ro-old', '1', 1700000000,
         'running', '{"timeoutSeconds":null,"unresponsiveSeconds":null,"maxAttempts":1,"retryCondition":[]}', '{"name":"a"}')`,
      `INSERT INTO attempts (rollout_id, attempt_id, sequence_id, start_time, status, metadata)
         VALUES ('ro-old', 'at-old', 1, 1700000000, 'running', '{}')`,
    )
    const store = await openStore(`sqlite:${file}`)
    expect(pragma(file, 'user_version')).toBe(2)
    expect(await store.getRollout('ro-old')).toMatchObject({
      metadata: { name: 'a' },
      attempt: { sequenceId: 1 },
    })
    expect(await store.dequeueRollouts()).toEqual([])
    await store.updateRollout('ro-old', { status: 'queuing' })
    expect(await store.dequeueRollouts()).toMatchObject([{ rolloutId: 'ro-old', attempt: { sequenceId: 2 } }])
    await store.close()
  })

  it('refuses a newer schema, naming both versions, and leaves the file as it is', async () => {
    const file = join(folder(), 'agl.db')
    await (await openStore(`sqlite:${file}`)).close()
    sql(file, 'PRAGMA user_version = 7', 'CREATE TABLE novelty (id)')
    const before = { bytes: readFileSync(file), modified: statSync(file).mtimeMs }
    expect(await refusal(`sqlite:${file}`)).toMatchObject({
      code: 'store_schema',
      message: `The store file ${file} has schema version 7 and this @agl/store knows versions up to 2; upgrade @agl/store, or choose another path.`,
    })
    expect({ bytes: readFileSync(file), modified: statSync(file).mtimeMs }).toEqual(before)
  })

  it('refuses a newer schema whose writer was killed, and leaves file and log as they are', async () => {
    const path = folder()
    const file = join(path, 'agl.db')
    await (await openStore(`sqlite:${file}`)).close()
    const newer = new DatabaseSync(file)
    newer.exec('PRAGMA wal_autocheckpoint = 0')
    newer.exec('PRAGMA user_version = 7')
    const copy = join(path, 'copy.db')
    const before = ['', '-wal'].map((ending) => {
      const bytes = readFileSync(file + ending)
      writeFileSync(copy + ending, bytes)
      return bytes
    })
    newer.close()
    expect((await refusal(`sqlite:${copy}`)).code).toBe('store_schema')
    expect(['', '-wal'].map((ending) => readFileSync(copy + ending))).toEqual(before)
  })

  it('refuses another program’s database and leaves it as it is', async () => {
    const file = join(folder(), 'other.db')
    sql(file, 'CREATE TABLE customers (id)', 'INSERT INTO customers VALUES (1)')
    const before = readFileSync(file)
    const { code, message } = await refusal(`sqlite:${file}`)
    expect(code).toBe('store_unavailable')
    expect(message).toContain(`${file} is a database of another program; choose another path`)
    expect(readFileSync(file)).toEqual(before)
  })

  it('refuses a file that is no database and leaves it as it is', async () => {
    const file = join(folder(), 'notes.txt')
    writeFileSync(file, 'Not a database, but long enough to have a header. '.repeat(20))
    const before = readFileSync(file)
    const { code, message } = await refusal(`sqlite:${file}`)
    expect(code).toBe('store_unavailable')
    expect(message).toContain(`${file} is not a SQLite database; choose another path`)
    expect(readFileSync(file)).toEqual(before)
  })

  it('refuses a damaged file', async () => {
    const file = join(folder(), 'agl.db')
    await (await openStore(`sqlite:${file}`)).close()
    const bytes = readFileSync(file)
    writeFileSync(file, bytes.fill(0xff, 100, 8000))
    const { code, message } = await refusal(`sqlite:${file}`)
    expect(code).toBe('store_unavailable')
    expect(message).toContain(file)
  })

  it('refuses a folder', async () => {
    const path = folder()
    const { code, message } = await refusal(`sqlite:${path}`)
    expect(code).toBe('store_unavailable')
    expect(message).toContain(`The store's path ${path} is a folder; choose a path to a file.`)
  })

  it('refuses a path through a file', async () => {
    const file = join(folder(), 'file')
    writeFileSync(file, '')
    const { code, message } = await refusal(`sqlite:${join(file, 'agl.db')}`)
    expect(code).toBe('store_unavailable')
    expect(message).toContain(`The store file ${join(file, 'agl.db')} cannot be opened or created`)
  })
})

describe('without the right to write', () => {
  // Who may do everything would not notice: as such a user, the program runs as nobody.
  const nobody = process.getuid?.() === 0 ? { uid: 65_534 } : {}

  it('a folder is refused', async () => {
    const path = join(folder(), 'locked')
    mkdirSync(path)
    chmodSync(dirname(path), 0o755)
    chmodSync(path, 0o555)
    const { lines, errors } = await run('open.ts', [`sqlite:${join(path, 'sub', 'agl.db')}`], nobody).end()
    expect({ lines, errors }).toEqual({ lines: [expect.stringContaining('store_unavailable: ')], errors: '' })
    expect(lines[0]).toContain(`The store file ${join(path, 'sub', 'agl.db')} cannot be written`)
    expect(lines[0]).toMatch(/choose another path\.$/)
  })

  it('a file is refused', async () => {
    const path = folder()
    const file = join(path, 'agl.db')
    await (await openStore(`sqlite:${file}`)).close()
    chmodSync(path, 0o777)
    chmodSync(file, 0o444)
    const { lines, errors } = await run('open.ts', [`sqlite:${file}`], nobody).end()
    expect({ lines, errors }).toEqual({ lines: [expect.stringContaining('store_unavailable: ')], errors: '' })
    expect(lines[0]).toContain(`The store file ${file} cannot be written`)
  })
})
