import type { Attributes, Span } from '@agl/core'

let last = 0

/** A span of a model call with everything that a record can have; its id differs from call to call. */
export function wireSpan(over: Partial<Span> = {}): Span {
  const traceId = '0af7651916cd43dd8448eb211c80319c'
  const spanId = (++last).toString(16).padStart(16, '0')
  const attributes: Attributes = {
    'gen_ai.system': 'openai',
    'gen_ai.prompt.0.content': 'How many? ½ of them – "all" \u{1F99A}',
    'gen_ai.response.id': `chatcmpl-${spanId}`,
    'agentlightning.reward.0.name': 'primary',
    'agentlightning.reward.0.value': 0.1,
    prompt_token_ids: [151_644, 872, 198],
    response_token_ids: [17, 151_645],
    'logprobs.content': '[{"token":"2","logprob":-0.0012345678901234}]',
    flags: [true, false],
    empty: [],
  }
  return {
    rolloutId: 'ro-1',
    attemptId: 'at-1',
    sequenceId: last,
    traceId,
    spanId,
    parentId: 'b7ad6b7169203331',
    name: 'openai.chat.completion',
    status: { statusCode: 'OK', description: null },
    attributes,
    events: [{ name: 'retry', attributes: { attempt: 1 }, timestamp: 1_700_000_000.25 }],
    links: [
      {
        context: { traceId, spanId: 'b7ad6b7169203331', isRemote: false, traceState: {} },
        attributes: { of: 'x' },
      },
    ],
    startTime: 1_700_000_000.123456,
    endTime: 1_700_000_001.654321,
    context: { traceId, spanId, isRemote: false, traceState: {} },
    parent: null,
    resource: { attributes: { 'service.name': 'tests' }, schemaUrl: '' },
    ...over,
  }
}
