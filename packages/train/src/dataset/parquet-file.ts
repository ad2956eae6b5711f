import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import type { Writable } from 'node:stream'
import type { DatasetSource, ExportProgress } from './types.ts'
import { Exporter, type ExporterOptions, type ExportState } from './exporter.ts'
import { notOurs, notWritable, sizeOf, stopped } from './files.ts'
import { exclusively } from './lock.ts'
import { writeTo } from './output.ts'
import { CREATED_BY, ParquetRows } from './parquet.ts'

/** A file says at its very end what it is, and just before, who wrote it. */
const MARK = 'PAR1'
const END = 256

/** Writes a Parquet file, which cannot be continued: it is made under another name and takes its own when it is whole. */
export async function exportParquet(
  store: DatasetSource,
  options: ExporterOptions,
  state: ExportState,
  out: string | Writable,
): Promise<ExportProgress> {
  const run = async (write: (bytes: Uint8Array) => Promise<void>): Promise<ExportProgress> => {
    const rows = await ParquetRows.open(options.format, write)
    const progress = await new Exporter(store, options, state, rows).run()
    await rows.finish()
    return progress
  }
  // A stream may keep what it is given.
  if (typeof out !== 'string') return run((bytes) => writeTo(out, bytes.slice()))
  return exclusively(out, async () => {
    if (!(await mayReplace(out))) throw notOurs(out)
    const part = `${out}.part`
    const file = await open(part, 'w').catch((error: unknown) => {
      throw notWritable(out, error)
    })
    const guard = (error: unknown): never => {
      throw stopped(out, error, 'export to it again')
    }
    try {
      const progress = await run((bytes) => file.writeFile(bytes).catch(guard))
      await finish(file, part, out).catch(guard)
      return progress
    } catch (error) {
      await file.close().catch(() => undefined)
      await rm(part, { force: true })
      throw error
    }
  })
}

async function finish(file: FileHandle, part: string, out: string): Promise<void> {
  await file.datasync()
  await file.close()
  await rename(part, out)
}

/** Whether nothing is there but what an export has made. */
async function mayReplace(path: string): Promise<boolean> {
  const size = await sizeOf(path)
  if (size === undefined || size === 0) return true
  await using file = await open(path, 'r')
  const length = Math.min(size, END)
  const { buffer } = await file.read(Buffer.alloc(length), 0, length, size - length)
  const end = buffer.toString('latin1')
  return end.endsWith(MARK) && end.includes(CREATED_BY)
}
