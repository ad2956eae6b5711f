import { setImmediate as tick, setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  activeTrace,
  AglError,
  emitMessage,
  emitReward,
  findFinalReward,
  openTrace,
  operation,
  record,
  start,
  trace,
  type Activity,
} from '@agl/core'
import { begin, byTrace, CHAT, expectTree, hush, memorySink, named, spansOf } from './support.ts'

describe('trace', () => {
  it('gives back what its function returns, and passes on the very error that it throws', async () => {
    await using running = await begin()
    expect(await trace('sync', () => 1)).toBe(1)
    expect(await running.lightning.trace('async', async () => (await tick(), 2))).toBe(2)
    const error = new Error('mine')
    const thrown = await trace('fails', () => {
      throw error
    }).catch((caught: unknown) => caught)
    expect(thrown).toBe(error)
    await expect(trace('rejects', { attributes: {} }, () => Promise.reject(error))).rejects.toBe(error)
  })

  it('works without a running tracer', async () => {
    expect(await trace('alone', () => 3)).toBe(3)
    const { result, spans } = await record('alone', () => 4)
    expect([result, spans.length]).toEqual([4, 1])
  })

  it('keeps a hundred concurrent traces apart', async () => {
    await using running = await begin()
    const step = operation('step', async (i: number, depth: number): Promise<void> => {
      await sleep((i * 7 + depth * 3) % 5)
      emitMessage(`${i}`)
      if (depth < 3) await Promise.all([step(i, depth + 1), step(i, 3)])
    })
    await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        trace(`trace ${i}`, async () => {
          const call = running.api.activity('llm', { ...CHAT, request: { model: `model ${i}` } })
          await call.run(() => step(i, 0))
          call.end()
          await tick()
          emitReward(i)
        }),
      ),
    )
    await running.lightning.flush()
    const groups = byTrace(running.sink.spans)
    expect(groups).toHaveLength(100)
    for (const spans of groups) {
      const [, i] = spans.at(-1)?.name.match(/^trace (\d+)\.session$/) ?? []
      expectTree(spans)
      expect(spans).toHaveLength(17)
      expect(new Set(spans.map((span) => span.attemptId)).size).toBe(1)
      expect(new Set(spans.map((span) => span.traceId)).size).toBe(1)
      expect(spans.map((span) => span.sequenceId)).toEqual(spans.map((_, index) => index + 1))
      expect(named(spans, 'openai.chat.completion').attributes['gen_ai.request.model']).toBe(`model ${i}`)
      expect(findFinalReward(spans)).toBe(Number(i))
      const all = (key: string): unknown[] => spans.flatMap((span) => span.attributes[key] ?? [])
      expect(all('agentlightning.message.body')).toEqual(Array.from({ length: 7 }, () => i))
      expect(all('agentlightning.operation.input.i')).toEqual(Array.from({ length: 7 }, () => Number(i)))
    }
  })

  it('takes the ids of a rollout and attempt together, and has its own where none are given', async () => {
    await using running = await begin()
    const ids = { rolloutId: 'ro-1', attemptId: 'at-1' }
    await trace('given', { ...ids, attributes: { seed: 0 } }, () => emitMessage('hello'))
    await trace('own', () => emitMessage('hello'))
    await running.lightning.flush()
    const [given, own] = [running.sink.spans.slice(0, 2), running.sink.spans.slice(2)]
    for (const span of given) expect(span).toMatchObject(ids)
    expect(given[1]?.attributes).toMatchObject({ seed: 0, 'agentops.span.kind': 'session' })
    expect(own[0]?.rolloutId).toMatch(/^ro-/)
    expect(own[0]?.rolloutId).toBe(own[1]?.rolloutId)
    const records = running.sink.traces.map((one) => [one.name, one.own, one.status, one.rolloutId])
    expect(records).toEqual([
      ['given', false, 'running', 'ro-1'],
      ['given', false, 'succeeded', 'ro-1'],
      ['own', true, 'running', own[0]?.rolloutId],
      ['own', true, 'succeeded', own[0]?.rolloutId],
    ])
  })

  it('refuses one of the two ids alone, before it runs anything', async () => {
    let ran = false
    const error = await trace('half', { rolloutId: 'ro-1' }, () => (ran = true)).catch(
      (caught: unknown) => caught,
    )
    expect(error).toBeInstanceOf(AglError)
    expect(error).toMatchObject({ code: 'value_invalid', message: expect.stringContaining('attemptId') })
    await expect(record('half', { attemptId: 'at-1' }, () => 1)).rejects.toMatchObject({
      code: 'value_invalid',
    })
    expect(() => openTrace('half', { attemptId: 'at-1' })).toThrow(AglError)
    expect(ran).toBe(false)
  })

  it('refuses to run without a function', async () => {
    // @ts-expect-error a program without types may leave it out
    await expect(trace('no function', {})).rejects.toMatchObject({ code: 'value_invalid' })
  })

  it('joins a trace that it begins inside as an operation, and says so once', async () => {
    const { lines } = hush()
    await using running = await begin()
    for (let i = 0; i < 3; i++) {
      await trace('outer', () => trace(`inner ${i}`, { attributes: { turn: i } }, () => emitMessage('in')))
    }
    const spans = running.lightning.lastTrace()
    expectTree(spans)
    const inner = named(spans, 'agentlightning.operation')
    expect(inner.attributes).toMatchObject({ 'agentlightning.operation.name': 'inner 2', turn: 2 })
    expect(inner.parentId).toBe(named(spans, 'outer.session').spanId)
    expect(named(spans, 'agentlightning.message').parentId).toBe(inner.spanId)
    await running.lightning.flush()
    expect(running.sink.traces).toHaveLength(6)
    expect(lines()).toEqual([expect.stringContaining('begins inside another')])
  })

  it('puts an error of a joined trace on its operation and passes it on', async () => {
    hush()
    await using running = await begin()
    const error = new RangeError('deep')
    const { error: caught, spans } = await record('outer', () =>
      trace('inner fails', () => Promise.reject(error)).catch((one: unknown) => one),
    ).then((outcome) => ({ ...outcome, error: outcome.result }))
    expect(caught).toBe(error)
    expect(named(spans, 'agentlightning.operation').status).toEqual({
      statusCode: 'ERROR',
      description: 'RangeError: deep',
    })
    expect(named(spans, 'outer.session').status.statusCode).toBe('UNSET')
    expect(running.lightning.lastTrace()).toEqual(spans)
  })

  it('settles with its function and lets open activities end in their own time, the root last', async () => {
    await using running = await begin()
    const calls: Activity<'llm'>[] = []
    const result = await trace('early', () => {
      calls.push(running.api.activity('llm', CHAT), running.api.activity('llm', CHAT))
      return 'done'
    })
    expect(result).toBe('done')
    await running.lightning.flush()
    expect(running.sink.spans).toEqual([])
    for (const call of calls) call.end()
    await running.lightning.flush()
    expectTree(running.sink.spans)
    expect(running.sink.spans.map((span) => span.status.statusCode)).toEqual(['OK', 'OK', 'UNSET'])
  })

  it('marks the root and the trace of a failed run', async () => {
    await using running = await begin()
    await trace('bad', () => Promise.reject(new TypeError('no'))).catch(() => undefined)
    await running.lightning.flush()
    const [root] = running.sink.spans
    expect(root?.status).toEqual({ statusCode: 'ERROR', description: 'TypeError: no' })
    expect(root?.attributes).toMatchObject({ 'error.type': 'TypeError', 'exception.message': 'no' })
    expect(running.sink.traces.at(-1)).toMatchObject({ status: 'failed', endTime: expect.any(Number) })
  })

  it('tells whether it is active, by a copy that cannot change it', async () => {
    await using running = await begin()
    expect(activeTrace()).toBeUndefined()
    await trace('here', { rolloutId: 'r', attemptId: 'a' }, async () => {
      await tick()
      const active = activeTrace()
      expect(active).toMatchObject({
        name: 'here',
        rolloutId: 'r',
        attemptId: 'a',
        own: false,
        status: 'running',
      })
      if (active !== undefined) active.rolloutId = 'changed'
      emitMessage('x')
    })
    expect(activeTrace()).toBeUndefined()
    expect(running.lightning.lastTrace().map((span) => span.rolloutId)).toEqual(['r', 'r'])
  })

  it('holds the newest spans for lastTrace, all of them under record, and sends all to the sinks', async () => {
    await using running = await begin()
    const many = (): void => {
      for (let i = 0; i < 5000; i++) emitMessage(`${i}`)
    }
    await trace('long', many)
    const last = running.lightning.lastTrace()
    expect(last.length).toBeLessThan(4001)
    expect(last.at(-1)?.name).toBe('long.session')
    expect(last.at(-2)?.attributes['agentlightning.message.body']).toBe('4999')
    const spans = await spansOf('long', many)
    expect(spans).toHaveLength(5001)
    await running.lightning.flush()
    expect(running.sink.spans).toHaveLength(10_002)
  })

  it('keeps its context through timers, callbacks and streams that it starts', async () => {
    await using running = await begin()
    await trace('flows', async () => {
      await new Promise<void>((resolve) => setTimeout(() => (emitMessage('timer'), resolve()), 1))
      await new Promise<void>((resolve) => queueMicrotask(() => (emitMessage('microtask'), resolve())))
      await (async function* () {
        yield emitMessage('generator')
      })().next()
    })
    expect(running.lightning.lastTrace()).toHaveLength(4)
    expectTree(running.lightning.lastTrace())
  })
})

