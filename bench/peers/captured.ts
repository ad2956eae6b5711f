/** What there was to record of one call. */
export interface Expected {
  messages: readonly string[]
  answer: string
  /** Prompt and completion tokens. */
  usage: readonly [number, number]
  promptIds: readonly number[]
  responseIds: readonly number[]
  logprobs: readonly number[]
}

/** How much of it is found in a record. */
export interface Captured {
  messages: number
  answer: boolean
  usage: boolean
  promptIds: boolean
  responseIds: boolean
  logprobs: number
}

/**
 * Looks for what was said in whatever a tracer recorded of one call (spans, events, log records, requests to its service),
 * wherever it is: under any name, also inside JSON within strings.
 */
export function captured(records: readonly unknown[], expected: Expected): Captured {
  const found = {
    texts: [] as string[],
    lists: [] as number[][],
    logprobs: [] as number[][],
    usage: new Set(),
  }
  const walk = (value: unknown, key: string): void => {
    if (typeof value === 'string') {
      found.texts.push(value)
      if (/^\s*[[{]/.test(value)) walk(parsed(value), key)
    } else if (typeof value === 'number') {
      // Single numbers alone: the ids themselves are numbers too, in lists under names that speak of tokens.
      if (/token|usage|input|output|prompt|completion/i.test(key)) found.usage.add(value)
    } else if (ArrayBuffer.isView(value)) {
      if (value instanceof Int32Array) found.lists.push([...value])
    } else if (Array.isArray(value)) {
      if (value.length > 0 && value.every((item) => typeof item === 'number')) found.lists.push(value)
      else {
        const logprobs = value.flatMap(logprobOf)
        if (logprobs.length > 0) found.logprobs.push(logprobs)
        for (const item of value) walk(item, '')
      }
    } else if (typeof value === 'object' && value !== null) {
      for (const [name, item] of Object.entries(value)) walk(item, name)
    }
  }
  walk(records, '')
  const has = (text: string): boolean => found.texts.some((recorded) => recorded.includes(text))
  const hasList = (ids: readonly number[]): boolean => found.lists.some((list) => same(list, ids))
  return {
    messages: expected.messages.filter(has).length,
    answer: has(expected.answer),
    usage: expected.usage.every((tokens) => found.usage.has(tokens)),
    promptIds: hasList(expected.promptIds),
    responseIds: hasList(expected.responseIds),
    // In one list, or one after the other in several.
    logprobs: Math.max(
      ...[...found.logprobs, found.logprobs.flat()].map((list) => matching(list, expected.logprobs)),
    ),
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function logprobOf(item: unknown): number[] {
  if (typeof item !== 'object' || item === null || !('logprob' in item)) return []
  return typeof item.logprob === 'number' ? [item.logprob] : []
}

function same(list: readonly number[], other: readonly number[]): boolean {
  return list.length === other.length && list.every((item, i) => item === other[i])
}

/** How many of `expected` a list has, from the start or, of a shorter one, up to the end. */
function matching(list: readonly number[], expected: readonly number[]): number {
  const count = (wanted: readonly number[]): number => {
    const end = wanted.findIndex((item, i) => item !== list[i])
    return end === -1 ? wanted.length : end
  }
  return Math.max(count(expected), same(list, expected.slice(-list.length)) ? list.length : 0)
}
