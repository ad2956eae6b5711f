import type { AttributeValue, Attributes, Span } from '@agl/core'
import { LATEST_ATTEMPT, idFault } from './ids.ts'
import { isObject } from './json-reader.ts'
import type { AddSpansOptions } from './types.ts'

const STATUS_CODES: readonly unknown[] = ['UNSET', 'OK', 'ERROR']

/**
 * Why a span can never be stored, or undefined where it can. Python's side refuses a whole batch for one value that
 * is not of Agent Lightning's types, so such a value must not get in, nor stop the spans around its own.
 */
export function refusal(span: Span, options: AddSpansOptions): string | undefined {
  if (!isWhole(span)) return 'it lacks a part that every span has'
  for (const key of ['rolloutId', 'attemptId', 'traceId', 'spanId'] as const) {
    const fault = span[key] === '' ? 'is not a text' : idFault(span[key])
    if (fault !== undefined) return `its ${key} ${fault}`
  }
  if (span.attemptId === LATEST_ATTEMPT)
    return `its attemptId "${LATEST_ATTEMPT}" names no attempt of its own`
  if (typeof span.name !== 'string') return 'its name is not a text'
  if (span.parentId !== null && typeof span.parentId !== 'string') return 'its parentId is not a text'
  if (!STATUS_CODES.includes(span.status.statusCode)) return 'its status is not UNSET, OK or ERROR'
  if (options.keepSequenceIds === true && !Number.isSafeInteger(span.sequenceId)) {
    return 'its sequenceId is not a whole number'
  }
  if (!Number.isFinite(span.startTime) || !Number.isFinite(span.endTime)) return 'its times are not numbers'
  const illegal =
    illegalKey(span.attributes) ??
    illegalKey(span.resource.attributes) ??
    span.events.map((event) => illegalKey(event.attributes)).find((key) => key !== undefined) ??
    span.links
      .map((link) => link.attributes && illegalKey(link.attributes))
      .find((key) => typeof key === 'string')
  return illegal === undefined ? undefined : `its attribute "${illegal}" is not a value that JSON keeps`
}

/** Types say so already; a caller without them must not get in what cannot be written. */
function isWhole(span: Span): boolean {
  if (!isObject(span)) return false
  const objects: readonly unknown[] = [span.attributes, span.resource, span.status]
  if (!objects.every(isObject) || !isObject(span.resource.attributes)) return false
  if (!Array.isArray(span.events) || !Array.isArray(span.links)) return false
  return (
    [span.context, span.parent].every(isOptionalObject) &&
    span.events.every(isEvent) &&
    span.links.every((link) => isObject(link) && isObject(link.context) && isOptionalObject(link.attributes))
  )
}

function isEvent(event: unknown): boolean {
  if (!isObject(event) || typeof event['name'] !== 'string' || !isObject(event['attributes'])) return false
  return event['timestamp'] === null || typeof event['timestamp'] === 'number'
}

function isOptionalObject(value: unknown): boolean {
  return value === null || isObject(value)
}

function illegalKey(attributes: Attributes): string | undefined {
  for (const key in attributes) if (!isLegal(attributes[key])) return key
  return undefined
}

function isLegal(value: AttributeValue | undefined): boolean {
  if (typeof value === 'string' || typeof value === 'boolean' || value === undefined) return true
  if (value instanceof Int32Array) return true
  if (typeof value === 'number') return Number.isFinite(value)
  if (!Array.isArray(value)) return false
  const list: readonly unknown[] = value
  // `every` passes over holes, which JSON turns into null.
  if (list.includes(undefined)) return false
  const type = typeof list[0]
  if (type === 'number') return list.every(Number.isFinite)
  return (
    list.length === 0 ||
    ((type === 'string' || type === 'boolean') && list.every((item) => typeof item === type))
  )
}
