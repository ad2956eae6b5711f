import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { startModelServer } from '@agl/testkit'
import { describe, expect, it } from 'vitest'
import { ALL, App, lonelyBin } from './support.ts'

const manifest: { version: string } = JSON.parse(
  readFileSync(new URL('../package.json', import.meta.url), 'utf8'),
)

describe('agl', () => {
  it.each(['run', 'doctor', 'traces', 'export', 'bench', 'demo'])(
    '%s --help explains itself, with an example',
    async (name) => {
      const { code, stdout, stderr } = await new App().agl([name, '--help'])
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      expect(stdout).toMatch(new RegExp(`Usage:\\n {2}\\$ agl ${name}.*Examples?:\\n {2}agl ${name}`, 's'))
    },
  )

  it('--help names every command', async () => {
    const { code, stdout } = await new App().agl(['--help'])
    expect(code).toBe(0)
    for (const name of ['run', 'doctor', 'traces', 'export', 'bench', 'demo'])
      expect(stdout).toContain(`agl ${name} --help`)
  })

  it('tells its version', async () => {
    expect((await new App().agl(['--version'])).stdout).toContain(`agl/${manifest.version} `)
  })

  it.each([
    [[], 'No command was given'],
    [['view'], 'There is no command "view"'],
    [['traces', 'delete'], 'There is no "agl traces delete"'],
    [['traces', 'show'], 'Which trace?'],
    [['traces', '--limit', 'many'], '--limit takes a number'],
    [['traces', '--limit', '0'], '--limit takes a number'],
    [['traces', '--colour'], 'Unknown option `--colour`'],
    [['traces', '--store', 'a', '--store', 'b'], '--store is given more than once'],
    [['doctor', 'now'], 'Unused args: `now`'],
    [['demo', '--problems', '0'], '--problems takes a number'],
    [['bench', '--seconds', '0'], '--seconds takes a number'],
  ])('refuses %j as wrong usage', async (args, sentence) => {
    const { code, stderr } = await new App().agl(args)
    expect(stderr).toContain(sentence)
    expect(stderr.trim().split('\n')).toHaveLength(1)
    expect(code).toBe(2)
  })

  it('works with nothing but what the project has installed', async () => {
    const app = new App(ALL, lonelyBin())
    expect(await app.agl(['doctor'])).toMatchObject({ code: 0 })
  })
})