describe('record', () => {
  it('returns the result with the spans in end order', async () => {
    await using running = await begin()
    const outcome = await record('run', async () => {
      const outer = running.api.activity('agent', { name: 'a' })
      const inner = outer.run(() => running.api.activity('tool', { name: 't' }))
      await tick()
      inner.end({ result: 1 })
      outer.end()
      emitReward(true)
      return 'answer'
    })
    expect(outcome.result).toBe('answer')
    expect(outcome.error).toBeUndefined()
    expect(outcome.spans.map((span) => span.name)).toEqual([
      't.tool',
      'a.agent',
      'agentlightning.annotation',
      'run.session',
    ])
    expectTree(outcome.spans)
    expect(findFinalReward(outcome.spans)).toBe(1)
  })

  it('returns an error instead of throwing it', async () => {
    const error = new Error('x')
    const outcome = await record('fails', () => Promise.reject(error))
    expect(outcome.error).toBe(error)
    expect(outcome.spans[0]?.status.statusCode).toBe('ERROR')
  })

  it('waits for activities that are still open', async () => {
    await using running = await begin({ drain: 20_000 })
    const spans = await spansOf('waits', () => {
      const call = running.api.activity('llm', CHAT)
      setTimeout(() => call.end({ choices: [{ index: 0, content: 'late' }] }), 20)
    })
    expect(spans.map((span) => span.name)).toEqual(['openai.chat.completion', 'waits.session'])
    expect(spans[0]?.attributes['gen_ai.completion.0.content']).toBe('late')
    expect(spans[0]?.status.statusCode).toBe('OK')
  })

  it('waits for activities that open while it waits', async () => {
    await using running = await begin({ drain: 20_000 })
    const spans = await spansOf('chain', () => {
      const first = running.api.activity('tool', { name: 'first' })
      setTimeout(() => {
        const second = first.run(() => running.api.activity('tool', { name: 'second' }))
        first.end()
        setTimeout(() => second.end(), 10)
      }, 10)
    })
    expect(spans.map((span) => span.name)).toEqual(['first.tool', 'second.tool', 'chain.session'])
    expect(spans.map((span) => span.status.statusCode)).toEqual(['OK', 'OK', 'UNSET'])
  })

  it('gives up what never ends after the configured wait, innermost first and the root last', async () => {
    await using running = await begin({ drain: 10 })
    const open: Activity[] = []
    const { result, spans } = await record('gives up', () => {
      const agent = running.api.activity('agent', { name: 'stuck' })
      open.push(
        agent,
        agent.run(() => running.api.activity('llm', CHAT)),
      )
      return 1
    })
    expect(result).toBe(1)
    expect(spans.map((span) => span.name)).toEqual([
      'openai.chat.completion',
      'stuck.agent',
      'gives up.session',
    ])
    expectTree(spans)
    expect(spans.map((span) => span.status.statusCode)).toEqual(['ERROR', 'ERROR', 'UNSET'])
    expect(spans[0]?.attributes['agl.finish']).toBe('abandoned')
    expect(open.every((activity) => activity.ended)).toBe(true)
    for (const activity of open) activity.end()
    expect(running.lightning.lastTrace()).toHaveLength(3)
  })

  it('returns the spans of a joined run alone', async () => {
    hush()
    await using running = await begin()
    const outer = await record('outer', async () => {
      emitMessage('before')
      const inner = await record('inner', () => (emitMessage('inside'), 5))
      emitMessage('after')
      return inner
    })
    expect(outer.result?.result).toBe(5)
    expect(outer.result?.spans.map((span) => span.name)).toEqual([
      'agentlightning.message',
      'agentlightning.operation',
    ])
    expect(outer.spans).toHaveLength(5)
    expect(running.lightning.lastTrace()).toEqual(outer.spans)
  })

  it('keeps to the attempt that it is given, inside another trace too', async () => {
    await using running = await begin()
    const ids = { rolloutId: 'ro-inner', attemptId: 'at-inner' }
    const outer = await record('outer', async () => {
      const inner = await record('inner', ids, () => void emitMessage('inside'))
      emitMessage('outside')
      return inner
    })
    expect(outer.result?.spans.map((span) => [span.name, span.rolloutId, span.attemptId])).toEqual([
      ['agentlightning.message', 'ro-inner', 'at-inner'],
      ['inner.session', 'ro-inner', 'at-inner'],
    ])
    expect(outer.spans.map((span) => span.name)).toEqual(['agentlightning.message', 'outer.session'])
    await running.lightning.flush()
    expect(running.sink.spans).toHaveLength(4)
  })

  it('waits for what is open in a joined run, gives it up alone, and keeps runs side by side apart', async () => {
    hush()
    await using running = await begin({ drain: 30 })
    const outer = await record('outer', async () => {
      const around = running.api.activity('agent', { name: 'around' })
      const side = (name: string) =>
        record(name, () => {
          const late = running.api.activity('tool', { name: `${name} late` })
          setTimeout(() => late.end(), 5)
          running.api.activity('tool', { name: `${name} never` })
          emitMessage(name)
        })
      const runs = await Promise.all([side('a'), side('b')])
      around.end()
      return runs
    })
    const names = outer.result?.map(({ spans }) =>
      spans.map((span) => [span.name, span.status.statusCode === 'ERROR']),
    )
    const expected = (name: string) => [
      ['agentlightning.message', false],
      [`${name} late.tool`, false],
      [`${name} never.tool`, true],
      ['agentlightning.operation', false],
    ]
    expect(names).toEqual([expected('a'), expected('b')])
    expect(outer.spans.find((span) => span.name === 'around.agent')?.status.statusCode).toBe('OK')
    expectTree(outer.spans)
  })

  it('waits by the real clock where a test fakes the timers', async () => {
    await using running = await begin({ drain: 20 })
    vi.useFakeTimers()
    onTestFinished(() => void vi.useRealTimers())
    const { spans } = await record('faked', () => void running.api.activity('tool', { name: 'stuck' }))
    await running.lightning.flush()
    expect(spans.map((span) => span.name)).toEqual(['stuck.tool', 'faked.session'])
    expect(running.sink.spans).toHaveLength(2)
  })
})

