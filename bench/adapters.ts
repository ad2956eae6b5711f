import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import { spanFromJSON, type SpanJSON } from '@agl/core'
import { toTriplets } from '@agl/train'

/*
 * `toTriplets` beside Python's `TracerTraceToTriplet` on the same rollouts, one after the other: `npm run bench:adapters`.
 * `AGL_PYTHON` names a Python that has agentlightning 0.3.0 installed. Both start from spans in memory and must give
 * the same triplets.
 */

const ROLLOUTS = 1000
const SPANS = 50
const ROUNDS = 5
const AT_LEAST = 10

const python = process.env['AGL_PYTHON']
if (python === undefined || !existsSync(python)) {
  console.error(
    `bench: NOTHING WAS COMPARED. Set AGL_PYTHON to a Python with agentlightning==0.3.0 installed${python === undefined ? '' : `; there is none at ${python}`}.`,
  )
  process.exit(1)
}

const rollouts = Array.from({ length: ROLLOUTS }, (_, i) => rolloutOf(i))
const folder = mkdtempSync(join(tmpdir(), 'agl-bench-'))
const theirs = runPython(python, join(folder, 'rollouts.jsonl'))
rmSync(folder, { recursive: true })

const spans = rollouts.map((rollout) => rollout.map(spanFromJSON))
const seconds: number[] = []
let given: unknown[] = []
for (let round = 0; round < ROUNDS; round++) {
  const began = performance.now()
  given = spans.map((rollout) => toTriplets(rollout))
  seconds.push((performance.now() - began) / 1000)
}

const triplets = given.flat().length
if (!isDeepStrictEqual(given, theirs.triplets))
  throw new Error('The two adapters did not give the same triplets.')
const [ours, their] = [seconds, theirs.seconds].map(
  (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)] ?? Number.NaN,
)
const ratio = (their ?? Number.NaN) / (ours ?? Number.NaN)
console.log(
  `${process.version}, Python ${theirs.python}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}`,
)
console.log(
  `${ROLLOUTS} rollouts of ${SPANS} spans, ${triplets} triplets, equal; median of ${ROUNDS} rounds\n`,
)
console.log('| adapter | all rollouts, s | per rollout, µs |\n|---|---:|---:|')
for (const [name, value] of [
  ['toTriplets', ours],
  ['TracerTraceToTriplet (Python)', their],
] as const) {
  console.log(`| ${name} | ${value?.toFixed(3)} | ${(((value ?? Number.NaN) * 1e6) / ROLLOUTS).toFixed(0)} |`)
}
console.log(`\n${ratio.toFixed(1)} times as fast${ratio < AT_LEAST ? `: LESS THAN ${AT_LEAST}` : ''}`)
if (!(ratio >= AT_LEAST)) process.exitCode = 1

function runPython(command: string, file: string): { python: string; seconds: number[]; triplets: unknown } {
  writeFileSync(file, rollouts.map((rollout) => `${JSON.stringify(rollout)}\n`).join(''))
  const program = fileURLToPath(new URL('adapters.py', import.meta.url))
  const { status, stdout, stderr } = spawnSync(command, [program, file, String(ROUNDS)], {
    encoding: 'utf8',
    maxBuffer: 1024 ** 3,
    // Keeps what Agent Lightning loads from asking servers.
    env: { ...process.env, LITELLM_LOCAL_MODEL_COST_MAP: 'True', LITELLM_TELEMETRY: 'False' },
  })
  if (status !== 0)
    throw new Error(`${command} failed; is agentlightning 0.3.0 installed?\n${stderr.slice(-2000)}`)
  return JSON.parse(stdout)
}

/** A session in which agents think, call tools and get rewards, in the order in which spans end. */
function rolloutOf(index: number): SpanJSON[] {
  const list: SpanJSON[] = []
  const add = (
    id: string,
    parent: string | null,
    name: string,
    time: [number, number],
    attributes: SpanJSON['attributes'],
  ): void => {
    const [start, end] = time
    list.push({
      rollout_id: `ro-${index}`,
      attempt_id: 'at-1',
      sequence_id: list.length + 1,
      trace_id: `t${index}`,
      span_id: id,
      parent_id: parent,
      name,
      status: { status_code: 'OK', description: null },
      attributes,
      events: [],
      links: [],
      start_time: start,
      end_time: end,
      context: null,
      parent: null,
      resource: { attributes: {}, schema_url: '' },
    })
  }
  for (let turn = 0; list.length + 6 < SPANS; turn++) {
    const at = turn * 10
    const agent = `agent-${turn}`
    add(`a${turn}`, agent, 'openai.chat.completion', [at + 1, at + 3], callOf(index, turn, 0))
    add(`t${turn}`, agent, 'calculator.tool', [at + 3, at + 4], {
      'agentops.span.kind': 'tool',
      'tool.name': 'calculator',
      'tool.result': '42',
    })
    add(`b${turn}`, agent, 'openai.chat.completion', [at + 5, at + 8], callOf(index, turn, 1))
    add(`r${turn}`, agent, 'agentlightning.annotation', [at + 8.5, at + 8.5], {
      'agentlightning.reward.0.name': 'primary',
      'agentlightning.reward.0.value': turn / 10,
    })
    add(agent, 'root', `solver-${turn}.agent`, [at, at + 9], {
      'agentops.span.kind': 'agent',
      'operation.name': `solver-${turn % 3}`,
    })
  }
  while (list.length < SPANS - 1)
    add(`x${list.length}`, 'root', 'search.tool', [900, 901], { 'agentops.span.kind': 'tool' })
  add('root', null, `ro-${index}.session`, [0, 1000], { 'agentops.span.kind': 'session' })
  return list
}

function callOf(index: number, turn: number, call: number): SpanJSON['attributes'] {
  const ids = (length: number): number[] =>
    Array.from({ length }, (_, i) => (i * 7919 + index + turn) % 150_000)
  const logprobs = Array.from({ length: 40 }, (_, i) => ({
    token: ` word${i}`,
    logprob: -0.125 * i,
    bytes: [32, 119],
  }))
  return {
    'gen_ai.system': 'OpenAI',
    'gen_ai.request.type': 'chat',
    'gen_ai.request.model': 'a-model',
    'gen_ai.request.temperature': 0.7,
    'gen_ai.request.max_tokens': 256,
    'gen_ai.prompt.0.role': 'system',
    'gen_ai.prompt.0.content': 'You solve word problems and may use a calculator.',
    'gen_ai.prompt.1.role': 'user',
    'gen_ai.prompt.1.content':
      'A farmer has some hens and each lays five eggs a week; how many after three weeks?',
    'gen_ai.completion.0.role': 'assistant',
    'gen_ai.completion.0.content': 'Fifteen for each hen.',
    'gen_ai.completion.0.finish_reason': 'stop',
    'gen_ai.response.id': `chatcmpl-${index}-${turn}-${call}`,
    'gen_ai.response.model': 'a-model',
    'gen_ai.usage.prompt_tokens': 160,
    'gen_ai.usage.completion_tokens': 40,
    'gen_ai.usage.total_tokens': 200,
    prompt_token_ids: ids(160),
    response_token_ids: ids(40),
    'logprobs.content': JSON.stringify(logprobs),
    'agl.tokens.complete': true,
  }
}
