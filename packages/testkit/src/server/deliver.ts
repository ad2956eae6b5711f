import type { ServerResponse } from 'node:http'
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import { encodeFrame, halves, withFault, type Ending, type WireFrame } from './frames.ts'
import type { Fault, Flavor, RawReply, RecordedRequest } from './types.ts'

/** One request on its way to an answer. */
export interface Exchange {
  response: ServerResponse
  entry: RecordedRequest
  flavor: Flavor
  fault: Fault
  /** Headers that every answer of this server has. */
  headers: Readonly<Record<string, string>>
  /** Fires when the client goes away or the server closes. */
  signal: AbortSignal
  /** Destroys the socket, without counting it as the client's doing. */
  cut: () => void
}

/** Sends an answer that is not a stream. */
export async function sendBody(exchange: Exchange, reply: RawReply): Promise<void> {
  const { response, fault, entry } = exchange
  const status = reply.status ?? 200
  const payload = Buffer.from(
    typeof reply.body === 'string' ? reply.body : reply.body === undefined ? '' : JSON.stringify(reply.body),
  )
  if (!(await beforeHeaders(exchange))) return
  const type = payload.length > 0 ? { 'content-type': 'application/json' } : {}
  const headers = { ...type, 'content-length': String(payload.length), ...exchange.headers, ...reply.headers }
  entry.status = status
  response.writeHead(status, withFaultHeaders(headers, fault))
  if (fault.latency?.first !== undefined) {
    response.flushHeaders()
    if (!(await wait(fault.latency.first, exchange.signal))) return
  }
  if (fault.cut !== 'mid-body' && fault.cut !== 'mid-stream') {
    response.end(payload)
    return
  }
  await written(response, payload.subarray(0, payload.length >> 1))
  exchange.cut()
}

export interface StreamHead {
  status?: number
  headers?: Readonly<Record<string, string>>
}

/** Sends server-sent events, frame by frame. */
export async function sendFrames(
  exchange: Exchange,
  frames: Iterable<WireFrame>,
  head: StreamHead = {},
): Promise<void> {
  const { response, fault, flavor, signal, entry } = exchange
  if (!(await beforeHeaders(exchange))) return
  const type = { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache' }
  entry.status = head.status ?? 200
  const headers = { ...type, ...exchange.headers, ...head.headers }
  response.writeHead(entry.status, withFaultHeaders(headers, fault))
  response.flushHeaders()
  if (!(await wait(fault.latency?.first, signal))) return

  const iterator = withFault(frames, fault, flavor)
  const sse = fault.sse ?? {}
  let current = iterator.next()
  for (let first = true; current.done !== true; first = false) {
    const frame = current.value
    if (!(await wait(frame.delay ?? (first ? undefined : fault.latency?.chunk), signal))) return
    const next = iterator.next()
    const open = sse.finalBlankLine === false && next.done === true
    const bytes = encodeFrame(frame, sse, open)
    if (sse.splitUtf8 === true) {
      for (const half of halves(Buffer.from(bytes))) {
        await written(response, half)
        await nextTurn()
      }
    } else if (!response.write(bytes) && !(await drained(response, signal))) return
    if (signal.aborted) return
    current = next
  }
  await finish(exchange, current.value)
}

async function finish(exchange: Exchange, ending: Ending | undefined): Promise<void> {
  if (ending === undefined) return void exchange.response.end()
  if (ending === 'stall') return aborted(exchange.signal)
  // What was written before must be on its way before the socket goes.
  await written(exchange.response, '')
  await nextTurn()
  exchange.cut()
}

/** The faults that strike before anything is sent. False when the answer is off. */
async function beforeHeaders({ fault, signal, cut }: Exchange): Promise<boolean> {
  if (!(await wait(fault.latency?.headers, signal))) return false
  if (fault.stall === 'before-headers') await aborted(signal)
  if (fault.cut === 'before-headers') cut()
  return fault.cut !== 'before-headers' && !signal.aborted
}

function withFaultHeaders(headers: Record<string, string>, fault: Fault): Record<string, string> {
  const retry = fault.retryAfter === undefined ? {} : { 'retry-after': String(fault.retryAfter) }
  return { ...headers, ...retry, ...fault.headers }
}

/** False when the exchange ended meanwhile. */
async function wait(ms: number | undefined, signal: AbortSignal): Promise<boolean> {
  if (ms !== undefined && ms > 0) await sleep(ms, undefined, { signal }).catch(() => {})
  return !signal.aborted
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}

function written(response: ServerResponse, bytes: string | Uint8Array): Promise<void> {
  if (bytes.length === 0) return Promise.resolve()
  return new Promise((resolve) => response.write(bytes, () => resolve()))
}

async function drained(response: ServerResponse, signal: AbortSignal): Promise<boolean> {
  await Promise.race([new Promise<void>((resolve) => response.once('drain', resolve)), aborted(signal)])
  return !signal.aborted
}