describe('agl traces', () => {
  async function recorded(): Promise<App> {
    const app = new App()
    for (const name of ['first', 'second']) {
      app.write(
        `${name}.mjs`,
        `import { emitReward } from '@agl/core'\nemitReward(${name === 'first' ? 0.25 : true})`,
      )
      await app.agl(['run', '--name', name, `${name}.mjs`])
    }
    return app
  }

  it('lists the newest first', async () => {
    const { code, stdout } = await (await recorded()).agl(['traces'])
    expect(code).toBe(0)
    const [title, second, first, ...rest] = stdout.trimEnd().split('\n')
    expect(title).toMatch(/^ID +NAME +STARTED +TOOK +STATUS +SPANS +IN +OUT +REWARD$/)
    expect(second).toMatch(/^ro-\w+ +second +\d{4}-.* succeeded +2 +1$/)
    expect(first).toMatch(/^ro-\w+ +first +\d{4}-.* succeeded +2 +0.25$/)
    expect(rest).toEqual([])
  })

  it('lists as many as asked for, and says that there are more', async () => {
    const { stdout } = await (await recorded()).agl(['traces', '--limit', '1'])
    expect(stdout).toContain('second')
    expect(stdout).not.toContain('first')
    expect(stdout).toContain('1 older traces; see them with --limit 2')
  })

  it('gives JSON', async () => {
    const { stdout } = await (await recorded()).agl(['traces', '--json'])
    expect(JSON.parse(stdout)).toMatchObject([
      { name: 'second', status: 'succeeded', spans: 2, reward: 1 },
      { name: 'first', status: 'succeeded', spans: 2, reward: 0.25 },
    ])
  })

  it('shows one by its id, the beginning of it, or as the latest', async () => {
    const app = await recorded()
    const [first, second] = (await app.traces()).map(({ rollout }) => rollout.rolloutId)
    const show = async (id = ''): Promise<string> => (await app.agl(['traces', 'show', id])).stdout
    expect(await show(first)).toContain(`first  ${first}`)
    expect(await show('latest')).toContain(`second  ${second}`)
    expect(await show(second?.slice(0, 12))).toContain(`second  ${second}`)
    expect(await show(second?.slice(3, 12))).toContain(`second  ${second}`)
    const { code, stderr } = await app.agl(['traces', 'show', 'ro-'])
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringContaining('"ro-" is the beginning of 2 traces; give more of the id'),
    })
    expect((await app.agl(['traces', 'show', 'nobody'])).stderr).toContain('There is no trace "nobody"')
  })

  it("shows Agent Lightning's JSON of one", async () => {
    const { stdout } = await (await recorded()).agl(['traces', 'show', 'latest', '--json'])
    expect(JSON.parse(stdout)).toMatchObject({
      rollout: { status: 'succeeded' },
      spans: [{ name: 'agentlightning.annotation', sequence_id: 1 }, { name: 'second.session' }],
    })
  })

  it('does not make a store where there is none', async () => {
    const app = new App()
    const { code, stderr } = await app.agl(['traces'])
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr:
        'agl: There is no store at .agl/agl.db; record a program with "agl run FILE", or name another store with --store.\n',
    })
  })
})

