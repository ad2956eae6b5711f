import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { startModelServer, type ModelServer } from '@agl/testkit'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ALL, App, lonelyBin, names } from './support.ts'

let server: ModelServer
let env: Record<string, string>
beforeAll(async () => {
  server = await startModelServer({ flavor: 'vllm', reply: () => 'four' })
  env = { OPENAI_BASE_URL: server.baseURL }
})
afterAll(() => server.close())

const ASK = `const messages = [{ role: 'user', content: 'What is 2 + 2?' }]
async function ask() {
  const answer = await new OpenAI().chat.completions.create({ model: 'demo', messages })
  console.log(answer.choices[0].message.content)
}
`
const ESM = `import OpenAI from 'openai'\n${ASK}`
const CJS = `const { OpenAI } = require('openai')\n${ASK}`
const TS = `import OpenAI from 'openai'
const messages = [{ role: 'user' as const, content: 'What is 2 + 2?' }]
const answer = await new OpenAI().chat.completions.create({ model: 'demo', messages })
console.log(answer.choices[0]?.message.content satisfies string | null | undefined)
`
const CONFIG = `import { vllm } from '@agl/vllm'
import type { Config } from '@agl/core'
export default { plugins: [vllm({ logprobs: true })] } satisfies Config
`

describe('agl run', () => {
  it.each([
    ['app.ts', TS],
    ['app.mjs', `${ESM}await ask()`],
    ['app.cjs', `${CJS}ask()`],
    ['late.mjs', `${ESM}void ask()`],
    ['timer.cjs', `${CJS}setTimeout(ask, 20)`],
  ])('records %s, which knows nothing of us', async (file, text) => {
    const app = new App()
    app.write('agl.config.ts', CONFIG)
    app.write(file, text)
    const result = await app.agl(['run', file], { env })
    expect(result).toMatchObject({ code: 0, stdout: 'four\n' })
    const [trace, ...others] = await app.traces()
    expect(others).toEqual([])
    expect(names(trace?.spans ?? [])).toEqual(['openai.chat.completion', `${file}.session`])
    const [call, session] = trace?.spans ?? []
    expect(call?.parentId).toBe(session?.spanId)
    expect(call?.attributes).toHaveProperty('response_token_ids')
    expect(call?.attributes).toHaveProperty(['logprobs.content'])
    expect(trace?.rollout).toMatchObject({ status: 'succeeded', metadata: { name: file } })
    const id = trace?.rollout.rolloutId
    expect(result.stderr).toBe(
      `agl: trace ${id}: 2 spans written, 0 dropped; see npm run agl -- traces show ${id}\n`,
    )
  })

  it('takes the plugins that are installed where there is no configuration, and says so', async () => {
    const app = new App()
    app.write('app.mjs', `${ESM}await ask()`)
    const result = await app.agl(['run', 'app.mjs'], { env })
    expect(result.stderr).toContain('using the installed plugins with their defaults: openai, vllm.')
    const [trace] = await app.traces()
    expect(trace?.spans[0]?.attributes).toHaveProperty('response_token_ids')
  })

  it('says when model calls are not recorded for lack of a plugin', async () => {
    const app = new App(ALL.filter((name) => !['@agl/openai', '@agl/vllm'].includes(name)))
    app.write('app.mjs', `${ESM}await ask()`)
    const result = await app.agl(['run', 'app.mjs'], { env })
    expect(result).toMatchObject({ code: 0, stdout: 'four\n' })
    expect(result.stderr).toContain('npm install @agl/openai')
  })

  it('finds the configuration in a folder above, and takes another one with --config', async () => {
    const app = new App()
    app.write('agl.config.mjs', 'export default { plugins: [], serviceName: "above" }')
    app.write('other.mjs', 'export default { plugins: [], serviceName: "other" }')
    app.write('src/app.mjs', '')
    await app.agl(['run', 'src/app.mjs'])
    await app.agl(['run', '--config', 'other.mjs', 'src/app.mjs'])
    const services = (await app.traces()).map(({ spans }) => spans[0]?.resource.attributes['service.name'])
    expect(services).toEqual(['above', 'other'])
  })

  it('writes where --store says, calls the trace as --name says, and is silent with --quiet', async () => {
    const app = new App()
    app.write('app.mjs', '')
    const result = await app.agl([
      'run',
      '--quiet',
      '--store',
      'sqlite:data/my.db',
      '--name',
      'mine',
      'app.mjs',
    ])
    expect(result).toEqual({ code: 0, signal: null, stdout: '', stderr: '' })
    const [trace] = await app.traces('data/my.db')
    expect(names(trace?.spans ?? [])).toEqual(['mine.session'])
    expect(existsSync(join(app.folder, '.agl'))).toBe(false)
  })

  it.each([
    ['--name', '007'],
    ['--name=1e3', undefined],
  ])('calls the trace what was written, with %j', async (option, value) => {
    const app = new App()
    app.write('app.mjs', '')
    await app.agl(['run', option, ...(value === undefined ? [] : [value]), 'app.mjs'])
    const [trace] = await app.traces()
    expect(trace?.rollout.metadata?.['name']).toBe(value ?? '1e3')
  })

  it('keeps the default store out of Git', async () => {
    const app = new App()
    app.write('app.mjs', '')
    await app.agl(['run', 'app.mjs'])
    expect(readFileSync(join(app.folder, '.agl/.gitignore'), 'utf8')).toBe('*\n')
  })

  it('keeps the spans of a program that starts and shuts down by itself', async () => {
    const app = new App()
    app.write(
      'app.mjs',
      `import { emitReward, record, start } from '@agl/core'
       const lightning = await start({})
       const { spans } = await record('inner', () => void emitReward(1))
       console.log(spans.length)
       await lightning.shutdown()
       emitReward(0.5)`,
    )
    const result = await app.agl(['run', 'app.mjs'])
    expect(result).toMatchObject({ code: 0, stdout: '2\n' })
    const [trace] = await app.traces()
    expect(trace?.rollout.status).toBe('succeeded')
    expect(names(trace?.spans ?? [])).toEqual([
      'agentlightning.annotation',
      'agentlightning.operation',
      'agentlightning.annotation',
      'app.mjs.session',
    ])
  })

  it.each([
    ['have no way to write at once', ''],
    ['cannot write at once', ', writeSync() { throw new Error("not at an end") }'],
  ])('waits at the end for sinks that %s', async (_what, more) => {
    const app = new App()
    app.write(
      'agl.config.mjs',
      `import { setTimeout } from 'node:timers/promises'
       const write = async (spans) => { await setTimeout(50); for (const { name } of spans) console.log(name) }
       export default { sinks: [{ name: 'slow', write${more} }] }`,
    )
    app.write('app.mjs', '')
    expect(await app.agl(['run', 'app.mjs'])).toMatchObject({ code: 0, stdout: 'app.mjs.session\n' })
    expect((await app.traces())[0]?.spans).toHaveLength(1)
  })

  it('keeps its store where an environment replaces the sinks', async () => {
    const app = new App()
    app.write('agl.config.mjs', 'export default { environments: { production: { sinks: [] } } }')
    app.write('app.mjs', '')
    await app.agl(['run', 'app.mjs'], { env: { AGL_ENV: 'production' } })
    expect((await app.traces())[0]?.spans).toHaveLength(1)
  })
})

