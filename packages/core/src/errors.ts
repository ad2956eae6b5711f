/** Every way in which `@agl` can refuse, with the stem of the sentence that explains it. */
export type AglErrorCode =
  | 'config_invalid'
  | 'plugin_duplicate'
  | 'plugin_failed'
  | 'plugin_unknown'
  | 'host_missing'
  | 'host_unsupported'
  | 'provider_conflict'
  | 'sdk_missing'
  | 'outside_trace'
  | 'value_invalid'
  | 'value_unserializable'
  | 'sink_failed'
  | 'store_unavailable'
  | 'store_schema'
  | 'package_missing'
  | 'config_unreadable'
  | 'not_found'
  | 'usage'

const MARK = Symbol.for('agl.error')

/**
 * The one error class of `@agl`.
 *
 * `code` is stable and meant for programs; `message` is one sentence that says what happened and what to do.
 * `AglError.is` recognises errors of another copy of this package, where `instanceof` would not.
 */
export class AglError extends Error {
  override readonly name = 'AglError'
  readonly code: AglErrorCode

  constructor(code: AglErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
    Object.defineProperty(this, MARK, { value: true })
  }

  static is(value: unknown): value is AglError {
    return typeof value === 'object' && value !== null && MARK in value
  }
}
