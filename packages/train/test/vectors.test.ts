import { describe, expect, it } from 'vitest'
import { toMessages, toProxyTriplets, toTriplets } from '@agl/train'
import { repairHierarchy } from '../src/repair.ts'
import { buildTree, type TraceNode } from '../src/tree.ts'
import { camelCase, type Case, load, outcome } from './vectors.ts'

/*
 * Spans with what the Python adapters make of them. A case that cannot be equal is listed with the reason, and fails
 * here when it turns out equal after all.
 */
const DEVIATIONS: Readonly<Record<string, string>> = {
  'token-ids-06': '2.0 is the integer 2 in JavaScript',
}

const quiet = { onWarning: () => undefined }

const titled = (cases: readonly Case[]): [string, Case][] =>
  cases.map((test) => [`${test.name}: ${test.note}`, test])

function checkEqual(actual: unknown, expected: unknown): void {
  expect(actual).toEqual(expected)
}

function checkDifferent(actual: unknown, expected: unknown): void {
  expect(actual, 'now equal to Python: take it off the list').not.toEqual(expected)
}

function check({ name, expected }: Case, actual: unknown): void {
  const compare = Object.hasOwn(DEVIATIONS, name) ? checkDifferent : checkEqual
  compare(actual, expected)
}

const ids = (node: TraceNode): unknown[] => [node.id, ...node.children.map(ids)]

describe('toTriplets', () => {
  it.each(titled(load('triplets')))('%s', (_title, test) => {
    check(
      test,
      outcome(() => toTriplets(test.spans, { ...camelCase(test.options), ...quiet })),
    )
  })

  const trees = load('triplets').filter(({ tree }) => tree !== undefined)
  it.each(titled(trees))('makes the tree of %s', (_title, test) => {
    const root = buildTree(test.spans, () => undefined)
    if (test.options['repair_hierarchy'] !== false) repairHierarchy(root, () => undefined)
    expect(ids(root)).toEqual(test.tree)
  })
})

describe('toProxyTriplets', () => {
  it.each(titled(load('proxy-triplets')))('%s', (_title, test) => {
    check(
      test,
      outcome(() => toProxyTriplets(test.spans, quiet)),
    )
  })
})

describe('toMessages', () => {
  it.each(titled(load('messages')))('%s', (_title, test) => {
    check(
      test,
      outcome(() => toMessages(test.spans)),
    )
  })
})
