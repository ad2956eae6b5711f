import { promptsOf } from './make-call.ts'
import { number, text, type Json } from './json.ts'
import type { Tokenizer } from './tokenizer.ts'
import type { Reply } from './types.ts'

const DIMENSIONS = 64

/** The answer of `/v1/embeddings`: vectors from the reply, else unit vectors that depend on the tokens alone. */
export function embeddingBody(body: Json, reply: Reply, tokenizer: Tokenizer): Json {
  const inputs = promptsOf(body['input'], tokenizer)
  const dimensions = number(body['dimensions']) ?? DIMENSIONS
  const base64 = body['encoding_format'] === 'base64'
  const tokens = inputs.reduce((sum, ids) => sum + ids.length, 0)
  return {
    object: 'list',
    data: inputs.map((ids, index) => {
      const vector = reply.vectors?.[index] ?? vectorOf(ids, dimensions)
      return { object: 'embedding', index, embedding: base64 ? packed(vector) : vector }
    }),
    model: reply.model ?? text(body['model']) ?? 'testkit-model',
    ...(reply.usage === null
      ? {}
      : { usage: { prompt_tokens: tokens, total_tokens: tokens, ...reply.usage } }),
    ...reply.extra,
  }
}

/** Each token adds to a few dimensions, so texts that share tokens are close to each other. */
function vectorOf(ids: readonly number[], dimensions: number): number[] {
  const vector = Array.from({ length: dimensions }, () => 1e-3)
  for (const id of ids) {
    for (let turn = 1; turn <= 4; turn++) {
      const mixed = Math.imul(id + 1, 2_654_435_761 * turn) >>> 0
      const at = mixed % dimensions
      vector[at] = (vector[at] ?? 0) + (mixed & 0x10000 ? 1 : -1)
    }
  }
  const length = Math.hypot(...vector)
  return vector.map((value) => value / length)
}

function packed(vector: readonly number[]): string {
  return Buffer.from(Float32Array.from(vector).buffer).toString('base64')
}