describe('agl doctor', () => {
  it('shows every plugin, and every copy of what it watches', async () => {
    const app = new App()
    app.write('package.json', '{ "private": true, "dependencies": { "openai": "*", "other": "*" } }')
    app.write(
      'node_modules/other/package.json',
      '{ "name": "other", "version": "1.0.0", "dependencies": { "openai": "*" } }',
    )
    app.write(
      'node_modules/other/node_modules/openai/package.json',
      '{ "name": "openai", "version": "3.0.0", "main": "index.js" }',
    )
    app.write('node_modules/other/node_modules/openai/index.js', 'exports.OpenAI = class {}')
    app.write('agl.config.mjs', `import { vllm } from '@agl/vllm'\nexport default { plugins: [vllm()] }`)
    const { code, stdout } = await app.agl(['doctor'])
    expect(stdout).toContain(`Node ${process.versions.node}, @opentelemetry/api 1.`)
    expect(stdout).toContain('Configuration: agl.config.mjs')
    expect(stdout).toMatch(/openai 7\.\S+ +esm +patched/)
    expect(stdout).toMatch(/openai 7\.\S+ +cjs +patched/)
    expect(stdout).toMatch(/openai 3\.0\.0 +cjs +not patched +node_modules\/other\/node_modules\/openai/)
    expect(stdout).toContain('outside the tested range')
    expect(code).toBe(1)
  })

  it('shows every copy of LangChain, and that its versions differ', async () => {
    const app = new App([...ALL, '@agl/langchain', '@langchain/core'])
    app.write('package.json', '{ "private": true, "dependencies": { "@langchain/core": "*", "other": "*" } }')
    app.write(
      'node_modules/other/package.json',
      '{ "name": "other", "version": "1.0.0", "dependencies": { "@langchain/core": "*" } }',
    )
    app.linkFrom('../langchain/test/fixtures/lowest', '@langchain/core', 'node_modules/other')
    app.write(
      'agl.config.mjs',
      `import { langchain } from '@agl/langchain'\nexport default { plugins: [langchain()] }`,
    )
    const { code, stdout } = await app.agl(['doctor'])
    expect(stdout).toMatch(/@langchain\/core 1\.\S+ +esm +patched/)
    expect(stdout).toMatch(/@langchain\/core 1\.\S+ +cjs +patched/)
    expect(stdout).toMatch(/@langchain\/core 0\.3\.68 +esm +patched/)
    expect(stdout).toContain('There are several copies of @langchain/core')
    expect(code).toBe(0)
  })

  it('shows the servers that were called, and which gave no token ids', async () => {
    await using local = await startModelServer({ flavor: 'vllm', reply: () => 'four' })
    await using plain = await startModelServer({ reply: () => 'four' })
    const app = new App()
    app.write(
      'agl.config.mjs',
      `import { vllm } from '@agl/vllm'\nexport default { plugins: [vllm({ match: (url) => url === '${local.baseURL}' })] }`,
    )
    app.write(
      'app.mjs',
      `import OpenAI from 'openai'
for (const baseURL of ['${local.baseURL}', '${local.baseURL}', '${plain.baseURL}']) {
  await new OpenAI({ baseURL }).chat.completions.create({ model: 'm', messages: [{ role: 'user', content: 'hi' }] })
}`,
    )
    expect((await app.agl(['doctor'])).stdout).not.toContain('Servers called')
    await app.agl(['run', 'app.mjs'])
    const { stdout } = await app.agl(['doctor'])
    const lines = stdout.split('\n').map((line) => line.replaceAll(/ +/g, ' '))
    expect(lines).toContain(` ${local.baseURL} 2 calls 2 with token ids`)
    expect(lines).toContain(
      ` ${plain.baseURL} 1 call no token ids; if it is a vLLM server, name it in vllm({ match })`,
    )
  })

  it('shows the OpenTelemetry SDK that the project has', async () => {
    const app = new App()
    expect((await app.agl(['doctor'])).stdout).toContain('OpenTelemetry SDK: none')
    const sdk = '@opentelemetry/sdk-trace-base'
    app.write(`node_modules/${sdk}/package.json`, `{ "name": "${sdk}", "version": "2.12.1" }`)
    const { stdout } = await app.agl(['doctor'])
    expect(stdout).toContain(`OpenTelemetry SDK: ${sdk} 2.12.1`)
    expect(JSON.parse((await app.agl(['doctor', '--json'])).stdout)).toMatchObject({
      opentelemetrySDK: { [sdk]: '2.12.1' },
    })
  })

  it('is content when every plugin is active', async () => {
    const app = new App()
    app.write('agl.config.mjs', `import { vllm } from '@agl/vllm'\nexport default { plugins: [vllm()] }`)
    const { code, stdout } = await app.agl(['doctor', '--json'])
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({
      config: join(app.folder, 'agl.config.mjs'),
      plugins: [
        {
          name: 'openai',
          state: 'active',
          hosts: [
            { format: 'esm', patched: true },
            { format: 'cjs', patched: true },
          ],
        },
        { name: 'vllm', state: 'active' },
      ],
    })
  })

  it('names the library to install when a plugin has none', async () => {
    const app = new App(ALL.filter((name) => name !== 'openai'))
    app.write(
      'agl.config.mjs',
      `import { openai } from '@agl/openai'\nexport default { strict: true, plugins: [openai()] }`,
    )
    const { code, stdout } = await app.agl(['doctor'])
    expect(stdout).toContain('openai  missing-peer\n  Openai is not installed; run: npm install openai')
    expect(code).toBe(1)
  })

  it('fails where there is nothing to be active', async () => {
    const app = new App(['@agl/core', '@opentelemetry/api'])
    const { code, stdout } = await app.agl(['doctor'])
    expect(stdout).toContain('No plugin is configured or installed; run: npm install @agl/openai')
    expect(code).toBe(1)
  })
})

