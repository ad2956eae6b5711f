import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { HttpError } from './problems.ts'

const inflate = promisify(gunzip)

/**
 * The bytes of a request, as they were sent.
 *
 * @throws HttpError 413 as soon as there are more than `maxBytes`; the rest is not read. Error where the client goes.
 */
export function readBytes(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    if (Number(request.headers['content-length'] ?? 0) > maxBytes) return reject(tooLarge(maxBytes))
    const chunks: Buffer[] = []
    let size = 0
    request.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size <= maxBytes) return void chunks.push(chunk)
      request.removeAllListeners('data')
      request.pause()
      reject(tooLarge(maxBytes))
    })
    request.once('end', () =>
      resolve(chunks.length === 1 ? (chunks[0] ?? NOTHING) : Buffer.concat(chunks, size)),
    )
    request.once('error', reject)
    request.once('close', () => reject(new Error('The client is gone.')))
  })
}

const NOTHING = Buffer.alloc(0)

/**
 * The JSON of a request; undefined where there is none.
 *
 * @throws HttpError 400 for text that is no UTF-8, 413, 415 for another encoding, 422 where it is no JSON, which has
 * neither NaN nor infinities
 */
export async function readJSON(request: IncomingMessage, maxBytes: number): Promise<unknown> {
  const bytes = await decoded(request, await readBytes(request, maxBytes), maxBytes)
  if (bytes.length === 0) return undefined
  const type = request.headers['content-type']
  const isJSON = type === undefined || /^application\/([\w.-]+\+)?json\s*(;|$)/i.test(type)
  if (!isJSON) {
    const msg = 'Input should be a valid dictionary or object to extract fields from'
    throw new HttpError(422, [
      { type: 'model_attributes_type', loc: ['body'], msg, input: bytes.toString('utf8', 0, 200) },
    ])
  }
  // Else what is broken would be stored as something else.
  if (!isUtf8(bytes)) throw new HttpError(400, 'There was an error parsing the body: it is not UTF-8.')
  const text = bytes.toString().replace(/^\uFEFF/, '')
  try {
    return JSON.parse(text)
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    const [, position = '0'] = /position (\d+)/.exec(reason) ?? []
    throw new HttpError(422, [
      {
        type: 'json_invalid',
        loc: ['body', Number(position)],
        msg: 'JSON decode error',
        input: {},
        ctx: { error: reason.slice(0, 200) },
      },
    ])
  }
}

async function decoded(request: IncomingMessage, bytes: Buffer, maxBytes: number): Promise<Buffer> {
  const encoding = request.headers['content-encoding']?.trim().toLowerCase() ?? 'identity'
  if (encoding === 'identity' || encoding === '') return bytes
  if (encoding !== 'gzip') throw new HttpError(415, `The content encoding "${encoding}" is not supported.`)
  try {
    return await inflate(bytes, { maxOutputLength: maxBytes })
  } catch (error) {
    if (error instanceof RangeError) throw tooLarge(maxBytes)
    throw new HttpError(400, 'The body is not gzip, or is cut off.')
  }
}

function tooLarge(maxBytes: number): HttpError {
  const most = Math.round(maxBytes / 1024 / 1024)
  // What is left of the body would be taken for the next request.
  return new HttpError(413, `The body has more than ${most} MB; send less at once.`, { connection: 'close' })
}
