import { readFileSync } from 'node:fs'
import { runInThisContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import {
  AglError,
  emitAnnotation,
  emitException,
  emitMessage,
  emitObject,
  emitReward,
  findFinalReward,
  findRewards,
  getMessageValue,
  getObjectValue,
  getRewardsFromSpan,
  getRewardValue,
  isRewardSpan,
  operation,
  record,
  spanFromJSON,
  type Span,
  type SpanCore,
  type SpanJSON,
} from '@agl/core'
import * as semconv from '@agl/core/semconv'
import { begin, type Running, spansOf } from './support.ts'

/*
 * Inputs with the outputs of the Python package. A case that cannot be equal is listed with the reason, and fails
 * here when it turns out equal after all.
 */
const DEVIATIONS: Record<string, string> = {
  'flatten-numbers-01': 'a list of 1 and 2.5 is one type in JavaScript',
  'flatten-numbers-04': '2.0 is the integer 2 in JavaScript',
  'random-04 sanitize_value': 'integer-like keys come first in JavaScript objects',
  'random-10 sanitize_value': 'integer-like keys come first in JavaScript objects',
  'random-16 sanitize_value': 'integer-like keys come first in JavaScript objects',
  'fuzz-05 unflatten': 'integer-like keys come first in JavaScript objects',
  'random-02 emit_object': 'integer-like keys come first in JavaScript objects',
  'random-05 emit_object': 'integer-like keys come first in JavaScript objects',
  'operation-13 operation': 'JavaScript has no tuples, and bytes have no Python repr',
}

/** Untyped on purpose: the cases are data of many shapes, written by another program. */
type Json = ReturnType<typeof JSON.parse>
interface Case {
  name: string
  note: string
  op: string
  call: string
  input: Json
  args: Json
  spans: SpanJSON[]
  expected: Json
  otel?: { spans?: Json[]; error?: string; raised?: string }
  tracer?: string
}

const ANY_TEXT: unknown = expect.any(String)

const FLOATS: Record<string, number> = {
  nan: Number.NaN,
  inf: Number.POSITIVE_INFINITY,
  '-inf': Number.NEGATIVE_INFINITY,
}

function load(file: string): Case[] {
  const text = readFileSync(new URL(`fixtures/${file}.json`, import.meta.url), 'utf8')
  return JSON.parse(text, (_key, value) => {
    if (typeof value !== 'object' || value === null) return value
    if ('$float' in value) return FLOATS[value.$float]
    if ('$bytes' in value) return new Uint8Array(Buffer.from(value.$bytes, 'base64'))
    return '$any' in value ? ANY_TEXT : value
  }).cases
}

function outcome(fn: () => unknown): unknown {
  try {
    return plain(fn())
  } catch (error) {
    if (!AglError.is(error)) throw error
    return { error: 'raised' }
  }
}

/** `1` equals `1.0` and `-0` equals `0`; undefined is how we say Python's None. */
function plain(value: unknown): unknown {
  if (value === undefined || value === null) return null
  if (Object.is(value, -0)) return 0
  if (Array.isArray(value)) return value.map(plain)
  if (
    typeof value !== 'object' ||
    value instanceof Map ||
    value instanceof Uint8Array ||
    'asymmetricMatch' in value
  )
    return value
  if ('error' in value && typeof value.error === 'string') return { error: 'raised' }
  return new Map(Object.entries(value).map(([key, item]) => [key, plain(item)]))
}

function checkEqual(actual: unknown, expected: unknown): void {
  expect(actual).toEqual(expected)
}

function checkDifferent(actual: unknown, expected: unknown): void {
  expect(actual, 'now equal to Python: take it off the list').not.toEqual(expected)
}

function check(test: Case, kind: string, run: () => unknown): void {
  const listed = Object.hasOwn(DEVIATIONS, test.name) || Object.hasOwn(DEVIATIONS, `${test.name} ${kind}`)
  const compare = listed ? checkDifferent : checkEqual
  compare(run(), plain(test.expected))
}

describe('flatten, unflatten, filter, sanitize, tags and links', () => {
  const operations: Record<string, (input: Json) => unknown> = {
    flatten: ({ data, expand_leaf_lists }) =>
      semconv.flatten(data, { expandLeafLists: expand_leaf_lists ?? false }),
    unflatten: ({ data }) => semconv.unflatten(data),
    roundtrip: ({ data, expand_leaf_lists }) =>
      semconv.unflatten(semconv.flatten(data, { expandLeafLists: expand_leaf_lists ?? false })),
    filter: ({ attributes, prefix }) => semconv.filter(attributes, prefix),
    filter_and_unflatten: ({ attributes, prefix }) => semconv.filterAndUnflatten(attributes, prefix),
    sanitize_value: ({ value }) => semconv.sanitizeValue(value),
    sanitize_list: ({ list }) => semconv.sanitizeList(list),
    sanitize_attributes: ({ attributes }) => semconv.sanitizeAttributes(attributes),
    check_attributes: ({ attributes }) => semconv.checkAttributes(attributes),
    make_tag_attributes: ({ tags }) => semconv.makeTagAttributes(tags),
    extract_tags: ({ attributes }) => semconv.extractTags(attributes),
    make_link_attributes: ({ links }) => semconv.makeLinkAttributes(links),
    extract_links: ({ attributes }) => semconv.extractLinks(attributes),
    query_linked_spans: ({ spans, links }: { spans: SpanJSON[]; links: semconv.Link[] }) =>
      semconv.queryLinkedSpans(spans.map(spanFromJSON), links).map((span) => span.spanId),
  }
  it.each(load('flatten').map((test) => [`${test.name}: ${test.op}, ${test.note}`, test] as const))(
    '%s',
    (_title, test) => {
      check(test, test.op, () => outcome(() => operations[test.op]?.(test.input)))
    },
  )
})

describe('reward readers', () => {
  it.each(load('rewards').map((test) => [`${test.name}: ${test.note}`, test] as const))(
    '%s',
    (_title, test) => {
      const spans = test.spans.map(spanFromJSON)
      const each = (fn: (span: Span) => unknown): unknown => spans.map((span) => outcome(() => fn(span)))
      const actual = {
        get_reward_value: each(getRewardValue),
        get_rewards_from_span: each(getRewardsFromSpan),
        is_reward_span: each(isRewardSpan),
        find_reward_spans: outcome(() => findRewards(spans).map((span) => span.spanId)),
        find_final_reward: outcome(() => findFinalReward(spans)),
      }
      expect(plain(actual)).toEqual(plain(test.expected))
    },
  )
})

/** Exceptions of Python have no class here: one that has its name is what a JavaScript program would throw. */
function pythonError(spec: Json): Json {
  if (spec.type === undefined) return spec
  const named = { [spec.type]: class extends Error {} }
  const message = (spec.args ?? [])
    .map((arg: unknown) => (spec.type === 'KeyError' ? `'${String(arg)}'` : String(arg)))
    .join(', ')
  const Named = named[spec.type] ?? Error
  return new Named(message)
}

const emitters: Record<string, (args: Json, propagate: boolean) => SpanCore> = {
  emit_reward: ({ reward, primary_key, attributes }, propagate) =>
    emitReward(reward, {
      ...(primary_key === undefined ? {} : { primary: primary_key }),
      attributes: attributes ?? {},
      propagate,
    }),
  emit_annotation: ({ annotation }, propagate) => emitAnnotation(annotation, { propagate }),
  emit_message: ({ message, attributes }, propagate) =>
    emitMessage(message, { attributes: attributes ?? {}, propagate }),
  emit_object: ({ object, attributes }, propagate) =>
    emitObject(object, { attributes: attributes ?? {}, propagate }),
  emit_exception: ({ exception, attributes }, propagate) => {
    return emitException(pythonError(exception), { attributes: attributes ?? {}, propagate })
  },
}

describe('emitters', () => {
  const cases = load('emitters')
  const simple = cases.filter((test) => test.call in emitters)
  it.each(simple.map((test) => [`${test.name}: ${test.call}, ${test.note}`, test] as const))(
    '%s',
    (_title, test) => {
      const propagate = test.tracer === 'none'
      const emit = emitters[test.call]
      check(test, test.call, () => outcome(() => emit && contentOf(emit(test.args, propagate))))
    },
  )

  const traced = simple.filter(
    (test) => test.otel !== undefined && !Object.hasOwn(DEVIATIONS, `${test.name} ${test.call}`),
  )
  it.each(traced.map((test) => [`${test.name}: ${test.call} in a trace`, test] as const))(
    '%s',
    async (_title, test) => {
      const { error, spans } = await record('vectors', () => void emitters[test.call]?.(test.args, true))
      expect(AglError.is(error)).toBe(test.otel?.error !== undefined)
      expect(spans.slice(0, -1).map((span) => plain(contentOf(span)))).toEqual(
        (test.otel?.spans ?? []).map(withoutParent),
      )
    },
  )

  const decode = cases.filter((test) => test.call === 'decode')
  it.each(decode.map((test) => [`${test.name}: ${test.note}`, test] as const))('%s', (_title, test) => {
    const { fn, span }: { fn: string; span: SpanJSON } = test.args
    const read = fn === 'get_object_value' ? getObjectValue : getMessageValue
    check(test, 'decode', () => outcome(() => ({ value: read(spanFromJSON(span)) })))
  })

  const manual = cases.filter((test) => test.call === 'operation' && test.otel?.spans !== undefined)
  it.each(manual.map((test) => [`${test.name}: operation, ${test.note}`, test] as const))(
    '%s',
    async (_title, test) => {
      await using running = await begin()
      const spans = await spansOf('vectors', () => runOperation(running, test.args))
      const ids = spans.map((span) => span.spanId)
      const actual = spans.slice(0, -1).map((span) => {
        const parent = span.parentId === ids.at(-1) ? null : ids.indexOf(span.parentId ?? '')
        return plain({ ...contentOf(span), parent })
      })
      const expected = (test.otel?.spans ?? []).map((span) => plain(named(span)))
      check({ ...test, expected }, test.call, () => actual)
    },
  )

  const refused = cases.filter((test) => test.call === 'operation' && test.otel?.error !== undefined)
  it.each(refused.map((test) => [`${test.name}: operation, ${test.note}`, test] as const))(
    '%s',
    (_title, test) => {
      expect(outcome(() => operation(nameOf(test.args), () => 1))).toEqual(plain(test.expected))
    },
  )

  const decorated = cases.filter((test) => test.call === 'operation_decorator')
  it.each(decorated.map((test) => [`${test.name}: ${test.note}`, test] as const))(
    '%s',
    async (_title, test) => {
      let thrown: unknown
      const { error, spans } = await record('vectors', async () => {
        const wrapped = operation(nameOf(test.args), functionOf(test.args))
        try {
          await wrapped(...argumentsOf(test.args))
        } catch (caught) {
          thrown = caught
        }
      })
      expect(AglError.is(error)).toBe(test.otel?.error !== undefined)
      expect(thrown instanceof Error ? thrown.constructor.name : undefined).toBe(test.otel?.raised)
      expect(spans.slice(0, -1).map((span) => plain(contentOf(span)))).toEqual(
        (test.otel?.spans ?? []).map(withoutParent),
      )
    },
  )

  it('leaves out no case', () => {
    const tried = [...simple, ...decode, ...manual, ...refused, ...decorated].map((test) => test.name)
    expect(tried.toSorted()).toEqual(cases.map((test) => test.name).toSorted())
  })
})

function withoutParent(span: object): unknown {
  const { parent: _parent, ...rest }: { parent?: unknown } = { ...span }
  return plain(rest)
}

/** An operation has a name here, always; Python's form with a block may do without. */
const UNNAMED = { 'agentlightning.operation.name': 'unnamed' }

function named(span: Json): Json {
  if (span.name !== 'agentlightning.operation') return span
  return { ...span, attributes: { ...UNNAMED, ...span.attributes } }
}

/** Python's form with a block, by the means of a plugin: the input is given as it opens, the output as it ends. */
function runOperation(running: Running, { name = 'unnamed', attributes = {}, steps = [] }: Json): void {
  const input: Record<string, unknown> = {}
  for (const { do: step, args = [], kwargs = {} } of steps) {
    if (step !== 'set_input') continue
    for (const [i, value] of args.entries()) input[`args.${i}`] = value
    Object.assign(input, kwargs)
  }
  const activity = running.api.activity('operation', { name, attributes, input })
  for (const step of steps) {
    if (step.do === 'set_output') activity.update({ output: step.value })
    else if (step.do === 'raise') activity.fail(pythonError(step.exception))
    else if (step.do === 'call' && step.call === 'operation')
      activity.run(() => runOperation(running, step.args))
    else if (step.do === 'call') activity.run(() => emitters[step.call]?.(step.args, true))
  }
  activity.end()
}

function contentOf({ name, attributes, status, events }: SpanCore): object {
  const { statusCode: status_code, description } = status
  const thrown = (events ?? []).map((event) => ({ name: event.name, attributes: event.attributes }))
  return {
    name,
    attributes,
    status: { status_code, description },
    ...(thrown.length > 0 ? { events: thrown } : {}),
  }
}

/* Python binds keywords to parameter names; here they are positional, so the call is laid out by the declaration. */
interface Decorated {
  function: string
  params: { name: string; kind?: string; default?: unknown }[]
  call_args: unknown[]
  call_kwargs: Record<string, unknown>
  returns?: unknown
  raises?: { type: string; args: unknown[] }
  attributes?: Record<string, unknown>
  name?: string
  async?: boolean
}

function nameOf(args: Decorated): { name?: string; attributes?: Record<string, unknown> } {
  return {
    ...(args.name === undefined ? {} : { name: args.name }),
    ...(args.attributes === undefined ? {} : { attributes: args.attributes }),
  }
}

/** A function that is declared as the Python one: same names, same defaults, async or not. */
function functionOf(args: Decorated): (...given: unknown[]) => unknown {
  const list = args.params
    .map(({ name, kind, default: fallback }) => {
      if (fallback !== undefined) return `${name} = ${JSON.stringify(fallback)}`
      return kind === 'var_positional' ? `...${name}` : name
    })
    .join(', ')
  const declaration = `${args.async === true ? 'async ' : ''}(${list}) => run()`
  return runInThisContext(`(run) => ({ ${args.function}: ${declaration} }).${args.function}`)(() => {
    if (args.raises !== undefined) throw pythonError(args.raises)
    return args.returns
  })
}

function argumentsOf({ params, call_args, call_kwargs }: Decorated): unknown[] {
  const rest = { ...call_kwargs }
  if (params.some(({ kind }) => kind === 'var_positional')) return call_args
  return params.map(({ name, kind }, i) => {
    if (kind === 'var_keyword') return rest
    const value = Object.hasOwn(rest, name) ? rest[name] : call_args[i]
    delete rest[name]
    return value
  })
}