describe('an activity', () => {
  it('ends once, keeps the last value of each field, and takes any call in any order', async () => {
    await using running = await begin()
    const spans = await spansOf('once', () => {
      const tool = running.api.activity('tool', { name: 't', attributes: { a: 1 } })
      tool.update({ result: 'first', attributes: { b: 1 } })
      tool.update({ attributes: { b: 2, c: 3 } })
      expect(tool.ended).toBe(false)
      tool.end({ result: 'last' })
      expect(tool.ended).toBe(true)
      tool.end({ result: 'too late' })
      tool.fail(new Error('too late'))
      tool.update({ result: 'too late' })
      expect(tool.run(() => 'still runs')).toBe('still runs')
    })
    expect(spans).toHaveLength(2)
    expect(spans[0]?.attributes).toMatchObject({ 'tool.result': 'last', a: 1, b: 2, c: 3 })
    expect(spans[0]?.status.statusCode).toBe('OK')
  })

  it.each([
    ['an error', new RangeError('far'), 'RangeError', 'far'],
    ['an error with a name of its own', Object.assign(new Error('n'), { name: 'Named' }), 'Named', 'n'],
    ['a text', 'plain', 'string', 'plain'],
    ['nothing', undefined, 'undefined', 'undefined'],
    ['null', null, 'object', 'null'],
    ['a symbol', Symbol('s'), 'symbol', 'Symbol(s)'],
    ['an object like an error', { message: 'm' }, 'Error', 'm'],
    ['an object that has no text', Object.create(null), 'object', expect.any(String)],
    ['a message that has no text', { message: Object.create(null) }, 'Error', expect.any(String)],
  ])('ends with an error status on %s', async (_, error, type, message) => {
    await using running = await begin()
    const spans = await spansOf('fails', () => running.api.activity('agent', { name: 'a' }).fail(error))
    const span = named(spans, 'a.agent')
    expect(span.status.statusCode).toBe('ERROR')
    expect(span.attributes).toMatchObject({
      'error.type': type,
      'exception.type': type,
      'exception.message': message,
    })
  })

  it('is recorded even where its data cannot be read', async () => {
    hush()
    await using running = await begin()
    const spans = await spansOf('hostile', () => {
      const data = {
        get output(): unknown {
          throw new Error('trap')
        },
      }
      running.api.activity('agent', { name: 'trapped' }).end(data)
      running.api.activity('agent', { name: 'next' }).end()
    })
    expect(spans.map((span) => span.name)).toEqual(['trapped.agent', 'next.agent', 'hostile.session'])
  })

  it('outside any trace is a trace of its own', async () => {
    await using running = await begin()
    expect(running.api.recording()).toBe(true)
    const agent = running.api.activity('agent', { name: 'lonely' })
    agent.run(() => running.api.activity('tool', { name: 't' }).end())
    agent.end()
    running.api.activity('tool', { name: 'other' }).fail(new Error('no'))
    await running.lightning.flush()
    const groups = byTrace(running.sink.spans)
    expect(groups.map((spans) => spans.map((span) => span.name))).toEqual([
      ['t.tool', 'lonely.agent'],
      ['other.tool'],
    ])
    for (const spans of groups) expectTree(spans)
    expect(running.sink.traces.map((one) => one.status)).toEqual([
      'running',
      'succeeded',
      'running',
      'failed',
    ])
    expect(running.sink.traces.every((one) => one.own)).toBe(true)
  })

  it('outside any trace is left alone where the configuration says so', async () => {
    await using running = await begin({ outside: 'ignore' })
    expect(running.api.recording()).toBe(false)
    const agent = running.api.activity('agent', { name: 'lonely' })
    expect(agent.run(() => 7)).toBe(7)
    agent.end()
    await trace('here', () => {
      expect(running.api.recording()).toBe(true)
      running.api.activity('agent', { name: 'seen' }).end()
    })
    await running.lightning.flush()
    expect(running.sink.spans.map((span) => span.name)).toEqual(['seen.agent', 'here.session'])
  })

  it('that outlives its trace keeps the ids of the trace', async () => {
    await using running = await begin()
    const outer = await trace('over', () => running.api.activity('agent', { name: 'slow' }))
    const late = outer.run(() => running.api.activity('tool', { name: 'late' }))
    outer.end()
    late.end()
    const spans = running.lightning.lastTrace()
    expect(spans.map((span) => span.name)).toEqual(['slow.agent', 'late.tool', 'over.session'])
    expect(new Set(spans.map((span) => span.rolloutId)).size).toBe(1)
  })
})

