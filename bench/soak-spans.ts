import type { Span } from '@agl/core'
import { encodeTraces } from '@agl/otlp'
import { requestOf } from './wire.ts'

/** As long as those that a store gives out. */
const ROLLOUT_ID = 'ro-000000000000'
const ATTEMPT_ID = 'at-00000000'

/** A request with spans, made once: only the ids of rollout and attempt, which have one length, differ. */
export class Template {
  readonly #bytes: Buffer
  readonly #rollouts: number[]
  readonly #attempts: number[]

  constructor(first: number, count: number) {
    const spans = Array.from({ length: count }, (_, i) => spanOf(first + i))
    this.#bytes = requestOf('/v1/traces', encodeTraces(spans).body, 'application/x-protobuf')
    this.#rollouts = placesOf(ROLLOUT_ID, this.#bytes)
    this.#attempts = placesOf(ATTEMPT_ID, this.#bytes)
  }

  /** The same bytes at every call: they must be on their way before the next one. */
  of(rolloutId: string, attemptId: string): Buffer {
    if (rolloutId.length !== ROLLOUT_ID.length || attemptId.length !== ATTEMPT_ID.length) {
      throw new Error(`the ids ${rolloutId} and ${attemptId} have another length than expected`)
    }
    for (const place of this.#rollouts) this.#bytes.write(rolloutId, place, 'latin1')
    for (const place of this.#attempts) this.#bytes.write(attemptId, place, 'latin1')
    return this.#bytes
  }
}

function placesOf(text: string, bytes: Buffer): number[] {
  const places: number[] = []
  for (let at = bytes.indexOf(text); at >= 0; at = bytes.indexOf(text, at + 1)) places.push(at)
  return places
}

export function spanOf(n: number): Span {
  return {
    rolloutId: ROLLOUT_ID,
    attemptId: ATTEMPT_ID,
    sequenceId: -1,
    traceId: '0af7651916cd43dd8448eb211c80319c',
    // In no order, as span ids are, which an index feels.
    spanId: ((BigInt(n + 1) * 0x9e3779b97f4a7c15n) & 0xffffffffffffffffn).toString(16).padStart(16, '0'),
    parentId: 'b7ad6b7169203331',
    name: 'openai.chat.completion',
    status: { statusCode: 'OK', description: null },
    attributes: {
      'gen_ai.request.model': 'a-model',
      'gen_ai.prompt.0.content': 'How many eggs do five hens lay?',
      'gen_ai.usage.total_tokens': 20,
    },
    events: [],
    links: [],
    startTime: 1_700_000_000.123456,
    endTime: 1_700_000_001.654321,
    context: null,
    parent: null,
    resource: { attributes: {}, schemaUrl: '' },
  }
}
