import { setImmediate as tick, setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import {
  emitMessage,
  start,
  trace,
  type Config,
  type Lightning,
  type Sink,
  type Span,
  type TraceRecord,
} from '@agl/core'
import { appFolder, hush, memorySink, run, runJSON } from './support.ts'

interface Tested extends AsyncDisposable {
  lightning: Lightning
}

async function withSinks(sinks: readonly Sink[], config: Omit<Config, 'sinks'> = {}): Promise<Tested> {
  const lightning = await start({ ...config, sinks })
  return { lightning, [Symbol.asyncDispose]: async () => void (await lightning.shutdown({ timeout: 50 })) }
}

/** A sink whose every write waits until the test lets it go on, or lets it fail. */
function gatedSink(): Sink & {
  spans: Span[]
  waiting: { pass(): void; fail(error: Error): void }[]
  busy: number
} {
  const sink = {
    name: 'gated',
    spans: new Array<Span>(),
    waiting: new Array<{ pass(): void; fail(error: Error): void }>(),
    busy: 0,
    async write(spans: readonly Span[]): Promise<void> {
      sink.busy++
      expect(sink.busy).toBe(1)
      try {
        await new Promise<void>((pass, fail) => sink.waiting.push({ pass, fail }))
        sink.spans.push(...spans)
      } finally {
        sink.busy--
      }
    },
  }
  return sink
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(1)
}

const messages = (count: number, from = 0): Promise<void> =>
  trace('run', () => {
    for (let i = 0; i < count; i++) emitMessage(`${from + i}`)
  })
const bodies = (spans: readonly Span[]): unknown[] =>
  spans.flatMap((span) => span.attributes['agentlightning.message.body'] ?? [])
const count = (length: number): string[] => Array.from({ length }, (_, i) => `${i}`)

describe('a sink', () => {
  it('gets spans by itself, in end order, in batches of the configured size, never two at once', async () => {
    const sizes: number[] = []
    const memory = memorySink()
    let busy = 0
    const sink: Sink = {
      name: 'watched',
      async write(spans, traces) {
        expect(++busy).toBe(1)
        sizes.push(spans.length)
        await tick()
        await memory.write(spans, traces)
        busy--
      },
    }
    await using _ = await withSinks([sink], { queue: { batch: 10, interval: 1 } })
    await messages(34)
    await until(() => memory.spans.length === 35)
    expect(bodies(memory.spans)).toEqual(count(34))
    expect(sizes.length).toBeGreaterThan(3)
    expect(Math.max(...sizes)).toBe(10)
  })

  it('gets as many batches at once as it asks for, and all again, in order, from one that fails', async () => {
    const writes: unknown[][] = []
    const settle: ((error?: Error) => void)[] = []
    const sink: Sink = {
      name: 'wide',
      concurrency: 2,
      write(spans) {
        writes.push(bodies(spans))
        if (writes.length > 2) return
        return new Promise((resolve, reject) =>
          settle.push((error) => (error === undefined ? resolve() : reject(error))),
        )
      },
    }
    hush()
    await using running = await withSinks([sink], { queue: { batch: 3, interval: 1 } })
    await messages(10)
    await until(() => writes.length === 2)
    settle[1]?.()
    await sleep(5)
    expect(writes).toHaveLength(2)
    settle[0]?.(new Error('no'))
    await until(() => writes.length > 5)
    expect(await running.lightning.flush()).toEqual({ written: 11, dropped: 0 })
    expect(writes.slice(2, 4)).toEqual(writes.slice(0, 2))
    expect(writes.slice(2).flat()).toEqual(count(10))
  })

  it('gets a full batch at once, however long the interval', async () => {
    const memory = memorySink()
    await using _ = await withSinks([memory], { queue: { batch: 10, interval: 2 ** 31 - 1 } })
    await messages(7)
    await until(() => memory.spans.length === 8)
    expect(bodies(memory.spans)).toEqual(count(7))
  })

  it('learns of the begin of a trace, and of its end with or after its last span', async () => {
    const events: string[] = []
    const sink: Sink = {
      name: 'events',
      write(spans: readonly Span[], traces: readonly TraceRecord[]) {
        for (const span of spans) events.push(span.name)
        for (const one of traces) events.push(`${one.name} ${one.status}`)
      },
    }
    await using tested = await withSinks([sink], { queue: { batch: 2, interval: 1 } })
    await messages(5)
    await tested.lightning.flush()
    expect(events.filter((event) => event.startsWith('run'))).toEqual([
      'run running',
      'run.session',
      'run succeeded',
    ])
    expect(events.at(-1)).toBe('run succeeded')
  })

  it('never stalls the agent, however slow it is', async () => {
    const sink = gatedSink()
    await using tested = await withSinks([sink], { queue: { interval: 0, batch: 1 } })
    for (let i = 0; i < 20; i++) {
      await messages(1, i)
      await tick()
    }
    expect(tested.lightning.lastTrace()).toHaveLength(2)
    await until(() => sink.waiting.length === 1)
    expect(sink.spans).toEqual([])
    const flushed = tested.lightning.flush()
    const opener = setInterval(() => sink.waiting.shift()?.pass(), 1)
    expect(await flushed).toEqual({ written: 40, dropped: 0 })
    clearInterval(opener)
    expect(bodies(sink.spans)).toEqual(count(20))
  })

  it('loses nothing and keeps the order when it fails and recovers', async () => {
    const { lines } = hush()
    const memory = memorySink()
    let failures = 3
    const sink: Sink = {
      name: 'shaky',
      async write(spans, traces) {
        await tick()
        if (failures-- > 0) throw new Error('away')
        await memory.write(spans, traces)
      },
    }
    await using tested = await withSinks([sink], { queue: { interval: 1, batch: 7 } })
    await messages(20)
    expect(await tested.lightning.flush()).toEqual({ written: 0, dropped: 0 })
    await messages(20, 20)
    await until(() => memory.spans.length === 42)
    expect(await tested.lightning.flush()).toEqual({ written: 42, dropped: 0 })
    expect(bodies(memory.spans)).toEqual(count(40))
    expect(memory.traces.map((one) => one.status)).toEqual(['running', 'succeeded', 'running', 'succeeded'])
    expect(lines()).toEqual([expect.stringContaining('"shaky"')])
  })

  it('that throws at once is as one that rejects', async () => {
    hush()
    const memory = memorySink()
    let failures = 1
    const sink: Sink = {
      name: 'throws',
      write(spans, traces) {
        if (failures-- > 0) throw new Error('at once')
        return memory.write(spans, traces)
      },
    }
    await using tested = await withSinks([sink])
    await messages(2)
    await tested.lightning.flush()
    expect(await tested.lightning.flush()).toEqual({ written: 3, dropped: 0 })
    expect(bodies(memory.spans)).toEqual(count(2))
  })

  it('that throws at once each time holds up neither the program nor its end', async () => {
    hush()
    let calls = 0
    const sink: Sink = {
      name: 'throws',
      write() {
        if (++calls < 50) throw new Error('at once')
      },
    }
    const { lightning } = await withSinks([sink])
    await messages(2)
    await lightning.flush({ timeout: 50 })
    await lightning.shutdown({ timeout: 50 })
    expect(calls).toBeLessThan(10)
  })

  it('that is away costs the spans above the queue size, which are counted and told once', async () => {
    const { lines } = hush()
    const sink = gatedSink()
    await using tested = await withSinks([sink], { queue: { size: 10, interval: 0, batch: 5 } })
    await messages(30)
    const flushed = tested.lightning.flush()
    const opener = setInterval(() => sink.waiting.shift()?.pass(), 1)
    expect(await flushed).toEqual({ written: 9, dropped: 22 })
    clearInterval(opener)
    expect(bodies(sink.spans)).toEqual(count(9))
    expect(lines()).toEqual([expect.stringMatching(/"gated" does not keep up.*queue\.size/)])
  })

  it('that refuses spans has them counted as dropped', async () => {
    const sink: Sink = { name: 'choosy', write: (spans) => ({ dropped: bodies(spans).length }) }
    await using tested = await withSinks([sink, memorySink()])
    await messages(4)
    expect(await tested.lightning.flush()).toEqual({ written: 1, dropped: 4 })
  })

  it('does not hold up another', async () => {
    hush()
    const [gated, memory] = [gatedSink(), memorySink()]
    await using tested = await withSinks([gated, memory], { queue: { interval: 0 } })
    await messages(3)
    await until(() => memory.spans.length === 4)
    expect(gated.spans).toEqual([])
    expect(await tested.lightning.flush({ timeout: 5 })).toEqual({ written: 0, dropped: 0 })
  })

  it('that fails to close does not fail the shutdown', async () => {
    const { lines } = hush()
    const sink = { ...memorySink('stuck'), close: () => Promise.reject(new Error('jammed')) }
    const { lightning } = await withSinks([sink])
    await messages(1)
    expect(await lightning.shutdown()).toEqual({ written: 2, dropped: 0 })
    expect(lines()).toEqual([expect.stringMatching(/"stuck" failed to close.*jammed/)])
  })
})

describe('flush', () => {
  it('says that there was nothing to write', async () => {
    await using tested = await withSinks([])
    expect(await tested.lightning.flush()).toEqual({ written: 0, dropped: 0 })
  })

  it('ends after its time where a sink hangs, and the rest comes later', async () => {
    const sink = gatedSink()
    await using tested = await withSinks([sink], { queue: { interval: 0 } })
    await messages(2)
    await until(() => sink.waiting.length === 1)
    expect(await tested.lightning.flush({ timeout: 5 })).toEqual({ written: 0, dropped: 0 })
    sink.waiting.shift()?.pass()
    expect(await tested.lightning.flush()).toEqual({ written: 3, dropped: 0 })
  })

  it('ends while new spans never stop coming', async () => {
    const memory = memorySink()
    const sink: Sink = {
      name: 'slow',
      async write(spans, traces) {
        await sleep(5)
        await memory.write(spans, traces)
      },
    }
    await using tested = await withSinks([sink], { queue: { interval: 1 } })
    await messages(3)
    let flushed = false
    const flood = (async () => {
      for (let i = 0; !flushed; i++) {
        await messages(1, 1000 + i)
        await sleep(1)
      }
    })()
    await tested.lightning.flush({ timeout: 600_000 })
    flushed = true
    expect(bodies(memory.spans).slice(0, 3)).toEqual(count(3))
    await flood
  })

  it('writes synchronously where asked, what is on its way and what is open included', async () => {
    const sink = gatedSink()
    const sync = memorySink()
    const { lightning } = await withSinks(
      [{ ...sink, writeSync: (spans, traces) => void sync.write(spans, traces) }],
      {
        queue: { interval: 0 },
      },
    )
    await messages(2)
    await until(() => sink.waiting.length === 1)
    await messages(2, 2)
    expect(lightning.flushSync()).toEqual({ written: 6, dropped: 0 })
    expect(bodies(sync.spans)).toEqual(count(4))
    expect(sync.traces.filter((one) => one.endTime !== null)).toHaveLength(2)
    sink.waiting.shift()?.pass()
    lightning.flushSync()
    expect(sync.spans).toHaveLength(6)
    expect(await lightning.shutdown()).toEqual({ written: 6, dropped: 0 })
  })

  it('does not throw where a sink cannot write synchronously', async () => {
    const { lines } = hush()
    const failing = { ...memorySink('disk'), writeSync: fails }
    const { lightning } = await withSinks([failing, memorySink()])
    await messages(1)
    expect(lightning.flushSync()).toEqual({ written: 0, dropped: 2 })
    expect(lines()).toEqual([expect.stringMatching(/"disk" could not write at exit; 2 spans/)])
    await lightning.shutdown()
  })
})

describe('shutdown', () => {
  it('counts and tells what a sink never took', async () => {
    const { lines } = hush()
    const dead: Sink = { name: 'dead', write: () => Promise.reject(new Error('gone')) }
    const { lightning } = await withSinks([dead, memorySink()])
    await messages(4)
    expect(await lightning.shutdown()).toEqual({ written: 0, dropped: 5 })
    expect(lines().at(-1)).toContain('"dead" never took 5 spans')
  })

  it('ends after its time where a sink hangs', async () => {
    hush()
    const hanging: Sink = {
      name: 'hanging',
      write: () => new Promise(() => undefined),
      close: () => new Promise(() => undefined),
    }
    const { lightning } = await withSinks([hanging])
    await messages(1)
    expect(await lightning.shutdown({ timeout: 5 })).toEqual({ written: 0, dropped: 2 })
  })
})

const FILE_SINK = `
  import { appendFileSync } from 'node:fs'
  import { start, trace, emitMessage } from '@agl/core'
  const names = (spans) => spans.map((span) => span.name + '\\n').join('')
  const body = async (spans) => {
    await new Promise((resolve) => setTimeout(resolve, 20))
    appendFileSync('spans.txt', names(spans))
  }`

describe('a program', () => {
  it('that simply ends has its spans written', async () => {
    const folder = appFolder({
      'main.mjs': `${FILE_SINK}
        await start({ sinks: [{ name: 'file', write: body }] })
        await trace('run', () => emitMessage('x'))`,
      'print.mjs': `import { readFileSync } from 'node:fs'
        console.log(JSON.stringify(readFileSync('spans.txt', 'utf8').split('\\n')))`,
    })
    expect(await run(folder)).toMatchObject({ code: 0, stderr: '', stdout: '' })
    expect(await runJSON(folder, 'print.mjs')).toEqual(['agentlightning.message', 'run.session', ''])
  })

  it.each([
    ['hangs', '() => new Promise(() => {})'],
    ['always fails', '() => Promise.reject(new Error("gone"))'],
  ])('ends although a sink %s', async (_, write) => {
    const folder = appFolder({
      'main.mjs': `${FILE_SINK}
        await start({ sinks: [{ name: 'bad', write: ${write} }], log: 'silent' })
        console.log(await trace('run', () => (emitMessage('x'), 'answer')))`,
    })
    expect(await run(folder)).toMatchObject({ code: 0, signal: null, stdout: 'answer\n', stderr: '' })
  })

  it('comes back from a shutdown that a hanging sink delays', async () => {
    const folder = appFolder({
      'main.mjs': `${FILE_SINK}
        const never = () => new Promise(() => {})
        const lightning = await start({ sinks: [{ name: 'bad', write: never, close: never }], log: 'silent' })
        await trace('run', () => emitMessage('x'))
        console.log(JSON.stringify(await lightning.shutdown({ timeout: 10 })))`,
    })
    expect(await runJSON(folder)).toEqual({ written: 0, dropped: 2 })
  })

  it('that writes as it exits need not be held open for its spans', async () => {
    const folder = appFolder({
      'main.mjs': `${FILE_SINK}
        const sink = { name: 'file', write: body, writeSync: (spans) => console.log(spans.length) }
        const lightning = await start({ sinks: [sink], queue: { interval: 2 ** 31 - 1, keepAlive: false } })
        process.on('exit', () => lightning.flushSync())
        await trace('run', () => emitMessage('x'))`,
    })
    expect(await runJSON(folder)).toBe(2)
  })

  it('can hand its last spans over as it exits', async () => {
    const folder = appFolder({
      'main.mjs': `${FILE_SINK}
        const sink = { name: 'file', write: body, writeSync: (spans) => appendFileSync('spans.txt', names(spans)) }
        const lightning = await start({ sinks: [sink] })
        process.on('exit', () => lightning.flushSync())
        await trace('run', () => { emitMessage('x'); process.exit(3) })`,
      'print.mjs': `import { readFileSync } from 'node:fs'
        console.log(JSON.stringify(readFileSync('spans.txt', 'utf8').split('\\n')))`,
    })
    expect(await run(folder)).toMatchObject({ code: 3, stderr: '' })
    expect(await runJSON(folder, 'print.mjs')).toEqual(['agentlightning.message', 'run.session', ''])
  })
})

function fails(): never {
  throw new Error('broken')
}
