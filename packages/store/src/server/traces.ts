import type { IncomingMessage } from 'node:http'
import { AglError, type Span } from '@agl/core'
import type { Store } from '../store.ts'
import type { AddSpansOptions, AddedSpans } from '../types.ts'
import { readBytes } from './body.ts'
import { RESULT_HEADER } from './name.ts'
import type { Reply } from './reply.ts'

interface TracesResult extends AddedSpans {
  /** Why some were refused, where the store does not have their rollout or attempt. */
  missing?: string
}

/**
 * Takes in the spans of an OTLP request, protobuf or JSON.
 *
 * Unlike the Python store, one span that cannot be stored does not cost the others: the answer counts those that were
 * rejected. Where none could be stored, since the store does not have their rollouts, it is 400, after which no
 * exporter sends them again.
 */
export async function receiveTraces(
  request: IncomingMessage,
  query: URLSearchParams,
  store: Store,
  maxBytes: number,
): Promise<Reply> {
  const { decodeTraces, failureResponse, protocolOf, tracesResponse } = await import('@agl/otlp')
  const contentType = request.headers['content-type']
  const contentEncoding = request.headers['content-encoding']
  try {
    const protocol = protocolOf(contentType)
    const body = await readBytes(request, maxBytes)
    const decoded = await decodeTraces(body, { contentType, contentEncoding, maxBytes })
    const whole = decoded.spans.filter(({ rolloutId, attemptId }) => rolloutId !== '' && attemptId !== '')
    const options = { keepSequenceIds: true, createMissing: query.get('create_missing') === 'true' }
    const result = await addAll(store, whole, options)
    const nameless = decoded.spans.length - whole.length
    const rejected = decoded.rejected + nameless + result.refused.length
    const reasons = [
      ...decoded.reasons,
      ...(nameless > 0 ? [`${nameless} without agentlightning.rollout_id and .attempt_id`] : []),
      ...new Set(result.refused.map(({ reason }) => reason)),
    ].slice(0, MOST)
    const headers = { [RESULT_HEADER]: toHeader(result) }
    if (result.missing !== undefined && result.refused.length === whole.length) {
      const error = new AglError('body_invalid', reasons.join('; '))
      return { ...failureResponse(protocol, error), headers }
    }
    return { ...tracesResponse(protocol, { rejected, reasons }), headers }
  } catch (error) {
    if (!AglError.is(error) || !error.code.startsWith('body_')) throw error
    const isJSON = contentType?.toLowerCase().startsWith('application/json') === true
    const headers = error.code === 'body_too_large' ? { connection: 'close' } : {}
    return { ...failureResponse(isJSON ? 'json' : 'protobuf', error), headers }
  }
}

/** Reasons that an answer gives. */
const MOST = 10

/** Adds all that can be added: spans of unknown rollouts and attempts are refused, not the batch. */
async function addAll(store: Store, spans: readonly Span[], options: AddSpansOptions): Promise<TracesResult> {
  try {
    return await store.addSpans(spans, options)
  } catch (error) {
    if (!isMissing(error)) throw error
  }
  const sum: TracesResult = { added: 0, duplicates: 0, refused: [] }
  for (const [first, ...rest] of byAttempt(spans)) {
    const group = [first, ...rest]
    try {
      const { added, duplicates, refused } = await store.addSpans(group, options)
      sum.added += added
      sum.duplicates += duplicates
      sum.refused.push(...refused)
    } catch (error) {
      if (!isMissing(error)) throw error
      sum.missing ??= error.message.slice(0, 500)
      sum.refused.push(...group.map(({ spanId }) => ({ spanId, reason: error.message })))
    }
  }
  return sum
}

function isMissing(error: unknown): error is AglError {
  return AglError.is(error) && error.code === 'not_found'
}

function byAttempt(spans: readonly Span[]): Iterable<[Span, ...Span[]]> {
  const groups = new Map<string, [Span, ...Span[]]>()
  for (const span of spans) {
    const key = `${span.rolloutId}\0${span.attemptId}`
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [span])
    else group.push(span)
  }
  return groups.values()
}

function toHeader({ refused, ...rest }: TracesResult): string {
  const some = refused.slice(0, MOST).map(({ spanId, reason }) => ({
    spanId: spanId.slice(0, 64),
    reason: reason.slice(0, 200),
  }))
  const json = JSON.stringify({ ...rest, refused: some })
  return json.replaceAll(/[^ -~]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
