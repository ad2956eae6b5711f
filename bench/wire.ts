import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** One connection, and as little of HTTP as counting answers takes: what is measured is the server. */
export class Wire {
  readonly #socket: Socket
  #answer: Buffer[] = []
  #size = 0
  #expected = 0
  #done: ((answer: readonly Buffer[]) => void) | undefined
  #failed: ((error: Error) => void) | undefined

  constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (chunk) => this.#take(chunk))
    socket.on('close', () => this.#failed?.(new Error('The server closed the connection.')))
  }

  static async open(url: string): Promise<Wire> {
    const { hostname, port } = new URL(url)
    const socket = connect(Number(port), hostname)
    await once(socket, 'connect')
    return new Wire(socket)
  }

  /** The answer with its head, in pieces. @throws Error where it is no success */
  send(bytes: Buffer): Promise<readonly Buffer[]> {
    return new Promise((resolve, reject) => {
      this.#done = resolve
      this.#failed = reject
      this.#socket.write(bytes)
    })
  }

  close(): void {
    this.#failed = undefined
    this.#socket.destroy()
  }

  #take(chunk: Buffer): void {
    if (this.#size === 0) this.#expected = lengthOf(chunk)
    this.#answer.push(chunk)
    this.#size += chunk.length
    const isWhole = this.#expected < 0 ? endsChunked(this.#answer) : this.#size >= this.#expected
    if (!isWhole) return
    const [first = chunk] = this.#answer
    const answer = this.#answer
    this.#answer = []
    this.#size = 0
    if (/^HTTP\/1\.1 20\d/.test(first.toString('latin1', 0, 20))) this.#done?.(answer)
    else this.#failed?.(new Error(first.toString('utf8', 0, 500)))
  }
}

/** A request, ready to be sent any number of times. */
export function requestOf(to: string, body: string | Uint8Array, type = 'application/json'): Buffer {
  const head = `POST ${to} HTTP/1.1\r\nhost: localhost\r\ncontent-type: ${type}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n`
  return Buffer.concat([Buffer.from(head), Buffer.from(body)])
}

/** Bytes of the whole answer; -1 where it comes in chunks. */
function lengthOf(first: Buffer): number {
  const end = first.indexOf('\r\n\r\n')
  const [, length] = /\r\ncontent-length: (\d+)/i.exec(first.toString('latin1', 0, end)) ?? []
  return length === undefined ? -1 : end + 4 + Number(length)
}

function endsChunked(chunks: readonly Buffer[]): boolean {
  return tailOf(chunks).endsWith('\r\n0\r\n\r\n')
}

function tailOf(chunks: readonly Buffer[]): string {
  let tail = ''
  for (let i = chunks.length - 1; i >= 0 && tail.length < 7; i--) {
    tail = (chunks[i]?.toString('latin1', Math.max(0, (chunks[i]?.length ?? 0) - 7)) ?? '') + tail
  }
  return tail
}
