/** Answers of a vLLM server, built once: what differs between variants is only what is done with them. */
export interface Shape {
  promptIds: number
  outputTokens: number
}

function entry(i: number) {
  const token = ` word${i % 50}`
  return {
    token,
    logprob: -0.1 - (i % 7) / 10,
    bytes: [...new TextEncoder().encode(token)],
    top_logprobs: [],
  }
}

export function completion({ promptIds, outputTokens }: Shape): string {
  const text = Array.from({ length: outputTokens }, (_, i) => ` word${i % 50}`).join('')
  return JSON.stringify({
    id: 'chatcmpl-bench',
    object: 'chat.completion',
    created: 1,
    model: 'bench',
    choices: [
      {
        index: 0,
        message: { role: 'assistant', content: text, tool_calls: [] },
        logprobs: { content: Array.from({ length: outputTokens }, (_, i) => entry(i)) },
        finish_reason: 'stop',
        stop_reason: null,
        token_ids: Array.from({ length: outputTokens }, (_, i) => 1000 + i),
      },
    ],
    usage: {
      prompt_tokens: promptIds,
      total_tokens: promptIds + outputTokens,
      completion_tokens: outputTokens,
    },
    prompt_token_ids: Array.from({ length: promptIds }, (_, i) => i % 150_000),
  })
}

export function chunks({ promptIds, outputTokens }: Shape): string[] {
  const base = { id: 'chatcmpl-bench', object: 'chat.completion.chunk', created: 1, model: 'bench' }
  const frame = (value: object): string => `data: ${JSON.stringify({ ...base, ...value })}\n\n`
  const role = frame({
    choices: [{ index: 0, delta: { role: 'assistant', content: '' }, logprobs: null, finish_reason: null }],
    prompt_token_ids: Array.from({ length: promptIds }, (_, i) => i),
  })
  const words = Array.from({ length: outputTokens }, (_, i) =>
    frame({
      choices: [
        {
          index: 0,
          delta: { content: ` word${i % 50}` },
          logprobs: { content: [entry(i)] },
          finish_reason: i === outputTokens - 1 ? 'stop' : null,
          token_ids: [1000 + i],
        },
      ],
    }),
  )
  const usage = {
    prompt_tokens: promptIds,
    completion_tokens: outputTokens,
    total_tokens: promptIds + outputTokens,
  }
  return [role, ...words, frame({ choices: [], usage }), 'data: [DONE]\n\n']
}

/** A `fetch` that answers from memory, so that the network is in no figure. */
export function answering(body: string): typeof fetch {
  return async () => new Response(body, { headers: { 'content-type': 'application/json' } })
}

export function streaming(frames: readonly string[]): typeof fetch {
  const encoder = new TextEncoder()
  const bytes = frames.map((frame) => encoder.encode(frame))
  return async () => {
    let next = 0
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        const chunk = bytes[next++]
        if (chunk === undefined) controller.close()
        else controller.enqueue(chunk)
      },
    })
    return new Response(body, { headers: { 'content-type': 'text/event-stream' } })
  }
}
