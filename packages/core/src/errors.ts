import type { LogLevel, Logger } from './types.ts'

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
  | 'conflict'
  | 'body_invalid'
  | 'body_too_large'
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

const LEVELS: readonly LogLevel[] = ['silent', 'error', 'warn', 'info', 'debug']
const said = new Set<string>()
let levels: Record<string, LogLevel> = {}

export function isLogLevel(value: unknown): value is LogLevel {
  return LEVELS.some((level) => level === value)
}

/** Sets the log level for all (`'*'` or a bare level) or per scope, as in `{ 'agl:langchain': 'debug' }`. */
export function setLogLevels(option: LogLevel | Record<string, LogLevel> | undefined): void {
  levels = { ...parseLevels(typeof process === 'object' ? process.env?.['AGL_LOG'] : undefined) }
  if (typeof option === 'string') levels = { '*': option, ...levels }
  else levels = { ...option, ...levels }
}

/** Reads `AGL_LOG`: `debug`, or `agl:langchain=debug,agl:openai=info`. */
function parseLevels(text: string | undefined): Record<string, LogLevel> {
  const result: Record<string, LogLevel> = {}
  for (const part of text?.split(',') ?? []) {
    const [scope, name] = part.includes('=') ? part.split('=') : ['*', part]
    const level = name?.trim()
    if (scope !== undefined && isLogLevel(level)) result[scope.trim()] = level
  }
  return result
}

/** A logger for one scope. It writes to standard error, so that a program's output stays its own. */
export function logger(scope: string): Logger {
  const write = (level: LogLevel, message: string, detail?: unknown): void => {
    const limit = levels[scope] ?? levels['*'] ?? 'warn'
    if (LEVELS.indexOf(level) > LEVELS.indexOf(limit)) return
    const line = `[${scope}] ${message}`
    if (detail === undefined) console.error(line)
    else console.error(line, detail)
  }
  return {
    error: (message, detail) => write('error', message, detail),
    warn: (message, detail) => write('warn', message, detail),
    info: (message, detail) => write('info', message, detail),
    debug: (message, detail) => write('debug', message, detail),
    once: (message, detail) => {
      const key = `${scope} ${message}`
      if (said.has(key)) return
      said.add(key)
      write('warn', message, detail)
    },
  }
}
