/** Where a value is in a request: `['body', 'rollouts', 0, 'input']`. */
export type Place = readonly (string | number)[]

/** One thing that is wrong with a request, in the shape that clients of Agent Lightning know from pydantic. */
export interface Problem {
  type: string
  loc: Place
  msg: string
  input: unknown
  ctx?: Record<string, unknown>
}

/** An answer other than success; `detail` is for whoever made the request. */
export class HttpError extends Error {
  readonly status: number
  readonly detail: string | readonly Problem[]
  readonly headers: Readonly<Record<string, string>>

  constructor(
    status: number,
    detail: string | readonly Problem[],
    headers: Readonly<Record<string, string>> = {},
  ) {
    super(typeof detail === 'string' ? detail : 'The request is not valid.')
    this.status = status
    this.detail = detail
    this.headers = headers
  }
}

export function notAllowedNull(name: string): HttpError {
  return new HttpError(400, `${name} is invalid; it cannot be a null value.`)
}
