import { streamError } from './errors.ts'
import { record } from './json.ts'
import type { Fault, Flavor, Frame } from './types.ts'

/** A frame that is ready to be written. */
export interface WireFrame {
  event?: string
  /** Already serialised. */
  data?: string
  /** Replaces event and data. */
  raw?: string | Uint8Array
  /** Milliseconds. */
  delay?: number
}

/** What becomes of a stream where a fault ends it without a word. */
export type Ending = 'cut' | 'stall'

const DONE: WireFrame = { data: '[DONE]' }

/** Reads a scripted frame. Objects with a `data` or `raw` of their own describe the frame, others are its data. */
export function wireFrame(frame: Frame): WireFrame {
  if (typeof frame === 'string') return { data: frame }
  const { raw, event, data, delay } = record(frame)
  const wait = typeof delay === 'number' ? { delay } : {}
  if (isRaw(raw)) return { raw, ...wait }
  if (data === undefined) return { data: JSON.stringify(frame) }
  const name = typeof event === 'string' ? { event } : {}
  return { data: typeof data === 'string' ? data : JSON.stringify(data), ...name, ...wait }
}

function isRaw(value: unknown): value is string | Uint8Array {
  return typeof value === 'string' || value instanceof Uint8Array
}

/** Chat and completion chunks, and the end mark after them. */
export function* dataFrames(chunks: Iterable<unknown>): Generator<WireFrame> {
  for (const chunk of chunks) yield { data: JSON.stringify(chunk) }
  yield DONE
}

/** Events of the Responses API: each has its type as its name, and no end mark follows. */
export function* eventFrames(events: Iterable<{ type: string }>): Generator<WireFrame> {
  for (const event of events) yield { event: event.type, data: JSON.stringify(event) }
}

/** Passes frames on until the fault strikes: after `after` of them, or at the end of a shorter stream. */
export function* withFault(
  frames: Iterable<WireFrame>,
  fault: Fault,
  flavor: Flavor,
): Generator<WireFrame, Ending | undefined> {
  const ends = fault.cut === 'mid-stream' || fault.stall === 'mid-stream' || fault.error !== undefined
  let left = ends || fault.malformed === true ? (fault.after ?? 2) : Infinity
  for (const frame of frames) {
    const done = frame.data === DONE.data
    if (left === 0 || (done && left !== Infinity)) {
      if (ends) return yield* strike(fault, flavor)
      left = Infinity
      if (frame.data !== undefined)
        yield { ...frame, data: frame.data.slice(0, Math.ceil(frame.data.length / 2)) }
      continue
    }
    if (done && fault.sse?.done === false) continue
    yield frame
    left--
  }
  return ends ? yield* strike(fault, flavor) : undefined
}

function* strike(fault: Fault, flavor: Flavor): Generator<WireFrame, Ending | undefined> {
  if (fault.error !== undefined) {
    const { event, data } = streamError(flavor, fault.error)
    yield { ...(event === undefined ? {} : { event }), data: JSON.stringify(data) }
    if (fault.sse?.done !== false) yield DONE
    return undefined
  }
  return fault.cut === undefined ? 'stall' : 'cut'
}

/** The bytes of a frame, with the blank line that ends it unless `open`. */
export function encodeFrame(
  frame: WireFrame,
  sse: NonNullable<Fault['sse']>,
  open: boolean,
): string | Uint8Array {
  if (frame.raw !== undefined) return frame.raw
  const newline = sse.newline ?? '\n'
  const comment = sse.comments === true ? `: ping${newline}${newline}` : ''
  const event = frame.event === undefined ? '' : `event: ${frame.event}${newline}`
  const data = (frame.data ?? '')
    .split('\n')
    .map((line) => `data: ${line}${newline}`)
    .join('')
  return `${comment}${event}${data}${open ? '' : newline}`
}

/** Two pieces, cut after the first byte of a multi-byte character where there is one. */
export function halves(bytes: Uint8Array): [Uint8Array, Uint8Array] {
  const lead = bytes.findIndex((byte) => byte >= 0xc0)
  const cut = lead < 0 ? bytes.length >> 1 : lead + 1
  return [bytes.subarray(0, cut), bytes.subarray(cut)]
}