describe('openTrace', () => {
  it('runs any number of functions and ends with the last activity inside', async () => {
    await using running = await begin()
    const program = openTrace('program', { attributes: { argv: ['a', 'b'] } })
    expect(program.record).toMatchObject({ name: 'program', own: true, status: 'running' })
    const one = program.run(() => running.api.activity('tool', { name: 'one' }))
    await program.run(async () => (await tick(), emitMessage('two')))
    program.end()
    program.fail(new Error('too late'))
    await running.lightning.flush()
    expect(running.sink.spans.map((span) => span.name)).toEqual(['agentlightning.message'])
    one.end()
    await running.lightning.flush()
    expectTree(running.sink.spans)
    expect(running.sink.spans.at(-1)).toMatchObject({
      name: 'program.session',
      status: { statusCode: 'UNSET' },
      attributes: { argv: ['a', 'b'] },
    })
    expect(program.record.status).toBe('succeeded')
  })

  it('records the error that it is ended with', async () => {
    await using running = await begin()
    openTrace('program').fail(new Error('exit 1'))
    await running.lightning.flush()
    expect(running.sink.spans[0]?.status.description).toBe('Error: exit 1')
    expect(running.sink.traces.at(-1)?.status).toBe('failed')
  })
})

describe('shutdown', () => {
  it('ends whatever is open and hands it to the sinks', async () => {
    const running = await begin()
    openTrace('never ended').run(() => running.api.activity('llm', CHAT))
    running.api.activity('tool', { name: 'outside' })
    const program = openTrace('ended')
    program.end()
    program.run(() => running.api.activity('tool', { name: 'after the end' }))
    const { written, dropped } = await running.lightning.shutdown()
    expect(running.sink.spans.map((span) => span.name).sort()).toEqual([
      'after the end.tool',
      'ended.session',
      'never ended.session',
      'openai.chat.completion',
      'outside.tool',
    ])
    expect([written, dropped]).toEqual([5, 0])
    expect(running.sink.closed).toBe(true)
    const ends = running.sink.traces.filter((one) => one.endTime !== null)
    expect(Object.fromEntries(ends.map((one) => [one.name, one.status]))).toEqual({
      'never ended': 'failed',
      'execute_tool outside': 'failed',
      ended: 'succeeded',
    })
  })

  it('answers twice alike and leaves a process in which a new start works', async () => {
    const { lines } = hush()
    const first = await begin()
    expect(await start({ sinks: [] })).toBe(first.lightning)
    expect(lines()).toEqual([expect.stringContaining('configuration ignored')])
    const [one, two] = await Promise.all([first.lightning.shutdown(), first.lightning.shutdown()])
    expect(one).toBe(two)
    const sink = memorySink()
    await using second = await start({ sinks: [sink] })
    expect(second).not.toBe(first.lightning)
    await trace('again', () => emitMessage('x'))
    expect(await second.flush()).toEqual({ written: 2, dropped: 0 })
    expect(first.sink.spans).toEqual([])
  })

  it('leaves activities of the stopped tracer harmless', async () => {
    const running = await begin()
    await running.lightning.shutdown()
    const activity = running.api.activity('agent', { name: 'late' })
    expect(activity.run(() => 1)).toBe(1)
    activity.end()
    expect(await trace('late', () => 2)).toBe(2)
    expect(() => emitReward(1)).toThrow(expect.objectContaining({ code: 'outside_trace' }))
  })
})

