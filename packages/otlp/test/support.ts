import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Span } from '@agl/core'
import { decodeTraces, failureResponse, protocolOf, tracesResponse } from '@agl/otlp'

/** A request as a test server got it. */
export interface Got {
  method: string | undefined
  path: string | undefined
  headers: IncomingMessage['headers']
  body: Uint8Array
}

export interface TestServer extends AsyncDisposable {
  url: string
  got: Got[]
}

/** Serves on a free port of 127.0.0.1 until it is disposed of. */
export async function serve(
  answer: (got: Got, response: ServerResponse) => void | Promise<void>,
): Promise<TestServer> {
  const got: Got[] = []
  const server = createServer((request, response) => {
    const chunks: Uint8Array[] = []
    request.on('data', (chunk: Uint8Array) => chunks.push(chunk))
    request.on('end', () => {
      const { method, url: path, headers } = request
      const one = { method, path, headers, body: Buffer.concat(chunks) }
      got.push(one)
      void answer(one, response)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}/v1/traces`,
    got,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** A backend as the package has all the parts for: it keeps what it gets. */
export async function backend(): Promise<TestServer & { spans: Span[] }> {
  const spans: Span[] = []
  const server = await serve(async ({ headers, body }, response) => {
    const protocol = headers['content-type']?.startsWith('application/json') === true ? 'json' : 'protobuf'
    try {
      const contentType = headers['content-type']
      const decoded = await decodeTraces(body, {
        contentType,
        contentEncoding: headers['content-encoding'],
      })
      spans.push(...decoded.spans)
      const { status, ...answer } = tracesResponse(protocolOf(contentType), decoded)
      response.writeHead(status, { 'content-type': answer.contentType }).end(answer.body)
    } catch (error) {
      const { status, contentType, body: message } = failureResponse(protocol, error)
      response.writeHead(status, { 'content-type': contentType }).end(message)
    }
  })
  return Object.assign(server, { spans })
}
