import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AglError, type Attributes, type Span } from '@agl/core'
import { openStore, type Store } from '@agl/store'
import { onTestFinished } from 'vitest'

/** A finished span; what is not given is empty. */
export function span(parts: Partial<Span> & { spanId: string }): Span {
  return {
    rolloutId: 'ro-1',
    attemptId: 'at-1',
    sequenceId: 1,
    traceId: 't1',
    parentId: null,
    name: 'span',
    status: { statusCode: 'OK', description: null },
    attributes: {},
    events: [],
    links: [],
    startTime: 0,
    endTime: 1,
    context: null,
    parent: null,
    resource: { attributes: {}, schemaUrl: '' },
    ...parts,
  }
}

/** A model call with ids, and a text before and after. */
export function callAttributes(id: string): Attributes {
  return {
    'gen_ai.prompt.0.role': 'user',
    'gen_ai.prompt.0.content': 'hi',
    'gen_ai.completion.0.role': 'assistant',
    'gen_ai.completion.0.content': 'ho',
    'gen_ai.response.id': id,
    prompt_token_ids: Int32Array.of(1, 2),
    response_token_ids: Int32Array.of(3),
  }
}

export const REWARD: Attributes = {
  'agentlightning.reward.0.name': 'primary',
  'agentlightning.reward.0.value': 0.5,
}

export async function memoryStore(): Promise<Store> {
  const store = await openStore('memory:')
  onTestFinished(() => store.close())
  return store
}

/** A rollout with one call and one reward, ended as `status` says. */
export async function addRollout(
  store: Store,
  rolloutId: string,
  options: {
    status?: 'succeeded' | 'failed' | 'running'
    attributes?: Attributes
    reward?: number | boolean | string | null
  } = {},
): Promise<void> {
  const { status = 'succeeded', attributes = {}, reward = 0.5 } = options
  const attemptId = `at-${rolloutId}`
  await store.startRollout({ rolloutId, attemptId })
  await store.addSpans([
    span({
      rolloutId,
      attemptId,
      spanId: 'call',
      name: 'openai.chat.completion',
      attributes: { ...callAttributes(`chatcmpl-${rolloutId}`), ...attributes },
      startTime: 1,
      endTime: 2,
    }),
    span({
      rolloutId,
      attemptId,
      spanId: 'reward',
      attributes: reward === null ? {} : { ...REWARD, 'agentlightning.reward.0.value': reward },
      startTime: 3,
      endTime: 3,
    }),
  ])
  if (status !== 'running') await store.updateAttempt(rolloutId, attemptId, { status })
}

export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'agl-train-'))
  onTestFinished(() => rmSync(path, { recursive: true, force: true }))
  return path
}

/** What a file of JSON lines holds; fails where a line is not whole. */
export function readLines(file: string): Record<string, unknown>[] {
  const text = readFileSync(file, 'utf8')
  if (text !== '' && !text.endsWith('\n')) throw new Error(`${file} ends in half a line`)
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line))
}

/** What `promise` was refused with. */
export async function refusal(promise: Promise<unknown>): Promise<AglError> {
  const error = await promise.catch((thrown: unknown) => thrown)
  if (AglError.is(error)) return error
  throw new Error('it was not refused', { cause: error })
}
