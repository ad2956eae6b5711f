import { Buffer } from 'node:buffer'

/** What is not protobuf, or not whole. */
export class Malformed extends Error {}

/** Attribute names come by the thousand and are few: as many as this are kept, so that they need not be decoded anew. */
const KEYS = 2048
const LONGEST_KEY = 64

/** Protobuf's wire format from a buffer. Never reads outside it: what is cut off is `Malformed`. */
export class Reader {
  pos = 0
  readonly buf: Buffer
  readonly #keys: (string | undefined)[] = Array.from({ length: KEYS })

  constructor(body: Uint8Array) {
    this.buf = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
  }

  /** Up to 64 bits; above 2^53 the nearest float. */
  varint(): number {
    const { buf } = this
    let value = 0
    let scale = 1
    for (let i = 0; i < 10; i++) {
      const byte = buf[this.pos++]
      if (byte === undefined) throw new Malformed('it is cut off')
      if (byte < 0x80) return value + byte * scale
      value += (byte & 0x7f) * scale
      scale *= 128
    }
    throw new Malformed('a number has more than 10 bytes')
  }

  /** Signed, in two's complement; beyond 2^53 the nearest float. */
  int64(): number {
    const start = this.pos
    const value = this.varint()
    if (this.pos - start < 10) return value
    this.pos = start
    let exact = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.buf[this.pos++] ?? 0
      exact |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) break
    }
    return Number(BigInt.asIntN(64, exact))
  }

  double(): number {
    return this.buf.readDoubleLE(this.#take(8))
  }

  fixed64(): bigint {
    return this.buf.readBigUInt64LE(this.#take(8))
  }

  fixed32(): number {
    return this.buf.readUInt32LE(this.#take(4))
  }

  /** Begins what has a length; gives where it ends, which is not after `limit`. */
  open(limit: number): number {
    const size = this.varint()
    const end = this.pos + size
    if (end > limit) throw new Malformed('it is cut off')
    return end
  }

  close(end: number): void {
    if (this.pos !== end) throw new Malformed('a field does not end where its message does')
  }

  text(limit: number): string {
    const end = this.open(limit)
    const start = this.pos
    this.pos = end
    return this.buf.toString('utf8', start, end)
  }

  hex(limit: number): string {
    const end = this.open(limit)
    const start = this.pos
    this.pos = end
    return this.buf.toString('hex', start, end)
  }

  /** A text that has probably been seen before. */
  key(limit: number): string {
    const end = this.open(limit)
    const { buf, pos: start } = this
    this.pos = end
    if (end - start > LONGEST_KEY) return buf.toString('utf8', start, end)
    let hash = end - start
    for (let i = start; i < end; i++) hash = (Math.imul(hash, 31) + (buf[i] ?? 0)) | 0
    const slot = (hash ^ (hash >>> 11)) & (KEYS - 1)
    const known = this.#keys[slot]
    if (known !== undefined && isAscii(buf, start, end, known)) return known
    return (this.#keys[slot] = buf.toString('utf8', start, end))
  }

  skip(tag: number, limit: number): void {
    const wireType = tag & 7
    if (wireType === 0) this.varint()
    else if (wireType === 1) this.#take(8)
    else if (wireType === 2) this.pos = this.open(limit)
    else if (wireType === 5) this.#take(4)
    else throw new Malformed('a field is of no known kind')
  }

  #take(size: number): number {
    const start = this.pos
    this.pos += size
    if (this.pos > this.buf.length) throw new Malformed('it is cut off')
    return start
  }
}

function isAscii(buf: Buffer, start: number, end: number, text: string): boolean {
  if (text.length !== end - start) return false
  for (let i = start; i < end; i++) if (buf[i] !== text.charCodeAt(i - start)) return false
  return true
}
