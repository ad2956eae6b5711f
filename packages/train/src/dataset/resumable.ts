import { existsSync } from 'node:fs'
import { type FileHandle, open, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises'
import { AglError } from '@agl/core'
import { notOurs, notWritable, sizeOf, stopped } from './files.ts'

/** Where lines go. What was added since the last `commit` may be lost. */
export interface Lines {
  add(line: string): Promise<void>
  commit(): Promise<void>
  close(): Promise<void>
}

/** As much as is gathered before it is written. */
const CHUNK = 1024 * 1024
const GO_ON = 'export to it again to go on from there'

/** Gathers lines and hands them to `write` in larger pieces. */
export class Gathered {
  readonly #write: (text: string) => Promise<void>
  #lines: string[] = []
  #length = 0

  constructor(write: (text: string) => Promise<void>) {
    this.#write = write
  }

  async add(line: string): Promise<void> {
    this.#lines.push(line, '\n')
    this.#length += line.length + 1
    if (this.#length >= CHUNK) await this.flush()
  }

  async flush(): Promise<void> {
    const text = this.#lines.join('')
    this.#lines = []
    this.#length = 0
    if (text !== '') await this.#write(text)
  }
}

interface Saved<State> {
  /** How long the file was when `state` was true. */
  bytes: number
  state: State
}

/**
 * A file of lines that is continued where it stopped, whatever ended the process: `FILE.progress` beside it says how long
 * the file was at the last commit, and what is beyond that is cut off.
 */
export class ResumableFile<State> implements Lines {
  /** What the next commit saves; as of the last commit where there was one. */
  readonly state: State
  readonly #path: string
  readonly #file: FileHandle
  readonly #gathered: Gathered
  #bytes: number

  private constructor(path: string, file: FileHandle, { bytes, state }: Saved<State>) {
    this.#path = path
    this.#file = file
    this.#bytes = bytes
    this.state = state
    this.#gathered = new Gathered(async (text) => {
      const data = Buffer.from(text)
      await file.appendFile(data).catch((error: unknown) => {
        throw stopped(path, error, GO_ON)
      })
      this.#bytes += data.length
    })
  }

  /**
   * @param check refuses a state that does not fit, by throwing
   * @throws AglError `usage` where the file is there and not of our making, or was changed since
   */
  static async open<State>(
    path: string,
    fresh: State,
    check: (saved: unknown) => State | Promise<State>,
  ): Promise<ResumableFile<State>> {
    const progress = progressOf(path)
    const size = await sizeOf(path)
    let saved: Saved<State> = { bytes: 0, state: fresh }
    const found = existsSync(progress) ? readSaved(await readFile(progress, 'utf8')) : undefined
    if (found === undefined && size !== undefined && size > 0) throw notOurs(path)
    if (found !== undefined && size !== undefined) {
      if (size < found.bytes) {
        throw new AglError(
          'usage',
          `${path} is shorter than the export left it; remove it and ${progress} to begin anew.`,
        )
      }
      saved = { bytes: found.bytes, state: await check(found.state) }
      await truncate(path, saved.bytes)
    }
    // Before the file itself, so that no kill leaves one that nobody knows.
    try {
      await save(progress, saved)
      return new ResumableFile(path, await open(path, 'a'), saved)
    } catch (cause) {
      throw notWritable(path, cause)
    }
  }

  add(line: string): Promise<void> {
    return this.#gathered.add(line)
  }

  async commit(): Promise<void> {
    await this.#gathered.flush()
    try {
      await this.#file.datasync()
      await save(progressOf(this.#path), { bytes: this.#bytes, state: this.state })
    } catch (error) {
      throw stopped(this.#path, error, GO_ON)
    }
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}

function progressOf(path: string): string {
  return `${path}.progress`
}

/** In one step, so that it is never half written. */
async function save(path: string, saved: Saved<unknown>): Promise<void> {
  const draft = `${path}.${process.pid}`
  try {
    await writeFile(draft, JSON.stringify(saved))
    await rename(draft, path)
  } catch (error) {
    await rm(draft, { force: true })
    throw error
  }
}

function readSaved(text: string): Saved<unknown> | undefined {
  try {
    const saved: Partial<Saved<unknown>> = JSON.parse(text)
    return typeof saved.bytes === 'number' ? { bytes: saved.bytes, state: saved.state } : undefined
  } catch {
    return undefined
  }
}
