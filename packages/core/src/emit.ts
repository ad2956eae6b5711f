import type { Activity } from './activity-types.ts'
import { AglError } from './errors.ts'
import { openActivity, recordSpan, requireTrace } from './runtime.ts'
import {
  ANNOTATION,
  checkAttributes,
  EXCEPTION,
  flatten,
  MESSAGE,
  MESSAGE_BODY,
  OBJECT,
  OPERATION_NAME,
  pythonJSON,
  pythonNumber,
  REWARD,
  sanitizeAttributes,
} from './semconv.ts'
import type { SpanCore } from './types.ts'

const MOST_JSON = 32 * 1024 * 1024

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
  checkAttributes(attributes)
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
  const values =
    typeof reward === 'object' && reward !== null && !Array.isArray(reward) ? reward : { primary: reward }
  const primary = values === reward ? options.primary : 'primary'
  if (primary === undefined || !Object.hasOwn(values, primary)) {
    throw new AglError(
      'value_invalid',
      `emitReward() needs to know which dimension to train on; pass { primary: '…' } with one of: ${Object.keys(values).join(', ') || 'none given'}.`,
    )
  }
  const order = [primary, ...Object.keys(values).filter((name) => name !== primary)]
  const list = order.map((name) => ({ name, value: rewardNumber(name, Reflect.get(values, name)) }))
  return emit('emitReward', ANNOTATION, { [REWARD]: list }, options)
}

function rewardNumber(name: string, value: unknown): number {
  if (typeof value === 'boolean') return Number(value)
  if (typeof value === 'number' && Number.isFinite(value)) return value
  throw new AglError(
    'value_invalid',
    `The reward "${name}" is ${String(value)}; a reward must be a finite number or a boolean, so decide what a run like this is worth.`,
  )
}

/** Adds facts to the trace. Null, undefined and objects of classes are refused. */
export function emitAnnotation(annotation: Record<string, unknown>, options: EmitOptions = {}): SpanCore {
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
  const literal = (type: string, text: string) => ({ [`${OBJECT}.type`]: type, [`${OBJECT}.literal`]: text })
  if (typeof value === 'string') return literal('str', value)
  if (typeof value === 'boolean') return literal('bool', value ? 'True' : 'False')
  if (typeof value === 'bigint') return literal('int', String(value))
  if (typeof value === 'number') {
    if (Number.isInteger(value) && !Object.is(value, -0)) return literal('int', BigInt(value).toString())
    return literal('float', PYTHON_FLOATS[String(value)] ?? pythonNumber(value))
  }
  if (value instanceof Uint8Array) return literal('bytes', base64(value))
  if (value === undefined || typeof value === 'function' || typeof value === 'symbol') {
    throw new AglError('value_unserializable', `emitObject() cannot encode ${typeof value}; pass plain data.`)
  }
  try {
    const json = pythonJSON(value)
    if (json.length > MOST_JSON) throw new RangeError('it is larger than 32 MB as JSON')
    return { [`${OBJECT}.type`]: pythonType(value), [`${OBJECT}.json`]: json }
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new AglError(
      'value_unserializable',
      `emitObject() cannot encode this value: ${reason}; pass plain data without cycles.`,
      { cause },
    )
  }
}

const PYTHON_FLOATS: Record<string, string> = { NaN: 'nan', Infinity: 'inf', '-Infinity': '-inf' }

function pythonType(value: object | null): string {
  if (value === null) return 'NoneType'
  if (Array.isArray(value)) return 'list'
  const name: unknown = value.constructor?.name
  return typeof name === 'string' && name !== 'Object' && name !== '' ? name : 'dict'
}

function base64(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) text += String.fromCharCode(byte)
  return btoa(text)
}

/** Adds an error to the trace that your code dealt with. */
export function emitException(error: Error, options: EmitOptions = {}): SpanCore {
  if (!(error instanceof Error))
    throw new AglError('value_invalid', 'emitException() takes an Error; use emitObject() for other values.')
  const content: Record<string, unknown> = {
    'exception.type': error.constructor.name || error.name,
    'exception.message': error.message,
    'exception.escaped': true,
  }
  if (error.stack?.trim()) content['exception.stacktrace'] = error.stack
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
  if (options.name !== undefined && explicit !== undefined) {
    throw new AglError(
      'value_invalid',
      `operation() was given a name and an attribute "${OPERATION_NAME}"; keep one.`,
    )
  }
  const name = options.name ?? (typeof explicit === 'string' ? explicit : fn.name)
  const parameters = parametersOf(fn)
  return new Proxy(fn, {
    apply(target, self, args: unknown[]) {
      requireTrace('operation')
      const input = bind(parameters, args)
      const activity = openActivity('operation', { name, input, attributes: options.attributes ?? {} })
      return run(activity, () => Reflect.apply(target, self, args))
    },
  })
}

function run(activity: Activity<'operation'>, fn: () => unknown): unknown {
  try {
    const result = activity.run(fn)
    // A promise of another class, such as the openai client's, may begin to work when it is awaited: not by us.
    if (!(result instanceof Promise) || result.constructor !== Promise) {
      activity.end(result instanceof Promise ? {} : { output: result })
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

/** Parameter names as written, up to the first that is not a plain name. */
function parametersOf(fn: AnyFunction): string[] {
  const source = Function.prototype.toString.call(fn).replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '')
  const list = /^(?:async\s*)?(?:function\s*\*?\s*[\w$]*\s*|[\w$]+\s*)?\(([^()]*)\)/.exec(source)?.[1]
  const single = /^(?:async\s+)?([\w$]+)\s*=>/.exec(source)?.[1]
  const names: string[] = []
  for (const part of (single ?? list ?? '').split(',')) {
    const name = /^\s*((?:\.\.\.)?[\p{ID_Start}$_][\p{ID_Continue}$]*)\s*(?:=[^{[]*)?$/u.exec(part)?.[1]
    if (name === undefined) break
    names.push(name)
  }
  return names
}

function bind(parameters: readonly string[], args: readonly unknown[]): Record<string, unknown> {
  const input: Record<string, unknown> = {}
  for (let i = 0; i < args.length; i++) {
    const name = parameters[i]
    if (name?.startsWith('...')) {
      input[name.slice(3)] = args.slice(i)
      break
    }
    if (args[i] === undefined) continue
    input[name ?? `args.${i}`] = args[i]
  }
  return input
}
