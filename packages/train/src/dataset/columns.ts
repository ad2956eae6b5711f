import { AglError } from '@agl/core'
import { isDict } from '@agl/core/semconv'
import type { SchemaElement } from 'hyparquet-writer'
import { type DatasetFormat, isOfSpans, type RowFormat } from './formats.ts'

/** A column of a Parquet file, and what it holds of a row. */
export interface Column {
  readonly name: string
  /** As Parquet's footer has it. */
  readonly schema: readonly SchemaElement[]
  /** Whether readers that search are served by its least and greatest value. */
  readonly statistics: boolean
  /** @throws AglError `value_invalid` for what it cannot hold */
  read(row: object): unknown
}

/** How a kind of value is stored, and checked; null is no value. */
interface Kind {
  readonly element: Readonly<Partial<SchemaElement>>
  readonly statistics?: boolean
  check(value: unknown): unknown
}

const TEXT: Kind = {
  element: { type: 'BYTE_ARRAY', converted_type: 'UTF8', logical_type: { type: 'STRING' } },
  check: (value) => (typeof value === 'string' ? value : JSON.stringify(value)),
}
/** Readers that know the type give back what was written, whatever its fields. */
const ANY: Kind = {
  element: { type: 'BYTE_ARRAY', converted_type: 'JSON', logical_type: { type: 'JSON' } },
  check: (value) => value,
}
const TRUTH: Kind = {
  element: { type: 'BOOLEAN' },
  check: (value) => (typeof value === 'boolean' ? value : refuse('true or false', value)),
}
const NUMBER: Kind = { element: { type: 'DOUBLE' }, statistics: true, check: toNumber }
const FLOAT: Kind = { element: { type: 'FLOAT' }, check: toNumber }
const INT: Kind = {
  element: { type: 'INT32' },
  check: (value) => {
    const id = toNumber(value)
    return id === (id | 0) ? id : refuse('an integer of 32 bits', value)
  },
}

function toNumber(value: unknown): number {
  return typeof value === 'number' || typeof value === 'boolean' ? Number(value) : refuse('a number', value)
}

function refuse(what: string, value: unknown): never {
  throw new AglError('value_invalid', `A column of ${what} cannot hold ${JSON.stringify(value)}.`)
}

function column(name: string, kind: Kind, ...path: readonly string[]): Column {
  return {
    name,
    schema: [{ name, repetition_type: 'OPTIONAL', ...kind.element }],
    statistics: kind.statistics ?? false,
    read: (row) => {
      const value = at(row, path.length === 0 ? [name] : path)
      return value === null ? null : kind.check(value)
    },
  }
}

function list(name: string, kind: Kind, ...path: readonly string[]): Column {
  return {
    name,
    schema: [
      {
        name,
        repetition_type: 'OPTIONAL',
        num_children: 1,
        converted_type: 'LIST',
        logical_type: { type: 'LIST' },
      },
      { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
      { name: 'element', repetition_type: 'OPTIONAL', ...kind.element },
    ],
    statistics: false,
    read: (row) => {
      const value = at(row, path.length === 0 ? [name] : path)
      if (value === null) return null
      if (!Array.isArray(value)) return refuse('lists', value)
      return value.map((item: unknown) => (item === null ? null : kind.check(item)))
    },
  }
}

/** What is not there is null. */
function at(row: object, path: readonly string[]): unknown {
  let value: unknown = row
  for (const key of path) {
    if (!isDict(value) || !Object.hasOwn(value, key)) return null
    value = value[key]
  }
  return value ?? null
}

/** Of the log probabilities that a server gave, one number per token. */
const logprobs: Column = {
  ...list('logprobs', FLOAT),
  read: (row) => {
    const entries = at(row, ['response', 'logprobs'])
    return Array.isArray(entries) ? entries.map((entry) => numberIn(entry)) : null
  },
}

function numberIn(entry: unknown): number | null {
  const value = isDict(entry) ? entry['logprob'] : undefined
  return typeof value === 'number' ? value : null
}

/** A triplet is spread over columns, as trainers read ids and rewards without the rest. */
const COLUMNS: Readonly<Record<RowFormat, readonly Column[]>> = {
  triplets: [
    column('rollout_id', TEXT),
    column('attempt_id', TEXT),
    list('prompt_token_ids', INT, 'prompt', 'token_ids'),
    list('response_token_ids', INT, 'response', 'token_ids'),
    logprobs,
    column('reward', NUMBER),
    column('agent_name', TEXT, 'metadata', 'agent_name'),
    column('response_id', TEXT, 'metadata', 'response_id'),
    column('prompt', ANY, 'prompt', 'raw_content'),
    column('response', ANY, 'response', 'raw_content'),
    list('image_urls', TEXT, 'prompt', 'image_urls'),
    column('request', ANY, 'metadata', 'request'),
    column('response_metadata', ANY, 'metadata', 'response'),
  ],
  messages: [list('messages', ANY), list('tools', ANY)],
  'openai-chat': [list('messages', ANY), list('tools', ANY), column('parallel_tool_calls', TRUTH)],
  'hf-chat': [list('prompt', ANY), list('completion', ANY), list('tools', ANY)],
}

/** @throws AglError `usage` for a format that has no columns */
export function columnsOf(format: DatasetFormat): readonly Column[] {
  if (!isOfSpans(format)) return COLUMNS[format]
  throw new AglError(
    'usage',
    'Spans are exported as JSON lines alone; choose a file that is not called .parquet.',
  )
}