describe('time', () => {
  it('never puts a reward before the end of the call that it follows', async () => {
    await using running = await begin()
    for (let round = 0; round < 10; round++) {
      const spans = await spansOf('loop', () => {
        for (let i = 0; i < 300; i++) {
          running.api.activity('llm', CHAT).end()
          emitReward(i)
        }
      })
      expect(spans).toHaveLength(601)
      expect(spans.filter((span) => span.endTime < span.startTime)).toEqual([])
      const starts = spans.slice(1, -1).map((span, i) => span.startTime - (spans[i]?.endTime ?? Number.NaN))
      expect(Math.min(...starts)).toBeGreaterThanOrEqual(0)
    }
  })

  it('is Unix time in seconds, finer than milliseconds', async () => {
    await using _ = await begin()
    const spans = await spansOf('fine', () => {
      for (let i = 0; i < 100; i++) emitReward(i)
    })
    const times = spans.map((span) => span.startTime)
    expect(Math.abs((times[0] ?? 0) - Date.now() / 1000)).toBeLessThan(60)
    expect(new Set(times.map((time) => Math.round(time * 1e6) % 1000)).size).toBeGreaterThan(2)
  })

  it('does not follow a clock that is set back, and follows one that has slept', async () => {
    await using _ = await begin()
    const real = Date.now()
    const clock = vi.spyOn(Date, 'now')
    onTestFinished(() => clock.mockRestore())
    const times = async (offset: number): Promise<number[]> => {
      clock.mockReturnValue(real + offset)
      const spans = await spansOf('shifted', () => emitReward(1))
      return spans.map((span) => span.startTime - real / 1000)
    }
    const ordinary = await times(0)
    const back = await times(-3_600_000)
    const slept = await times(3_600_000)
    const after = await times(0)
    const all = [...ordinary, ...back, ...slept, ...after]
    expect(Math.min(...back)).toBeGreaterThanOrEqual(Math.min(...ordinary))
    expect(Math.max(...back)).toBeLessThan(60)
    expect(Math.min(...slept)).toBeGreaterThan(3540)
    expect(Math.min(...after)).toBeGreaterThanOrEqual(Math.min(...slept))
    expect(all).toHaveLength(8)
  })
})