describe('agl demo', () => {
  it('records every problem with token ids, log probabilities and a reward', async () => {
    const app = new App()
    const { code, stdout, stderr } = await app.agl(['demo'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toContain('The model is scripted: no key, no network.')
    expect(stdout).toContain('25 of 30 solved')
    expect(stdout).toContain('agl -- traces --store sqlite:.agl/demo.db')
    expect(stdout).not.toContain('\u001b')
    const traces = await app.traces('.agl/demo.db')
    expect(traces).toHaveLength(30)
    for (const { rollout, spans } of traces) {
      expect(rollout.status).toBe('succeeded')
      const calls = spans.filter(({ name }) => name === 'openai.chat.completion')
      expect(calls.length).toBeGreaterThan(0)
      for (const { attributes } of calls) {
        expect(attributes['prompt_token_ids']).toEqual(expect.arrayContaining([expect.any(Number)]))
        const ids = attributes['response_token_ids']
        const logprobs: unknown = JSON.parse(String(attributes['logprobs.content']))
        expect(ids).toHaveLength(Number(attributes['gen_ai.usage.completion_tokens']))
        expect(logprobs).toHaveLength(Array.isArray(ids) ? ids.length : -1)
        expect(attributes['agl.tokens.complete']).toBe(true)
      }
    }
    const rewards = traces.map(({ spans }) =>
      spans
        .map(({ attributes }) => attributes['agentlightning.reward.0.value'])
        .filter((value) => value !== undefined),
    )
    expect(rewards.every((list) => list.length === 1)).toBe(true)
    expect(rewards.flat().filter((value) => value === 1)).toHaveLength(25)
  })

  it('solves as many problems as asked for, into the store asked for', async () => {
    const app = new App()
    const { stdout } = await app.agl(['demo', '--problems', '2', '--store', 'sqlite:mine.db'])
    expect(stdout).toContain('2 of 2 solved')
    expect(await app.traces('mine.db')).toHaveLength(2)
  })

  it('uses the server that the environment names, with its key', async () => {
    await using server = await startModelServer({
      apiKey: 'secret',
      models: ['mine'],
      reply: () => 'Answer: 37',
    })
    const env = { AGL_BASE_URL: server.baseURL, AGL_MODEL: 'mine', AGL_API_KEY: 'secret' }
    const { code, stdout } = await new App().agl(['demo', '--problems', '2'], { env })
    expect(code).toBe(0)
    expect(stdout).toContain(`The model is mine at ${server.baseURL}.`)
    expect(stdout).toContain('1 of 2 solved')
    expect(server.requests).toHaveLength(2)
  })

  it('says in one sentence when that server cannot be used', async () => {
    await using server = await startModelServer({ models: ['mine'] })
    const env = { AGL_BASE_URL: server.baseURL, AGL_MODEL: 'other' }
    const { code, stderr } = await new App().agl(['demo'], { env })
    expect(code).toBe(1)
    expect(stderr).toMatch(
      /^agl: The model could not be asked \(404 .*\); check AGL_BASE_URL, AGL_MODEL and AGL_API_KEY\.\n$/,
    )
    expect(server.requests).toHaveLength(3)
  })

  it('wants both the server and the model', async () => {
    const { code, stderr } = await new App().agl(['demo'], { env: { AGL_MODEL: 'other' } })
    expect(code).toBe(2)
    expect(stderr).toContain('AGL_BASE_URL and AGL_MODEL belong together')
  })

  it('names all the packages to install when several are missing', async () => {
    const { code, stderr } = await new App(['@agl/core', '@opentelemetry/api'], lonelyBin()).agl(['demo'])
    expect(code).toBe(1)
    expect(stderr).toBe(
      'agl: @agl/store, @agl/openai, @agl/vllm, openai, @agl/testkit are needed for this and not installed; run: npm install @agl/store @agl/openai @agl/vllm openai @agl/testkit\n',
    )
  })

  it('names the package to install when one is missing', async () => {
    const app = new App(
      ALL.filter((name) => name !== '@agl/testkit'),
      lonelyBin(),
    )
    expect((await app.agl(['demo'])).stderr).toContain('run: npm install @agl/testkit')
  })
})
