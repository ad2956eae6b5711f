import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Result } from '../src/bench/session.ts'
import { ALL, App, lonelyBin } from './support.ts'

interface Report {
  config: string | null
  workloads: Result[]
  notMeasured: { plugin: string; reason: string }[]
}

function config(plugins: string, rest = ''): string {
  return `import { definePlugin } from '@agl/core'
import { langchain } from '@agl/langchain'
import { openai } from '@agl/openai'
import { vllm } from '@agl/vllm'
export default { plugins: [${plugins}], ${rest} }`
}

function app(plugins: string, rest = ''): App {
  const made = new App([...ALL, '@agl/langchain', '@langchain/core'])
  made.write('agl.config.mjs', config(plugins, rest))
  return made
}

async function measured(made: App, env: Record<string, string> = {}): Promise<Report> {
  const { code, stdout, stderr } = await made.agl(['bench', '--seconds', '1', '--json'], { env })
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.not.stringContaining('agl:') })
  const report: Report = JSON.parse(stdout)
  return report
}

function recordedBy(plugins: string, { workloads }: Report): string[] {
  return workloads.flatMap(({ name, plugins: costs }) =>
    costs
      .filter((cost) => cost.plugins.join(' + ') === plugins)
      .flatMap(({ recorded }) => recorded.map(({ what, found, of }) => `${name}: ${what} ${found} of ${of}`)),
  )
}

describe('agl bench', { timeout: 120_000 }, () => {
  it('measures each plugin with what it requires, and looks at what it recorded', async () => {
    const report = await measured(app('vllm({ logprobs: true })'))
    expect(report).toMatchObject({ config: 'agl.config.mjs', notMeasured: [] })
    expect(report.workloads.map(({ host, plugins }) => [host, plugins.map((cost) => cost.plugins)])).toEqual([
      ['openai', [['openai'], ['openai', 'vllm']]],
      ['openai', [['openai'], ['openai', 'vllm']]],
    ])
    for (const { plain, again, plugins, rounds, calls, version } of report.workloads) {
      expect(version).toMatch(/^7\./)
      expect(Math.min(rounds, calls)).toBeGreaterThan(0)
      const costs = [plain, again, ...plugins, ...plugins.map(({ added }) => added)]
      expect(costs.flatMap(({ wall, cpu }) => [wall, cpu]).every(Number.isFinite)).toBe(true)
      for (const { wall, cpu } of [plain, again, ...plugins]) expect(Math.min(wall, cpu)).toBeGreaterThan(0)
    }
    expect(recordedBy('openai + vllm', report)).toEqual([
      'Chat completion of 50 tokens: messages 4 of 4',
      'Chat completion of 50 tokens: answer 1 of 1',
      'Chat completion of 50 tokens: usage 1 of 1',
      'Chat completion of 50 tokens: prompt ids 86 of 86',
      'Chat completion of 50 tokens: response ids 51 of 51',
      'Chat completion of 50 tokens: logprobs 51 of 51',
      'Stream of 200 tokens: messages 4 of 4',
      'Stream of 200 tokens: answer 1 of 1',
      'Stream of 200 tokens: usage 1 of 1',
      'Stream of 200 tokens: prompt ids 86 of 86',
      'Stream of 200 tokens: response ids 201 of 201',
      'Stream of 200 tokens: logprobs 201 of 201',
    ])
    expect(recordedBy('openai', report)).toContain('Stream of 200 tokens: response ids 0 of 201')
  })

  it('measures LangChain too, and all plugins of a library together', async () => {
    const report = await measured(
      app(`langchain(), definePlugin({ name: 'steps', hosts: { '@langchain/core': '*' }, setup(api) {
        api.eachHost('@langchain/core', (module, host) => { host.patched = true })
      } })`),
    )
    expect(report.workloads.map(({ plugins }) => plugins.map((cost) => cost.plugins))).toEqual([
      [['langchain'], ['steps'], ['langchain', 'steps']],
    ])
    expect(recordedBy('langchain', report)).toEqual([
      'Chain of three steps: runs 4 of 4',
      'Chain of three steps: answer 1 of 1',
    ])
    expect(recordedBy('steps', report)).toContain('Chain of three steps: runs 0 of 4')
  })

  it("leaves the configuration's sinks alone, those of its environment too, and makes no store", async () => {
    const sink = `[{ name: 'mine', write() { process.exit(7) } }]`
    const made = app(
      '',
      `sinks: ${sink}, capture: { content: false, tokens: true }, environments: { test: { plugins: [openai()], sinks: ${sink} } }`,
    )
    const report = await measured(made, { AGL_ENV: 'test' })
    expect(recordedBy('openai', report)).toContain('Chat completion of 50 tokens: answer 0 of 1')
    expect(recordedBy('openai', report)).toContain('Chat completion of 50 tokens: usage 1 of 1')
    expect(existsSync(join(made.folder, '.agl'))).toBe(false)
  })

  it('prints tables, and says which plugins it cannot measure and why', async () => {
    const made = app(`openai(),
      definePlugin({ name: 'search', hosts: { 'search-client': '>=1' }, setup(api) { api.eachHost('search-client', (module, host) => { host.patched = true }) } }),
      definePlugin({ name: 'away', hosts: { 'not-here': '>=1' }, setup() {} }),
      definePlugin({ name: 'own', setup() {} })`)
    made.write('node_modules/search-client/package.json', '{ "name": "search-client", "version": "1.0.0" }')
    made.write('node_modules/search-client/index.js', 'exports.search = () => []')
    made.write(
      'agl.config.mjs',
      `import 'search-client'\n${readFileSync(join(made.folder, 'agl.config.mjs'), 'utf8')}`,
    )
    const { code, stdout } = await made.agl(['bench', '--seconds', '1'])
    expect(code).toBe(0)
    expect(stdout).toContain('Configuration: agl.config.mjs, without its sinks and exporters')
    expect(stdout).toMatch(/^Stream of 200 tokens, openai 7\.\S+, \d+ rounds of \d+$/m)
    expect(stdout).toMatch(/^ {2}none, again \(A\/A\) +[\d.]+ +[+-][\d.]+ +[\d.]+ +[+-][\d.]+$/m)
    expect(stdout).toMatch(
      /^ {2}openai +.* 4 messages, answer, usage, no prompt ids, no response ids, no logprobs$/m,
    )
    expect(stdout).toContain('away was not measured: it is not active (not-here is not installed')
    expect(stdout).toContain('own was not measured: it names no library that it watches')
    expect(stdout).toContain(
      'search was not measured: this command knows nothing to do with search-client, only with openai and @langchain/core.',
    )
    expect(stdout).not.toContain('\u001b')
  })

  it('fails when nothing could be measured', async () => {
    const made = app(`definePlugin({ name: 'own', setup() {} })`)
    const { code, stdout } = await made.agl(['bench'])
    expect(stdout).toContain('own was not measured')
    expect(code).toBe(1)
  })

  it('says what to install when there is no plugin, or something that a plugin is measured with is missing', async () => {
    const none = await new App(['@agl/core', '@opentelemetry/api']).agl(['bench'])
    expect(none).toMatchObject({
      code: 1,
      stderr: 'agl: No plugin is configured or installed; run: npm install @agl/openai\n',
    })
    const installed = ALL.filter((name) => name !== 'openai' && name !== '@agl/testkit')
    const incomplete = await new App(installed, lonelyBin()).agl(['bench'])
    expect(incomplete).toMatchObject({
      code: 1,
      stderr:
        'agl: openai, @agl/testkit are needed for this and not installed; run: npm install openai @agl/testkit\n',
    })
  })
})
