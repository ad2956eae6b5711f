import { AglError, type Span, type SpanJSON, spanFromJSON, spanToJSON } from '@agl/core'
import { portions } from '../row.ts'
import { isObject } from '../json-reader.ts'
import { RESULT_HEADER } from '../server/name.ts'
import type { AddSpansOptions, AddedSpans, Attempt, Page } from '../types.ts'
import type { Caller } from './caller.ts'
import type { Answer, Call } from './connection.ts'
import { toError } from './errors.ts'
import { unexpected } from './from-json.ts'

/** Of one answer, roughly: reading it holds up this thread, at some 10 ms per 4 MB. */
const PAGE_BYTES = 4 * 1024 * 1024
const FIRST_PAGE = 200

type AttemptsOf = (rolloutId: string) => Promise<Attempt[]>

/**
 * Sends spans over OTLP, in portions and in order. Those that OTLP cannot say go as JSON, one by one.
 *
 * @throws AglError not_found where the store does not have a rollout or attempt
 */
export async function sendSpans(
  caller: Caller,
  spans: readonly Span[],
  options: AddSpansOptions,
  attemptsOf: AttemptsOf,
): Promise<AddedSpans> {
  const { encodeTraces } = await import('@agl/otlp')
  const { keepSequenceIds = false, createMissing = false } = options
  const sum: AddedSpans = { added: 0, duplicates: 0, refused: [] }
  const send = async (batch: readonly Span[]): Promise<void> => {
    const encoded = encodeTraces(batch, { sequenceIds: keepSequenceIds })
    const others = new Set(encoded.refused.map(({ spanId }) => spanId))
    const travelling = batch.filter(({ spanId }) => !others.has(spanId))
    if (travelling.length > 0) {
      const path = `/v1/traces${createMissing ? '?create_missing=true' : ''}`
      const { body, contentType } = encoded
      const call: Call = { method: 'POST', path, body, contentType, timeout: 60_000 }
      const answer = await caller.send(call, false, [400, 413, 500])
      if (answer.status === 413) await sendLess(travelling, send, sum)
      else add(sum, await resultOf(answer, travelling, caller, attemptsOf))
    }
    for (const span of batch) {
      if (others.has(span.spanId)) await sendSpan(caller, span, options, sum)
    }
  }
  for (const { accepted, refused } of portions(spans, options)) {
    sum.refused.push(...refused)
    await send(accepted)
  }
  return sum
}

/** Spans that are too large for the server, or a proxy before it, at once: one by one at last, so that one costs no other. */
async function sendLess(
  spans: readonly Span[],
  send: (spans: readonly Span[]) => Promise<void>,
  sum: AddedSpans,
): Promise<void> {
  const [first, ...rest] = spans
  if (first !== undefined && rest.length === 0) {
    sum.refused.push({ spanId: first.spanId, reason: 'it is larger than the store takes' })
    return
  }
  const half = Math.ceil(spans.length / 2)
  await send(spans.slice(0, half))
  await send(spans.slice(half))
}

function add(sum: AddedSpans, { added, duplicates, refused }: AddedSpans): void {
  sum.added += added
  sum.duplicates += duplicates
  sum.refused.push(...refused)
}

async function resultOf(
  answer: Answer,
  spans: readonly Span[],
  caller: Caller,
  attemptsOf: AttemptsOf,
): Promise<AddedSpans> {
  const ours = readResult(answer)
  if (ours?.missing !== undefined) {
    throw new AglError('not_found', `The store at ${caller.shown} does not have it: ${ours.missing}`)
  }
  if (answer.status === 200) return ours ?? { added: spans.length, duplicates: 0, refused: [] }
  // Agent Lightning says nothing of the reason, which mostly is this one.
  await checkAttempts(spans, attemptsOf)
  throw toError(answer, caller.shown)
}

