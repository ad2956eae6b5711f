import type { IncomingMessage, ServerResponse } from 'node:http'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { AglError } from '@agl/core'
import { HttpError } from './problems.ts'

const deflate = promisify(gzip)

/** What a request is answered with. */
export type Reply =
  | { status: number; json: unknown }
  /** `undo` is called where the answer cannot be brought to the client. */
  | { status: number; json: unknown; undo: () => Promise<unknown> }
  | { status: number; contentType: string; body: Uint8Array; headers?: Readonly<Record<string, string>> }
  /** JSON in pieces, made as they are taken. */
  | { status: number; pieces: AsyncIterable<Uint8Array> }

const JSON_TYPE = 'application/json'

/** Sends the answer. A client that takes none of it for `patience` milliseconds is given up. */
export async function send(
  request: IncomingMessage,
  response: ServerResponse,
  reply: Reply,
  patience: number,
): Promise<void> {
  response.statusCode = reply.status
  if ('pieces' in reply) return sendPieces(response, reply.pieces, patience)
  if ('json' in reply) {
    response.setHeader('content-type', JSON_TYPE)
    // As text it is sent together with the head.
    return end(response, JSON.stringify(reply.json), patience)
  }
  response.setHeader('content-type', reply.contentType)
  if (reply.headers !== undefined) response.setHeaders(new Headers(reply.headers))
  const isZipped = acceptsGzip(request)
  const body = isZipped ? await deflate(reply.body) : reply.body
  if (isZipped) response.setHeader('content-encoding', 'gzip')
  response.setHeader('content-length', body.length)
  end(response, body, patience)
}

/** Ends the answer; what the client does not read is not kept for ever. */
function end(response: ServerResponse, body: string | Uint8Array | undefined, patience: number): void {
  const { socket } = response
  if (socket !== null) response.setTimeout(patience, () => socket.destroy())
  response.end(body)
}

async function sendPieces(
  response: ServerResponse,
  pieces: AsyncIterable<Uint8Array>,
  patience: number,
): Promise<void> {
  response.setHeader('content-type', JSON_TYPE)
  const { socket } = response
  let last: Uint8Array | undefined
  for await (const piece of pieces) {
    if (socket?.destroyed === true) return
    const takesMore = last === undefined || response.write(last)
    last = piece
    if (takesMore) continue
    const late = setTimeout(() => socket?.destroy(), patience)
    try {
      await drained(response)
    } finally {
      clearTimeout(late)
    }
  }
  // The only piece of a small page goes with its length.
  end(response, last, patience)
}

/** Resolves when it takes more, or is over. */
function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done)
      response.off('close', done)
      resolve()
    }
    response.on('drain', done)
    response.on('close', done)
  })
}

/** Of OTLP's answers, as the Python store does. */
function acceptsGzip(request: IncomingMessage): boolean {
  const accepted = String(request.headers['accept-encoding'] ?? '').split(',')
  return accepted.some((coding) => /^\s*gzip\s*(;|$)/i.test(coding))
}

/** The answer to a request that failed. What clients cannot help is said to be the server's fault, as in Python. */
export function failure(error: unknown): { reply: Reply; headers: Readonly<Record<string, string>> } {
  if (error instanceof HttpError) {
    return { reply: { status: error.status, json: { detail: error.detail } }, headers: error.headers }
  }
  if (AglError.is(error)) {
    const { code, message } = error
    if (code === 'value_invalid' || code === 'value_unserializable' || code === 'usage') {
      return { reply: { status: 400, json: { detail: message } }, headers: {} }
    }
    if (code === 'store_unavailable') {
      const json = { detail: message, error_type: code }
      return { reply: { status: 503, json }, headers: { 'retry-after': '1' } }
    }
    return internal(code === 'not_found' ? 'ValueError' : code, message)
  }
  return internal(error instanceof Error ? error.name : typeof error, String(error))
}

/** Python's clients know 500 for ids that are not there, too. */
export function internal(
  type: string,
  message: string,
): { reply: Reply; headers: Readonly<Record<string, string>> } {
  const json = { detail: 'Internal server error', error_type: type, traceback: `${type}: ${message}` }
  return { reply: { status: 500, json }, headers: {} }
}
