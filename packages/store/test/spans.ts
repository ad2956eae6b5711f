import type { Attributes, Span } from '@agl/core'

let last = 0

/** A span of a model call, as the core records it; its id differs from call to call. */
export function llmSpan(over: Partial<Span> & { attributes?: Attributes } = {}): Span {
  const spanId = (++last).toString(16).padStart(16, '0')
  return {
    rolloutId: 'ro-1',
    attemptId: 'at-1',
    sequenceId: last,
    traceId: '0af7651916cd43dd8448eb211c80319c',
    spanId,
    parentId: 'b7ad6b7169203331',
    name: 'openai.chat.completion',
    status: { statusCode: 'OK', description: null },
    events: [{ name: 'retry', attributes: { attempt: 1 }, timestamp: 1_700_000_000.25 }],
    links: [],
    startTime: 1_700_000_000.123456,
    endTime: 1_700_000_001.654321,
    context: null,
    parent: null,
    resource: { attributes: { 'service.name': 'tests' }, schemaUrl: '' },
    ...over,
    attributes: {
      'gen_ai.system': 'openai',
      'gen_ai.prompt.0.role': 'user',
      'gen_ai.prompt.0.content': 'How many? ½ of them – "all" \u{1F99A}',
      'gen_ai.response.id': `chatcmpl-${spanId}`,
      'gen_ai.usage.prompt_tokens': 3,
      prompt_token_ids: Int32Array.of(151_644, 872, 198),
      response_token_ids: Int32Array.of(17, 151_645),
      'agl.tokens.complete': true,
      'logprobs.content': '[{"token":"2","logprob":-0.0012345678901234}]',
      ...over.attributes,
    },
  }
}

/** The span as it comes back: with the store's sequence id, and token ids as lists. */
export function stored(span: Span, sequenceId: number): Span {
  const attributes = Object.fromEntries(
    Object.entries(span.attributes).map(([key, value]) => [
      key,
      value instanceof Int32Array ? Array.from(value) : value,
    ]),
  )
  return { ...span, sequenceId, attributes }
}
