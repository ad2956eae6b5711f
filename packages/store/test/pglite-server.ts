import { once } from 'node:events'
import { type Socket, createServer } from 'node:net'
import { PGlite } from '@electric-sql/pglite'

/*
 * PostgreSQL as WebAssembly behind a socket, so that the real driver is used where no server is installed. It has one
 * session, which the connections take in turns: for one query, or for a transaction.
 */

const SSL_REQUEST = 80_877_103
const [QUERY, SYNC, TERMINATE] = ['Q', 'S', 'X'].map((letter) => letter.charCodeAt(0))

export interface EmbeddedPostgres {
  url: string
  /** False is a database that cannot tell its other connections what happens. */
  notifies: boolean
  close(): Promise<void>
}

export async function startEmbeddedPostgres(notifies = true): Promise<EmbeddedPostgres> {
  const db = await PGlite.create()
  const turns = new Turns(db)
  const listening = new Set<Socket>()
  db.onNotification((channel, payload) => {
    if (embedded.notifies) for (const socket of listening) socket.write(notification(channel, payload))
  })
  const server = createServer((socket) => {
    let waiting = Buffer.alloc(0)
    let hasStarted = false
    let group: Buffer[] = []
    socket.on('error', () => undefined)
    socket.on('close', () => {
      listening.delete(socket)
      turns.leave(socket)
    })
    socket.on('data', (data) => {
      waiting = Buffer.concat([waiting, data])
      for (;;) {
        const length = hasStarted
          ? 1 + (waiting.length < 5 ? Infinity : waiting.readInt32BE(1))
          : startLength()
        if (waiting.length < length) return
        const message = waiting.subarray(0, length)
        waiting = waiting.subarray(length)
        if (!hasStarted) {
          if (message.readInt32BE(4) === SSL_REQUEST) socket.write('N')
          else {
            hasStarted = true
            turns.ask(socket, message)
          }
          continue
        }
        if (message[0] === TERMINATE) continue
        if (message.includes('LISTEN ')) listening.add(socket)
        group.push(message)
        // What makes up one query stays together: the session has one unnamed statement.
        if (message[0] !== QUERY && message[0] !== SYNC) continue
        turns.ask(socket, Buffer.concat(group))
        group = []
      }
    })
    const startLength = (): number => (waiting.length < 8 ? Infinity : waiting.readInt32BE(0))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : undefined
  const embedded: EmbeddedPostgres = {
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    notifies,
    close: async () => {
      server.close()
      await db.close()
    },
  }
  return embedded
}

/** Whose turn it is: who is in a transaction keeps it. */
class Turns {
  readonly #db: PGlite
  readonly #asked: { socket: Socket; message: Buffer }[] = []
  #owner: Socket | undefined
  #busy = false

  constructor(db: PGlite) {
    this.#db = db
  }

  ask(socket: Socket, message: Buffer): void {
    this.#asked.push({ socket, message })
    void this.#serve()
  }

  leave(socket: Socket): void {
    if (this.#owner !== socket) return
    this.#asked.unshift({ socket, message: simpleQuery('ROLLBACK') })
    void this.#serve()
  }

  async #serve(): Promise<void> {
    if (this.#busy) return
    this.#busy = true
    for (;;) {
      const index = this.#asked.findIndex(({ socket }) => this.#owner === undefined || socket === this.#owner)
      const [next] = index === -1 ? [] : this.#asked.splice(index, 1)
      if (next === undefined) break
      const { socket, message } = next
      const answer = await this.#db.execProtocolRaw(message)
      if (socket.writable) socket.write(answer)
      this.#owner = isInTransaction(answer) ? socket : undefined
      if (this.#owner?.destroyed === true) this.#asked.unshift({ socket, message: simpleQuery('ROLLBACK') })
    }
    this.#busy = false
  }
}

/** An answer ends with `ReadyForQuery`, whose last byte says whether a transaction is open: `I` is not. */
function isInTransaction(answer: Uint8Array): boolean {
  return answer.at(-6) === 'Z'.charCodeAt(0) && answer.at(-1) !== 'I'.charCodeAt(0)
}

function simpleQuery(sql: string): Buffer {
  return message('Q', Buffer.from(`${sql}\0`))
}

function notification(channel: string, payload: string): Buffer {
  return message('A', Buffer.concat([Buffer.alloc(4), Buffer.from(`${channel}\0${payload}\0`)]))
}

function message(type: string, content: Buffer): Buffer {
  const head = Buffer.alloc(5)
  head.write(type)
  head.writeInt32BE(content.length + 4, 1)
  return Buffer.concat([head, content])
}