/** What our server says beyond OTLP's words. */
function readResult({ headers }: Answer): (AddedSpans & { missing: string | undefined }) | undefined {
  const header = headers[RESULT_HEADER]
  const json = typeof header === 'string' ? parse(header) : undefined
  if (!isObject(json)) return undefined
  const refused = Array.isArray(json['refused']) ? json['refused'].filter(isObject) : []
  return {
    added: Number(json['added']),
    duplicates: Number(json['duplicates']),
    refused: refused.map(({ spanId, reason }) => ({ spanId: String(spanId), reason: String(reason) })),
    missing: typeof json['missing'] === 'string' ? json['missing'] : undefined,
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

async function checkAttempts(spans: readonly Span[], attemptsOf: AttemptsOf): Promise<void> {
  for (const rolloutId of new Set(spans.map((span) => span.rolloutId))) {
    const there = new Set((await attemptsOf(rolloutId)).map(({ attemptId }) => attemptId))
    const missing = spans.find((span) => span.rolloutId === rolloutId && !there.has(span.attemptId))
    if (missing === undefined) continue
    throw new AglError(
      'not_found',
      `The store has no attempt "${missing.attemptId}" of a rollout "${rolloutId}"; start it first.`,
    )
  }
}

async function sendSpan(
  caller: Caller,
  span: Span,
  { keepSequenceIds = false, createMissing = false }: AddSpansOptions,
  sum: AddedSpans,
): Promise<void> {
  const { rolloutId, attemptId, spanId } = span
  const isNumbered = keepSequenceIds && span.sequenceId >= 0
  const sequenceId = isNumbered ? span.sequenceId : await nextSequenceId(caller, rolloutId, attemptId)
  try {
    const stored = await caller.call('POST', `/spans${createMissing ? '?create_missing=true' : ''}`, {
      body: JSON.stringify(spanToJSON({ ...span, sequenceId })),
    })
    if (stored === null) sum.duplicates++
    else sum.added++
  } catch (error) {
    if (!AglError.is(error) || error.code !== 'value_invalid') throw error
    sum.refused.push({ spanId, reason: error.message })
  }
}

export async function nextSequenceId(caller: Caller, rolloutId: string, attemptId: string): Promise<number> {
  const body = JSON.stringify({ rollout_id: rolloutId, attempt_id: attemptId })
  const answer = await caller.call('POST', '/spans/next', { body })
  if (isObject(answer) && typeof answer['sequence_id'] === 'number') return answer['sequence_id']
  throw new AglError('store_unavailable', `The store at ${caller.shown} gave no sequence id; try again.`)
}

/** Reads the spans of a query, page by page, so that no answer is too large for anybody. */
export async function readSpans(
  caller: Caller,
  query: Record<string, unknown>,
  { limit, offset }: { limit: number; offset: number },
): Promise<Page<Span>> {
  const items: Span[] = []
  let total = 0
  let size = FIRST_PAGE
  for (;;) {
    const left = limit === -1 ? size : Math.min(size, limit - items.length)
    const body = JSON.stringify({ ...query, limit: left, offset: offset + items.length })
    const answer = await caller.send(
      { method: 'POST', path: '/v1/agl/spans/search', body, timeout: 60_000 },
      false,
    )
    const page = caller.json(answer)
    if (!isPage(page)) throw unexpected()
    for (const json of page.items) items.push(spanOf(json))
    total = page.total
    const all = limit === -1 ? total - offset : Math.min(limit, total - offset)
    if (items.length >= all || page.items.length === 0) return { items, limit, offset, total }
    size = Math.max(FIRST_PAGE, Math.floor(PAGE_BYTES / (answer.body.length / page.items.length)))
  }
}

function isPage(value: unknown): value is { items: SpanJSON[]; total: number } {
  return isObject(value) && Array.isArray(value['items']) && typeof value['total'] === 'number'
}

function spanOf(json: SpanJSON): Span {
  try {
    return spanFromJSON(timed(json))
  } catch {
    throw unexpected()
  }
}

/** Of spans that were put there by others, either time may be null. */
function timed(json: SpanJSON): SpanJSON {
  const start: number | null = json.start_time
  const end: number | null = json.end_time
  if (start !== null && end !== null) return json
  return { ...json, start_time: start ?? end ?? 0, end_time: end ?? start ?? 0 }
}
