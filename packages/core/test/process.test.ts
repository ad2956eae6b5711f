import { cpSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { describe, expect, it } from 'vitest'
import { appFolder, link, run, runJSON } from './support.ts'

const source = fileURLToPath(new URL('../src', import.meta.url))

/** A second copy of the core in `folder`, as another version in the tree of dependencies would be. */
function copyCore(
  folder: string,
  name: string,
  dependencies: readonly string[] = ['@opentelemetry/api'],
): void {
  const place = join(folder, name)
  cpSync(source, join(place, 'src'), { recursive: true })
  writeFileSync(join(place, 'package.json'), '{ "name": "@agl/core", "version": "0.0.1", "type": "module" }')
  for (const dependency of dependencies) link(place, dependency)
}

describe('importing the core', () => {
  it('has no side effects', async () => {
    const folder = appFolder({
      'main.mjs': `
        import '@opentelemetry/api'
        import module from 'node:module'
        const names = (target) => Reflect.ownKeys(target).map(String).sort()
        const look = () => JSON.stringify([
          names(globalThis), names(process), names(console), names(Promise.prototype),
          process.eventNames().map(String).sort(), process.getActiveResourcesInfo().sort(),
        ])
        const originals = [globalThis.fetch, console.log, process.stdout.write, process.exit]
        const before = look()
        const core = await import('@agl/core')
        await import('@agl/core/semconv')
        const after = look()
        console.log(JSON.stringify([
          before === after,
          originals.every((one, i) => one === [globalThis.fetch, console.log, process.stdout.write, process.exit][i]),
          typeof core.start,
        ]))`,
    })
    expect(await runJSON(folder)).toEqual([true, true, 'function'])
  })

  it('loads nothing of Node and no host, nor what only a start needs', async () => {
    const folder = appFolder({
      'main.mjs': `
        import { registerHooks } from 'node:module'
        const loaded = []
        const hooks = registerHooks({ resolve(specifier, context, next) {
          const result = next(specifier, context)
          loaded.push(result.url)
          return result
        } })
        await import('@agl/core')
        hooks.deregister()
        console.log(JSON.stringify(loaded))`,
    })
    const loaded = await runJSON(folder)
    if (!Array.isArray(loaded)) throw new Error('no list')
    expect(loaded.length).toBeGreaterThan(5)
    expect(loaded.filter((url) => !/\/core\/src\/|@opentelemetry\/api\//.test(String(url)))).toEqual([])
    expect(loaded.filter((url) => /(hosts|plugin|start|config)\.ts$/.test(String(url)))).toEqual([])
  })

  it('can be bundled for a place without Node, and traces there', async () => {
    const folder = appFolder({
      'app.mjs': `
        import { record, start, emitReward, findFinalReward } from '@agl/core'
        const written = []
        const lightning = await start({ sinks: [{ name: 'memory', write: (spans) => void written.push(...spans) }] })
        const { result, spans } = await record('run', () => 'answer')
        const flushed = await lightning.flush()
        await lightning.shutdown()
        report([result, spans.length, flushed, written.length])`,
    })
    const { outputFiles } = await build({
      entryPoints: [join(folder, 'app.mjs')],
      bundle: true,
      write: false,
      format: 'esm',
      platform: 'browser',
      conditions: ['@agl/source'],
      external: ['@opentelemetry/sdk-trace', '@opentelemetry/sdk-trace-base'],
      logLevel: 'silent',
    })
    const code = outputFiles[0]?.text ?? ''
    expect(code).not.toMatch(/(from|import|require)\s*\(?\s*["']node:/)
    writeFileSync(join(folder, 'bundle.mjs'), code)
    writeFileSync(
      join(folder, 'main.mjs'),
      `globalThis.report = (value) => process_.stdout.write(JSON.stringify(value))
       globalThis.process_ = process
       delete globalThis.process
       delete globalThis.Buffer
       await import('./bundle.mjs')`,
    )
    expect(await runJSON(folder)).toEqual(['answer', 1, { written: 1, dropped: 0 }, 1])
  })

  it('works from CommonJS', async () => {
    const folder = appFolder({
      'main.cjs': `
        const { record, start, emitReward, findFinalReward } = require('@agl/core')
        void (async () => {
          const lightning = await start()
          const { spans } = await record('run', () => emitReward(0.5))
          console.log(findFinalReward(spans))
          await lightning.shutdown()
        })()`,
    })
    expect(await runJSON(folder, 'main.cjs')).toBe(0.5)
  })
})

describe('two copies of the core in one process', () => {
  it('are one tracer', async () => {
    const folder = appFolder({
      'main.mjs': `
        import * as one from '@agl/core'
        import * as two from './other/src/index.ts'
        const spans = []
        const events = []
        const sink = { name: 'memory', write: (batch) => void spans.push(...batch) }
        const plugin = two.definePlugin({
          name: 'other',
          setup(api) {
            api.on('tool', { end: () => void events.push('end') })
            globalThis.api = api
          },
        })
        const lightning = await one.start({ sinks: [sink], plugins: [plugin], log: 'silent' })
        const results = [one.start === two.start, (await two.start()) === lightning]
        const outcome = await one.record('run', () => two.trace('joined', async () => {
          await null
          api.activity('tool', { name: 't' }).end()
          two.emitReward(0.5)
          one.emitMessage('x')
          return two.activeTrace().rolloutId === one.activeTrace().rolloutId
        }))
        const { spans: second } = await two.record('second', () => one.operation('op', () => 1)())
        results.push(outcome.result, two.findFinalReward(outcome.spans), second.length)
        results.push(lightning.lastTrace().length, await two.start().then((handle) => handle.flush()))
        try { two.emitReward(1) } catch (error) { results.push(one.AglError.is(error), error.code) }
        await lightning.shutdown()
        console.log(JSON.stringify([results, outcome.spans.map((span) => span.name), events, spans.length]))`,
    })
    copyCore(folder, 'other')
    expect(await runJSON(folder)).toEqual([
      [false, true, true, 0.5, 2, 2, { written: 7, dropped: 0 }, true, 'outside_trace'],
      [
        't.tool',
        'agentlightning.annotation',
        'agentlightning.message',
        'agentlightning.operation',
        'run.session',
      ],
      ['end'],
      7,
    ])
  })

  it('find each host once', async () => {
    const folder = appFolder({
      'node_modules/toy/package.json': { name: 'toy', version: '1.0.0', exports: './index.mjs' },
      'node_modules/toy/index.mjs': `export const client = { call: () => 'plain' }`,
      'main.mjs': `
        import * as one from '@agl/core'
        import * as two from './other/src/index.ts'
        const plugin = { name: 'toy', setup(api) { api.eachHost('toy', (module) => {
          api.patch(module.client, 'call', (original) => () => 'traced ' + original())
        }) } }
        const lightning = await one.start({ plugins: [plugin], log: 'silent' })
        await two.start({ plugins: [plugin] })
        const { client } = await import('toy')
        const traced = client.call()
        await (await two.start()).shutdown()
        console.log(JSON.stringify([traced, client.call()]))`,
    })
    copyCore(folder, 'other')
    expect(await runJSON(folder)).toEqual(['traced plain', 'plain'])
  })
})

describe('the option "exporters"', () => {
  const MAIN = `
    import { start, trace } from './core/src/index.ts'
    const names = []
    const nameOf = ({ name, resource }) => name + ' of ' + resource.attributes['service.name']
    const exporter = {
      export(spans, done) { names.push(...spans.map(nameOf)); done({ code: 0 }) },
      shutdown: () => Promise.resolve(),
    }
    try {
      const lightning = await start({ exporters: [exporter], serviceName: 'tested' })
      await trace('run', () => undefined)
      await lightning.shutdown()
      console.log(JSON.stringify(names))
    } catch (error) {
      console.log(JSON.stringify([error.code, error.message]))
    }`

  it.each([
    ['2.x', '@opentelemetry/sdk-trace-base'],
    ['3.x', '@opentelemetry/sdk-trace'],
  ])('needs SDK %s alone', async (_, sdk) => {
    const folder = appFolder({ 'main.mjs': MAIN })
    copyCore(folder, 'core', ['@opentelemetry/api', sdk])
    expect(await runJSON(folder)).toEqual(['invoke_workflow run of tested'])
  })

  it('says what to install where there is no SDK', async () => {
    const folder = appFolder({ 'main.mjs': MAIN })
    copyCore(folder, 'core')
    expect(await runJSON(folder)).toEqual([
      'sdk_missing',
      expect.stringContaining('npm install @opentelemetry/sdk-trace-base'),
    ])
  })
})

describe('a program', () => {
  it('that fails, fails as it would without us', async () => {
    const folder = appFolder({
      'main.mjs': `
        import { start, trace } from '@agl/core'
        await start({ plugins: [{ name: 'p', setup: () => undefined }] })
        await trace('run', () => { throw new RangeError('mine') })`,
      'rejects.mjs': `
        import { start, trace } from '@agl/core'
        await start()
        void trace('run', () => Promise.reject(new RangeError('mine')))`,
    })
    for (const entry of ['main.mjs', 'rejects.mjs']) {
      const { code, stderr } = await run(folder, entry)
      expect(code).toBe(1)
      expect(stderr).toContain('RangeError: mine')
    }
  })

  it('holds nothing of ten thousand traces that are over', async () => {
    const folder = appFolder({
      'main.mjs': `
        import { emitReward, start, trace } from '@agl/core'
        let api
        const sink = { name: 'nowhere', write: () => undefined }
        const plugin = { name: 'p', setup(given) { api = given } }
        await start({ sinks: [sink], plugins: [plugin], queue: { interval: 0 }, log: 'silent' })
        const start_ = (i) => ({
          operation: 'chat', provider: 'OpenAI', request: { model: 'm' },
          messages: [{ role: 'user', content: 'x'.repeat(2000) + i }],
        })
        const rounds = async (count) => {
          for (let i = 0; i < count; i++) {
            await trace('t' + i, async () => {
              const call = api.activity('llm', start_(i))
              await call.run(async () => api.activity('tool', { name: 't' + (i % 10) }).fail(new Error('e' + i)))
              if (i % 2 === 0) call.update({ finish: 'aborted' })
              call.end()
              emitReward(i)
            })
            if (i % 100 === 0) await new Promise((resolve) => setTimeout(resolve))
          }
          await new Promise((resolve) => setTimeout(resolve, 50))
          gc()
          return process.memoryUsage().heapUsed
        }
        await rounds(1000)
        const before = await rounds(1000)
        const after = await rounds(10_000)
        console.log(after - before)`,
    })
    const growth = await runJSON(folder, 'main.mjs', { node: ['--expose-gc'] })
    expect(growth).toBeLessThan(2_000_000)
  })

  it('keeps its listeners and its way to end', async () => {
    const folder = appFolder({
      'main.mjs': `
        import { start, trace } from '@agl/core'
        const count = () => process.eventNames().map((name) => [String(name), process.listenerCount(name)])
        const before = JSON.stringify(count())
        const lightning = await start({ sinks: [{ name: 's', write: () => undefined }] })
        await trace('run', () => undefined)
        const during = JSON.stringify(count())
        await lightning.shutdown()
        console.log(JSON.stringify([before === during, before === JSON.stringify(count())]))`,
    })
    expect(await runJSON(folder)).toEqual([true, true])
  })
})
