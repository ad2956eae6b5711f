import { AglError } from '@agl/core'
import { isObject } from '../json-reader.ts'
import type { Answer } from './connection.ts'

/** What an answer other than success says of the reason. */
interface Reason {
  detail: string
  errorType: string
}

function reasonOf({ body }: Answer): Reason {
  const json = parse(body)
  if (!isObject(json)) return { detail: '', errorType: '' }
  const { detail, error_type: errorType = '', traceback = '' } = json
  const lastLine = String(traceback).trimEnd().split('\n').at(-1) ?? ''
  const text = typeof detail === 'string' ? detail : JSON.stringify(detail ?? '')
  return { detail: lastLine === '' ? text : lastLine, errorType: String(errorType) }
}

function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString())
  } catch {
    return undefined
  }
}

/**
 * Whether an answer of 500 says that a rollout or attempt is not there: so Agent Lightning does, ours included, and
 * asking again changes nothing.
 */
export function isNotFound(answer: Answer): boolean {
  if (answer.status !== 500) return false
  const { detail, errorType } = reasonOf(answer)
  return errorType === 'ValueError' && /not found|does not exist|No attempts found|has no/.test(detail)
}

/** The error for an answer that is final, whatever was asked. */
export function toError(answer: Answer, store: string): AglError {
  const { status } = answer
  const { detail } = reasonOf(answer)
  const said = detail === '' ? '' : ` (${detail.slice(0, 500)})`
  if (status === 401) {
    return new AglError(
      'usage',
      `The store at ${store} refused the token${said}; give the right one with its URL, or as AGL_STORE_TOKEN.`,
    )
  }
  if (status === 403) return new AglError('usage', `The store at ${store} refused the request${said}.`)
  if (isNotFound(answer)) {
    return new AglError('not_found', `The store at ${store} does not have it: ${detail.slice(0, 500)}`)
  }
  if (status < 400) {
    const message = `The server at ${store} sends to another address (${status}), which is not followed; give that one.`
    return new AglError('usage', message)
  }
  if (status === 404 || status === 405) {
    return new AglError(
      'usage',
      `The server at ${store} is no store of Agent Lightning v0.3; check the URL, and what is served there.`,
    )
  }
  if (status === 413) return new AglError('value_invalid', `The store at ${store} found it too large${said}.`)
  if (status >= 400 && status < 500 && status !== 408) {
    return new AglError('value_invalid', `The store at ${store} refused it${said}.`)
  }
  return new AglError('store_unavailable', `The store at ${store} answered with ${status}${said}; try again.`)
}

export function unreachable(store: string, cause: Error): AglError {
  return new AglError(
    'store_unavailable',
    `The store at ${store} cannot be reached (${cause.message}); check that it is running.`,
    { cause },
  )
}

/** Of something that must not be done twice. */
export function uncertain(store: string, cause: Error): AglError {
  return new AglError(
    'store_unavailable',
    `The store at ${store} did not answer (${cause.message}), so it may or may not have done what was asked; look before you ask again.`,
    { cause },
  )
}