describe('a program under agl run', () => {
  const programs: [what: string, file: string, text: string][] = [
    ['its arguments', 'a.mjs', 'console.log(JSON.stringify(process.argv), import.meta.main)'],
    ['being the main module', 'a.cjs', 'console.log(require.main === module, __filename, process.argv[1])'],
    [
      'process.exit in the middle',
      'a.mjs',
      'console.log(1); setTimeout(() => process.exit(3), 5); setInterval(() => {}, 5)',
    ],
    ['process.exit at once', 'a.cjs', 'console.log(1); process.exit(0); console.log(2)'],
    ['process.exitCode', 'a.mjs', 'process.exitCode = 4'],
    ['an uncaught error', 'a.mjs', '\n\nthrow new TypeError("boom")'],
    ['an uncaught error in CommonJS', 'a.cjs', '\nthrow new TypeError("boom")'],
    ['a missing module in CommonJS', 'a.cjs', 'require("./nowhere.cjs")'],
    [
      'an error in CommonJS that it handles',
      'a.cjs',
      'process.on("uncaughtException", (e, origin) => console.log(e.message, origin)); throw new Error("x")',
    ],
    ['an uncaught error later', 'a.cjs', 'setTimeout(() => { throw new RangeError("later") }, 5)'],
    ['an unhandled rejection', 'a.mjs', 'Promise.reject(new Error("rejected"))'],
    ['something thrown that is no error', 'a.mjs', 'throw "text"'],
    ['a syntax error', 'a.mjs', 'const = 1'],
    ['a missing import', 'a.mjs', 'import "./nowhere.mjs"'],
    ['an await that never ends', 'a.mjs', 'await new Promise(() => {})'],
    [
      'an error that it handles',
      'a.mjs',
      'process.on("uncaughtException", (e) => console.log("own", e.message)); throw new Error("x")',
    ],
    [
      'its own beforeExit and exit handlers',
      'a.cjs',
      'for (const event of ["beforeExit", "exit"]) process.on(event, (code) => console.log(event, code))',
    ],
    [
      'work that it begins in beforeExit',
      'a.cjs',
      'process.once("beforeExit", () => setTimeout(() => console.log("more"), 5))',
    ],
    [
      'its handler of a signal',
      'a.cjs',
      'process.on("SIGTERM", () => { console.log("bye"); process.exit(7) }); setInterval(() => {}, 5); process.kill(process.pid, "SIGTERM")',
    ],
    ['a signal', 'a.cjs', 'console.log(1); setInterval(() => {}, 5); process.kill(process.pid, "SIGTERM")'],
    ['Ctrl-C', 'a.mjs', 'setInterval(() => {}, 5); process.kill(process.pid, "SIGINT")'],
  ]

  it.each(programs)('keeps %s', async (_what, file, text) => {
    const app = new App()
    app.write(file, text)
    const args = [file, 'one', '--quiet', '--help', '--', '-x']
    const plain = await app.node(args)
    const hosted = await app.agl(['run', '--quiet', ...args])
    // Below the program's own frames are those of whoever started it.
    const own = (stderr: string): string =>
      stderr
        .split('\n')
        .filter((line) => !/^ {4}at .*(node:|packages\/(cli|core)\/src\/)/.test(line))
        .join('\n')
    expect({ ...hosted, stderr: own(hosted.stderr) }).toEqual({ ...plain, stderr: own(plain.stderr) })
    const [trace] = await app.traces()
    expect(trace?.rollout.status).toBe(hosted.code === 0 ? 'succeeded' : 'failed')
    expect(trace?.spans.at(-1)?.name).toBe(`${file}.session`)
  })

  it('leaves its error in the trace', async () => {
    const app = new App()
    app.write('a.mjs', 'throw new TypeError("boom")')
    await app.agl(['run', 'a.mjs'])
    const [trace] = await app.traces()
    expect(trace?.spans[0]?.status).toEqual({ statusCode: 'ERROR', description: 'TypeError: boom' })
  })

  it('has a call that it was in when it exited recorded as given up', async () => {
    const app = new App()
    await using slow = await startModelServer({ fault: () => ({ stall: 'before-headers' }) })
    app.write('a.mjs', `${ESM}void ask(); setTimeout(() => process.exit(5), 300)`)
    const result = await app.agl(['run', 'a.mjs'], { env: { OPENAI_BASE_URL: slow.baseURL } })
    expect(result.code).toBe(5)
    const [trace] = await app.traces()
    expect(names(trace?.spans ?? [])).toEqual(['openai.chat.completion', 'a.mjs.session'])
    expect(trace?.spans[0]).toMatchObject({ attributes: { 'agl.finish': 'abandoned' } })
  })

  it('is told how to run TypeScript that Node cannot run', async () => {
    const app = new App()
    app.write('a.ts', 'enum Color { Red }\nconsole.log(Color.Red)')
    const result = await app.agl(['run', 'a.ts'])
    expect(result.code).toBe(1)
    expect(result.stderr).toContain('NODE_OPTIONS="--import tsx" agl run')
  })

  it('killed without warning leaves what it had written, shown as unfinished', async () => {
    const app = new App()
    app.write(
      'a.mjs',
      `${ESM}import { start } from '@agl/core'
       await ask()
       const lightning = await start()
       await lightning.flush()
       console.log('now')
       setInterval(() => {}, 1000)`,
    )
    const killed = await app.agl(['run', 'a.mjs'], {
      env,
      onOutput: (child) => {
        child.stdout?.on('data', (data: Buffer) => data.includes('now') && child.kill('SIGKILL'))
      },
    })
    expect(killed.signal).toBe('SIGKILL')
    const { code, stdout } = await app.agl(['traces', 'show', 'latest'])
    expect(code).toBe(0)
    expect(stdout).toContain('unfinished, 1 model call')
    expect(stdout).toMatch(
      /\(unfinished: the program is still running or was killed\)\n└─ openai\.chat\.completion/,
    )
    expect((await app.agl(['traces'])).stdout).toContain('unfinished')
  })
})

