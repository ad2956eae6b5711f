import type { Writable } from 'node:stream'
import { Gathered, type Lines } from './resumable.ts'

/** Where rows go. What was added since the last `commit` may be lost. */
export interface Output<Row> {
  /**
   * @param row a text is a line as it is
   * @throws AglError `value_invalid` for what it cannot hold
   */
  encode(row: object | string): Row
  add(row: Row): Promise<void>
  commit(): Promise<void>
}

/** Rows as one JSON object per line. */
export function jsonLines(lines: Pick<Lines, 'add' | 'commit'>): Output<string> {
  return {
    encode: (row) => {
      if (typeof row === 'string') return row
      return hasTyped(row, 4) ? JSON.stringify(row, listed) : JSON.stringify(row)
    },
    add: (line) => lines.add(line),
    commit: () => lines.commit(),
  }
}

export function streamLines(stream: Writable): Pick<Lines, 'add' | 'commit'> {
  const gathered = new Gathered((text) => writeTo(stream, text))
  return { add: (line) => gathered.add(line), commit: () => gathered.flush() }
}

/** Resolves when the stream has taken it, and rejects where it fails or is closed before. */
export function writeTo(stream: Writable, data: string | Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(data, (error) => (error ? reject(error) : resolve()))
  })
}

/** Whether there are ids as records hold them, which JSON would write as objects. A replacer costs too much to use always. */
function hasTyped(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null || depth === 0) return false
  if (ArrayBuffer.isView(value)) return true
  if (Array.isArray(value)) return hasTyped(value[0], depth - 1)
  for (const item of Object.values(value)) if (hasTyped(item, depth - 1)) return true
  return false
}

function listed(_key: string, value: unknown): unknown {
  return value instanceof Int32Array ? Array.from(value) : value
}
