import type { ArrivedAttributes } from './arrival.ts'
import { Malformed, type Reader } from './reader.ts'
import { ANY_VALUE, KEY_VALUE, VALUES } from './schema.ts'
import { isTokenIds } from './values.ts'

/** As deep as protobuf's own parsers go. */
const DEEPEST = 100

/** Reads a `KeyValue`. */
export function readAttribute(reader: Reader, limit: number, into: ArrivedAttributes): void {
  const end = reader.open(limit)
  let key = ''
  let value: unknown = null
  while (reader.pos < end) {
    const tag = reader.varint()
    if (tag === KEY_VALUE.key) key = reader.key(end)
    else if (tag === KEY_VALUE.value) value = readValue(reader, end, isTokenIds(key), 0)
    else reader.skip(tag, end)
  }
  reader.close(end)
  into.add(key, value)
}

function readValue(reader: Reader, limit: number, ids: boolean, depth: number): unknown {
  if (depth > DEEPEST) throw new Malformed('a value is nested too deep')
  const end = reader.open(limit)
  let value: unknown = null
  while (reader.pos < end) {
    const tag = reader.varint()
    if (tag === ANY_VALUE.string) value = reader.text(end)
    else if (tag === ANY_VALUE.int) value = reader.int64()
    else if (tag === ANY_VALUE.double) value = reader.double()
    else if (tag === ANY_VALUE.bool) value = reader.varint() !== 0
    else if (tag === ANY_VALUE.array) {
      value = (ids ? readIds(reader, end) : undefined) ?? readList(reader, end, depth)
    } else if (tag === ANY_VALUE.map) value = readMap(reader, end, depth)
    else if (tag === ANY_VALUE.bytes) value = reader.hex(end)
    else reader.skip(tag, end)
  }
  reader.close(end)
  return value
}

function readList(reader: Reader, limit: number, depth: number): unknown[] {
  const end = reader.open(limit)
  const list: unknown[] = []
  while (reader.pos < end) {
    const tag = reader.varint()
    if (tag === VALUES) list.push(readValue(reader, end, false, depth + 1))
    else reader.skip(tag, end)
  }
  reader.close(end)
  return list
}

function readMap(reader: Reader, limit: number, depth: number): unknown {
  const end = reader.open(limit)
  const map = new Map<string, unknown>()
  while (reader.pos < end) {
    const tag = reader.varint()
    if (tag !== VALUES) {
      reader.skip(tag, end)
      continue
    }
    const inner = reader.open(end)
    let key = ''
    let value: unknown = null
    while (reader.pos < inner) {
      const field = reader.varint()
      if (field === KEY_VALUE.key) key = reader.text(inner)
      else if (field === KEY_VALUE.value) value = readValue(reader, inner, false, depth + 1)
      else reader.skip(field, inner)
    }
    reader.close(inner)
    map.set(key, value)
  }
  reader.close(end)
  return Object.fromEntries(map)
}

/**
 * A list of small integers in the one way in which everybody writes it, straight from the bytes; undefined where it
 * is anything else, with nothing read.
 */
function readIds(reader: Reader, limit: number): Int32Array | undefined {
  const before = reader.pos
  const end = reader.open(limit)
  const { buf } = reader
  const ids = new Int32Array((end - reader.pos) >> 2)
  let count = 0
  let { pos } = reader
  while (pos + 4 <= end) {
    const size = buf[pos + 1] ?? 0
    const stop = pos + 2 + size
    if (buf[pos] !== VALUES || buf[pos + 2] !== ANY_VALUE.int || size > 6 || stop > end) break
    let id = 0
    let last = 0
    for (let i = pos + 3, shift = 0; i < stop; i++, shift += 7) {
      last = buf[i] ?? 0
      if (shift === 28 && last > 7) return giveUp(reader, before)
      if (last < 0x80 && i + 1 < stop) return giveUp(reader, before)
      id |= (last & 0x7f) << shift
    }
    if (last > 0x7f || size < 2) break
    ids[count++] = id
    pos = stop
  }
  if (pos !== end) return giveUp(reader, before)
  reader.pos = end
  return count === ids.length ? ids : ids.slice(0, count)
}

function giveUp(reader: Reader, before: number): undefined {
  reader.pos = before
}
