import type { Activity } from './activity-types.ts'
import { encodeError } from './encode.ts'
import { AglError } from './errors.ts'
import { openActivity, recordSpan, requireTrace } from './runtime.ts'
import {
  ANNOTATION,
  checkAttributes,
  EXCEPTION,
  flatten,
  isDict,
  MESSAGE,
  MESSAGE_BODY,
  MOST,
  OBJECT,
  OBJECT_JSON,
  OBJECT_LITERAL,
  OBJECT_TYPE,
  OPERATION_NAME,
  pythonJSON,
  pythonNumber,
  REWARD,
  sanitizeAttributes,
} from './semconv.ts'
import type { Attributes, SpanCore } from './types.ts'

export interface EmitOptions {
  /** Further attributes, nested values flattened. Links and tags go here. */
  attributes?: Record<string, unknown>
  /** `false` returns the span's content without recording it, also outside a trace. @default true */
  propagate?: boolean
}

function emit(
  caller: string,
  name: string,
  content: Record<string, unknown>,
  options: EmitOptions,
): SpanCore {
  const attributes = flatten({ ...content, ...options.attributes })
  // As Python: annotations refuse null, the others record it as the text `null`.
  if (name === ANNOTATION) checkAttributes(attributes)
  const quiet = options.propagate !== false && name === MESSAGE
  const core: SpanCore = {
    name,
    attributes: sanitizeAttributes(attributes),
    status: { statusCode: quiet ? 'UNSET' : 'OK', description: null },
  }
  if (options.propagate !== false) recordSpan(core, caller)
  return core
}

/**
 * Rewards what happened so far. The trainer gives the value to the model call that ended last before it.
 *
 * With a map of dimensions, `primary` names the one to train on.
 *
 * @throws AglError `value_invalid` for anything but finite numbers and booleans, `outside_trace` outside a trace
 */
export function emitReward(
  reward: number | boolean | Record<string, number | boolean>,
  options: EmitOptions & { primary?: string } = {},
): SpanCore {
  const values = isDict(reward) ? reward : { primary: reward }
  const primary = values === reward ? options.primary : 'primary'
  if (primary === undefined || !Object.hasOwn(values, primary)) {
    const names = Object.keys(values).join(', ') || 'none given'
    throw new AglError(
      'value_invalid',
      `emitReward() needs to know what to train on; pass { primary: '…' } with one of: ${names}.`,
    )
  }
  const order = [primary, ...Object.keys(values).filter((name) => name !== primary)]
  const list = order.map((name) => ({ name, value: rewardNumber(name, Reflect.get(values, name)) }))
  return emit('emitReward', ANNOTATION, { [REWARD]: list }, options)
}

function rewardNumber(name: string, value: unknown): number {
  if (typeof value === 'boolean') return Number(value)
  if (typeof value === 'number' && Number.isFinite(value)) return value
  const what = typeof value === 'number' ? value : Array.isArray(value) ? 'a list' : typeof value
  throw new AglError(
    'value_invalid',
    `The reward "${name}" is ${what}; pass a finite number or a boolean that says what a run like this is worth.`,
  )
}

/** Adds facts to the trace. Null and objects of classes are refused, undefined is left out. */
export function emitAnnotation(annotation: Record<string, unknown>, options: EmitOptions = {}): SpanCore {
  if (!isDict(annotation))
    throw new AglError('value_invalid', 'emitAnnotation() takes a plain object such as { grade: 1 }.')
  return emit('emitAnnotation', ANNOTATION, annotation, options)
}

/** Adds a line of text to the trace. */
export function emitMessage(message: string, options: EmitOptions = {}): SpanCore {
  if (typeof message !== 'string')
    throw new AglError('value_invalid', 'emitMessage() takes a text; use emitObject() for other values.')
  return emit('emitMessage', MESSAGE, { [MESSAGE_BODY]: message }, options)
}

/**
 * Adds a value to the trace, encoded so that Python reads it back.
 *
 * @throws AglError `value_unserializable` for cycles, throwing getters, functions, and more than 32 MB of JSON
 */
export function emitObject(value: unknown, options: EmitOptions = {}): SpanCore {
  return emit('emitObject', OBJECT, encodeObject(value), options)
}

function encodeObject(value: unknown): Record<string, unknown> {
  if (typeof value === 'string') return literal('str', value)
  if (typeof value === 'boolean') return literal('bool', value ? 'True' : 'False')
  if (typeof value === 'bigint') return literal('int', String(value))
  if (typeof value === 'number') {
    const text = pythonNumber(value).toLowerCase().replace('inity', '')
    return literal(/^-?\d+$/.test(text) ? 'int' : 'float', text)
  }
  if (value instanceof Uint8Array) return literal('bytes', base64(value))
  if (value === undefined || typeof value === 'function' || typeof value === 'symbol')
    throw new AglError('value_unserializable', `emitObject() cannot encode ${typeof value}; pass plain data.`)
  return { [OBJECT_TYPE]: pythonType(value), [OBJECT_JSON]: pythonJSON(value) }
}

function literal(type: string, text: string): Record<string, unknown> {
  if (text.length <= MOST) return { [OBJECT_TYPE]: type, [OBJECT_LITERAL]: text }
  throw new AglError('value_unserializable', 'emitObject() takes at most 32 MB; pass smaller data.')
}

function pythonType(value: object | null): string {
  if (value === null) return 'NoneType'
  if (Array.isArray(value)) return 'list'
  const name: unknown = Object.getPrototypeOf(value)?.constructor?.name
  return typeof name === 'string' && name !== 'Object' && name !== '' ? name : 'dict'
}

