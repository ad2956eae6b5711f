import type { ModelServer } from '@agl/testkit'

interface Answer {
  headers: Headers
  /** The body, as it was framed. */
  pieces: readonly Uint8Array[]
}

/**
 * A `fetch` that asks `server` the first time that a request is made, and from then on gives the same answer from memory: what
 * is measured is a real wire format, without a network in the figures.
 */
export function replaying(server: ModelServer): typeof fetch {
  const known = new Map<string, Answer>()
  return async (input, init) => {
    const { url } = new Request(input)
    const key = `${url} ${typeof init?.body === 'string' ? init.body : ''}`
    let answer = known.get(key)
    if (answer === undefined) {
      answer = await ask(server, input, init)
      known.set(key, answer)
    }
    return replay(answer)
  }
}

async function ask(
  server: ModelServer,
  input: Parameters<typeof fetch>[0],
  init: RequestInit | undefined,
): Promise<Answer> {
  const response = await fetch(input, init)
  const body = await response.text()
  if (!response.ok) throw new Error(`The model server ${server.url} answered ${response.status}: ${body}`)
  const encoder = new TextEncoder()
  return {
    headers: response.headers,
    pieces: body.split(/(?<=\n\n)/).map((piece) => encoder.encode(piece)),
  }
}

function replay({ headers, pieces }: Answer): Response {
  let next = 0
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const piece = pieces[next++]
      if (piece === undefined) controller.close()
      else controller.enqueue(piece)
    },
  })
  return new Response(body, { headers })
}
