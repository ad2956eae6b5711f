import { spanToJSON } from '@agl/core'
import type { DatasetFormat } from './formats.ts'
import type { SpanRows } from './types.ts'

/** @throws AglError `package_missing` where the format needs a package that is not installed */
export async function spanRowsOf(format: DatasetFormat): Promise<SpanRows> {
  if (format !== 'otlp') return (spans) => spans.map(spanToJSON)
  const { otlpLines } = await import('./otlp-lines.ts')
  return otlpLines()
}