function base64(bytes: Uint8Array): string {
  let text = ''
  // In pieces: byte by byte takes seconds for what is still allowed, all at once too many arguments.
  for (let i = 0; i < bytes.length; i += 0x2000)
    text += Reflect.apply(String.fromCharCode, undefined, bytes.subarray(i, i + 0x2000))
  return btoa(text)
}

/** Adds an error to the trace that your code dealt with. */
export function emitException(error: Error, options: EmitOptions = {}): SpanCore {
  // Errors of another realm, such as Node's own inside a test runner, are no instances of this one's class.
  if (!(error instanceof Error) && Object.prototype.toString.call(error) !== '[object Error]')
    throw new AglError('value_invalid', 'emitException() takes an Error; use emitObject() for other values.')
  const content: Attributes = {}
  encodeError(content, error)
  delete content['error.type']
  content['exception.escaped'] = true
  if (typeof error.stack === 'string' && error.stack.trim()) content['exception.stacktrace'] = error.stack
  return emit('emitException', EXCEPTION, content, options)
}

export interface OperationOptions {
  /** @default the function's name */
  name?: string
  attributes?: Record<string, unknown>
}

type AnyFunction = (...args: never[]) => unknown

/**
 * Wraps a function so that each call of it inside a trace is recorded with its arguments and its result.
 *
 * @throws AglError `outside_trace` from the wrapped function when it is called outside a trace
 */
export function operation<F extends AnyFunction>(fn: F): F
export function operation<F extends AnyFunction>(options: string | OperationOptions, fn: F): F
export function operation<F extends AnyFunction>(given: F | string | OperationOptions, last?: F): F {
  const fn = typeof given === 'function' ? given : last
  if (typeof fn !== 'function')
    throw new AglError('value_invalid', 'operation() takes a function as its last argument.')
  const options = typeof given === 'string' ? { name: given } : typeof given === 'function' ? {} : given
  const explicit = options.attributes?.[OPERATION_NAME]
  if (options.name !== undefined && explicit !== undefined)
    throw new AglError(
      'value_invalid',
      `operation() takes a name or the attribute "${OPERATION_NAME}", not both.`,
    )
  const name = options.name ?? (typeof explicit === 'string' ? explicit : fn.name || 'anonymous')
  const attributes = sanitizeAttributes(flatten({ ...options.attributes }))
  const parameters = parametersOf(fn)
  return new Proxy(fn, {
    apply(target, self, args: unknown[]) {
      requireTrace('operation')
      const activity = openActivity('operation', { name, input: bind(parameters, args), attributes })
      return run(activity, () => Reflect.apply(target, self, args))
    },
  })
}

function run(activity: Activity<'operation'>, fn: () => unknown): unknown {
  try {
    const result = activity.run(fn)
    // A promise of another class, such as the openai client's, may begin to work when it is awaited: not by us.
    if (!(result instanceof Promise) || result.constructor !== Promise) {
      activity.end(isUnread(result) ? {} : { output: result })
      return result
    }
    return result.then(
      (output: unknown) => {
        activity.end({ output })
        return output
      },
      (error: unknown) => {
        activity.fail(error)
        throw error
      },
    )
  } catch (error) {
    activity.fail(error)
    throw error
  }
}

/** Promises, generators and streams: they have no result yet, and looking for one would use them up. */
function isUnread(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  return 'then' in value || Symbol.asyncIterator in value || ('next' in value && Symbol.iterator in value)
}

interface Parameter {
  name: string
  rest: boolean
  /** The default value, where it is a literal. */
  fallback: unknown
}

const PARAMETER = /^\s*(\.\.\.)?([\p{L}\p{N}$_]+)\s*(?:=\s*(.*?))?\s*$/su
const SIGNATURE = /^(?:async\s*)?(?:function\b\s*\*?\s*)?(?:[\w$]*\s*\(([^()]*)\)|([\w$]+)\s*=>)/

/** Parameters as written, up to the first that is more than a name and a simple default: Python records names too. */
function parametersOf(fn: AnyFunction): Parameter[] {
  const [, list, single] = SIGNATURE.exec(Function.prototype.toString.call(fn)) ?? []
  const parameters: Parameter[] = []
  for (const part of (list ?? single ?? '').split(',')) {
    const [, dots, name, text] = PARAMETER.exec(part) ?? []
    if (name === undefined) break
    const fallback = text === undefined ? undefined : readLiteral(text)
    parameters.push({ name, rest: dots !== undefined, fallback })
    // The next comma may be within this default rather than behind it.
    if (text !== undefined && fallback === undefined && /["'`/{[]/.test(text)) break
  }
  return parameters
}

function readLiteral(text: string): unknown {
  try {
    return JSON.parse(text.replace(/^'|'$/g, '"'))
  } catch {
    return undefined
  }
}

function bind(parameters: readonly Parameter[], args: readonly unknown[]): Record<string, unknown> {
  const input: [string, unknown][] = []
  const count =
    parameters.at(-1)?.rest === true ? parameters.length - 1 : Math.max(parameters.length, args.length)
  for (let i = 0; i < count; i++) {
    const { name = `args.${i}`, fallback } = parameters[i] ?? {}
    input.push([name, args[i] === undefined ? fallback : args[i]])
  }
  args.slice(count).forEach((arg, i) => input.push([`${parameters[count]?.name}.${i}`, arg]))
  return Object.fromEntries(input)
}
