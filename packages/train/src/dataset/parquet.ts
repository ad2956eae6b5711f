import { AglError } from '@agl/core'
import type { ByteWriter, ParquetWriter } from 'hyparquet-writer'
import { type Column, columnsOf } from './columns.ts'
import type { DatasetFormat } from './formats.ts'
import type { Output } from './output.ts'

/** What the footer of a file says of who wrote it. */
export const CREATED_BY = '@agl/train'
/** About as many bytes are held in memory, as one row group, before they are written. */
const ROW_GROUP = 4 * 1024 * 1024

/** The values of one row, in the order of the columns. */
export interface Cells {
  values: readonly unknown[]
  /** About how many bytes they take. */
  size: number
}

/** Rows as a Parquet file, which is whole only after `finish`. */
export class ParquetRows implements Output<Cells> {
  readonly #columns: readonly Column[]
  readonly #parquet: ParquetWriter
  #rows: Cells[] = []
  #size = 0

  private constructor(columns: readonly Column[], parquet: ParquetWriter) {
    this.#columns = columns
    this.#parquet = parquet
  }

  /**
   * @param write takes the bytes in order; they are used again when it is done
   * @throws AglError `usage` for a format that has no columns, `package_missing`
   */
  static async open(
    format: DatasetFormat,
    write: (bytes: Uint8Array) => Promise<void>,
  ): Promise<ParquetRows> {
    const columns = columnsOf(format)
    const { ByteWriter, ParquetWriter } = await loadWriter()
    const writer = new ByteWriter()
    const send = sender(writer, write)
    const schema = [
      { name: 'schema', num_children: columns.length },
      ...columns.flatMap((column) => column.schema),
    ]
    const sink = Object.assign(writer, { flush: send, finish: send })
    return new ParquetRows(columns, new ParquetWriter({ writer: sink, schema, createdBy: CREATED_BY }))
  }

  encode(row: object): Cells {
    const values = this.#columns.map((column) => column.read(row))
    return { values, size: sizeOf(values) }
  }

  async add(row: Cells): Promise<void> {
    this.#rows.push(row)
    this.#size += row.size
    if (this.#size >= ROW_GROUP) await this.#flush()
  }

  /** Nothing of the file can be read before its end. */
  commit(): Promise<void> {
    return Promise.resolve()
  }

  async finish(): Promise<void> {
    await this.#flush()
    await this.#parquet.finish()
  }

  async #flush(): Promise<void> {
    const rows = this.#rows
    if (rows.length === 0) return
    this.#rows = []
    this.#size = 0
    const columnData = this.#columns.map(({ name, statistics }, index) => ({
      name,
      statistics,
      data: rows.map(({ values }) => values[index]),
    }))
    await this.#parquet.write({ columnData, rowGroupSize: rows.length })
  }
}

/** Hands over what was gathered, and lets the same memory be used again. */
function sender(writer: ByteWriter, write: (bytes: Uint8Array) => Promise<void>): () => Promise<void> {
  return async () => {
    const bytes = writer.getBytes()
    writer.index = 0
    await write(bytes)
  }
}

/** How many bytes a value takes, as a rough guess that is cheap to make. */
function sizeOf(value: unknown): number {
  if (typeof value === 'string') return value.length
  if (typeof value !== 'object' || value === null) return 4
  let size = 2
  for (const item of Array.isArray(value) ? value : Object.entries(value)) size += sizeOf(item)
  return size
}

async function loadWriter(): Promise<typeof import('hyparquet-writer')> {
  try {
    return await import('hyparquet-writer')
  } catch (cause) {
    throw new AglError(
      'package_missing',
      'Parquet files need the package "hyparquet-writer"; install it with "npm install hyparquet-writer".',
      { cause },
    )
  }
}
