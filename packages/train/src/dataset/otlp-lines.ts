import { AglError, type Span } from '@agl/core'
import type { SpanRows } from './types.ts'

/** About as many bytes a line of OTLP takes; one span may take more. */
const LINE = 1024 * 1024

/** @throws AglError `package_missing` */
export async function otlpLines(): Promise<SpanRows> {
  const { encodeTraces } = await loadOtlp()
  return function* (spans, refuse) {
    for (const portion of portions(spans)) {
      const { body, refused } = encodeTraces(portion, { protocol: 'json', sequenceIds: true })
      for (const { spanId, reason } of refused) refuse(spanId, reason)
      if (refused.length < portion.length) yield new TextDecoder().decode(body)
    }
  }
}

/** A request that a server does not take is of no use, so long ones are parted. */
function* portions(spans: readonly Span[]): Generator<Span[]> {
  let portion: Span[] = []
  let size = 0
  for (const span of spans) {
    const more = sizeOf(span)
    if (portion.length > 0 && size + more > LINE) {
      yield portion
      portion = []
      size = 0
    }
    portion.push(span)
    size += more
  }
  if (portion.length > 0) yield portion
}

/** Of a span in OTLP's JSON, roughly: a number of a list has an object of its own. */
function sizeOf({ attributes }: Span): number {
  let size = 500
  for (const [key, value] of Object.entries(attributes))
    size += key.length + 40 + (typeof value === 'object' ? value.length * 22 : String(value).length)
  return size
}

async function loadOtlp(): Promise<typeof import('@agl/otlp')> {
  try {
    return await import('@agl/otlp')
  } catch (cause) {
    throw new AglError(
      'package_missing',
      'The format otlp needs the package "@agl/otlp"; install it with "npm install @agl/otlp".',
      { cause },
    )
  }
}
