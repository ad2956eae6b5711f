import { type Span, spanToJSON } from '@agl/core'
import type { DatasetFormat } from './formats.ts'

/** Makes rows of a few spans of one rollout. A text is a line as it is. */
export type SpanRows = (
  spans: readonly Span[],
  refuse: (spanId: string, reason: string) => void,
) => Iterable<object | string>

/** @throws AglError `package_missing` where the format needs a package that is not installed */
export async function spanRowsOf(format: DatasetFormat): Promise<SpanRows> {
  if (format !== 'otlp') return (spans) => spans.map(spanToJSON)
  const { otlpLines } = await import('./otlp-lines.ts')
  return otlpLines()
}