describe('agl run refuses', () => {
  it.each([
    [
      'a program that is not there',
      ['run', 'nowhere.ts'],
      1,
      'agl: The program nowhere.ts does not exist; check the path.\n',
    ],
    ['a missing program name', ['run', '--quiet'], 2, 'agl: Which program? Name it, as in: agl run app.ts\n'],
    [
      'a configuration that is not there',
      ['run', '--config', 'no.ts', 'app.mjs'],
      1,
      'agl: The configuration file no.ts does not exist; check the path.\n',
    ],
    [
      'an option that it does not have',
      ['run', '--colour', 'app.mjs'],
      2,
      'agl: Unknown option `--colour`; see agl --help.\n',
    ],
  ])('%s', async (_what, args, code, stderr) => {
    const app = new App()
    app.write('app.mjs', 'console.log("ran")')
    expect(await app.agl(args)).toEqual({ code, signal: null, stdout: '', stderr })
  })

  it.each([
    [
      'TypeScript that does not compile',
      'agl.config.ts',
      'const a: number = 1\nexport default { a: }',
      'agl.config.ts:2 does not compile: Expression expected; repair it',
    ],
    [
      'JavaScript that does not compile',
      'agl.config.mjs',
      '\n\nexport default { a: }',
      "agl.config.mjs:3 does not compile: Unexpected token '}'; repair it",
    ],
    [
      'an enum',
      'agl.config.ts',
      'enum A { B }\nexport default {}',
      'agl.config.ts:1 uses TypeScript that Node cannot run by itself',
    ],
    [
      'an error',
      'agl.config.mjs',
      '\nthrow new Error("No key.")\n',
      'agl.config.mjs:2 failed while it was loaded: No key; repair it',
    ],
    [
      'a package that is missing',
      'agl.config.ts',
      'import "@agl/langchain"\nexport default {}',
      'imports @agl/langchain, which is not installed; run: npm install @agl/langchain',
    ],
    [
      'no default export',
      'agl.config.ts',
      'export const config = {}',
      'agl.config.ts has no configuration as its default export; write: export default defineConfig({ … })',
    ],
    ['an unknown option', 'agl.config.ts', 'export default { plugin: [] }', 'no option "plugin"'],
    [
      'a plugin listed twice',
      'agl.config.mjs',
      'import { openai } from "@agl/openai"\nexport default { plugins: [openai(), openai()] }',
      'listed twice',
    ],
    [
      'modules where package.json has none',
      'agl.config.ts',
      'import { openai } from "@agl/openai"\nexport default { plugins: [openai()] }',
      'make that "type": "module", or call the file agl.config.mts',
      'commonjs',
    ],
  ])('a configuration with %s', async (_what, file, text, sentence, type = 'module') => {
    const app = new App()
    app.write('package.json', JSON.stringify({ type }))
    app.write('app.mjs', 'console.log("ran")')
    app.write(file, text)
    const result = await app.agl(['run', 'app.mjs'])
    expect(result).toMatchObject({ code: 1, stdout: '' })
    expect(result.stderr).toContain(sentence)
    expect(result.stderr.trim().split('\n')).toHaveLength(1)
  })

  it.each([
    ['sqlite:/dev/null/agl.db', 1, 'choose'],
    ['sqlite:app.mjs', 1, 'not a SQLite database'],
    ['mysql://localhost/agl', 2, 'cannot open'],
    ['http://127.0.0.1:1', 1, 'cannot be reached'],
    ['agl.db', 2, 'sqlite:agl.db'],
  ])('the store %s before the program runs', async (store, code, sentence) => {
    const app = new App()
    app.write('app.mjs', 'console.log("ran")')
    const result = await app.agl(['run', '--store', store, 'app.mjs'])
    expect(result).toMatchObject({ code, stdout: '' })
    expect(result.stderr).toContain(sentence)
    expect(
      result.stderr
        .trim()
        .split('\n')
        .filter((line) => !line.startsWith('agl: no agl.config')),
    ).toHaveLength(1)
  })

  it('prints the stack with --verbose', async () => {
    const app = new App()
    const { stderr } = await app.agl(['run', '--verbose', 'nowhere.ts'])
    expect(stderr).toMatch(/does not exist; check the path\.\n.*CliError.*\n +at /s)
  })

  it.each([
    [
      [],
      '@agl/core, @agl/store are needed for this and not installed; run: npm install @agl/core @agl/store',
    ],
    [
      ['@agl/core', '@opentelemetry/api'],
      '@agl/store is needed for this and not installed; run: npm install @agl/store',
    ],
  ])('to run with only %j installed, and names the package to install', async (packages, sentence) => {
    const app = new App(packages, lonelyBin())
    app.write('app.mjs', 'console.log("ran")')
    const result = await app.agl(['run', 'app.mjs'])
    expect(result).toMatchObject({ code: 1, stdout: '' })
    expect(result.stderr).toBe(`agl: ${sentence}\n`)
  })
})
