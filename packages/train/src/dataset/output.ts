import { once } from 'node:events'
import type { Writable } from 'node:stream'
import { Gathered, type Lines } from './resumable.ts'

/** Where rows go. What was added since the last `commit` may be lost. */
export interface Output<Row> {
  /** @throws AglError `value_invalid` for what it cannot hold */
  encode(row: object): Row
  add(row: Row): Promise<void>
  commit(): Promise<void>
}

/** Rows as one JSON object per line. */
export function jsonLines(lines: Pick<Lines, 'add' | 'commit'>): Output<string> {
  return {
    encode: (row) => JSON.stringify(row),
    add: (line) => lines.add(line),
    commit: () => lines.commit(),
  }
}

export function streamLines(stream: Writable): Pick<Lines, 'add' | 'commit'> {
  const gathered = new Gathered((text) => writeTo(stream, text))
  return { add: (line) => gathered.add(line), commit: () => gathered.flush() }
}

export async function writeTo(stream: Writable, data: string | Uint8Array): Promise<void> {
  if (!stream.write(data)) await once(stream, 'drain')
}
