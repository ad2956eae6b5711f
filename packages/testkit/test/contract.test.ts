import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it } from 'vitest'
import { pluginContract, runPluginContract, type PluginContract } from '../src/index.ts'
import { host, search, type Flaws } from './search.ts'

const contract: PluginContract = {
  name: 'search',
  plugin: search,
  exercise: ({ canary, secret }) => host.search(`ap ${canary}`, secret),
  fail: ({ canary }) => host.search(canary, ''),
  spans: ['search.retriever'],
  hostFunctions: () => [host.search],
  module: new URL('search.ts', import.meta.url),
  nodeOptions: ['--conditions=@agl/source'],
}

runPluginContract({ describe, it, ...contract })

describe('the contract', () => {
  const { search: original } = host
  const before = process.listeners('beforeExit')
  afterEach(() => {
    host.search = original
    for (const listener of process.listeners('beforeExit')) {
      if (!before.includes(listener)) process.off('beforeExit', listener)
    }
  })

  /** Runs the one case whose name contains `part`. */
  function run(part: string, changes: Partial<PluginContract>): Promise<void> {
    const [found, ...more] = pluginContract({ ...contract, ...changes }).filter(({ name }) =>
      name.includes(part),
    )
    if (found === undefined || more.length > 0) throw new Error(`There is not one case about "${part}".`)
    return found.run()
  }

  it.each<[keyof Flaws, string, string]>([
    ['stacks', 'when it resumes', "is not the host's own"],
    ['stacks', 'leaves no function replaced', 'after shutdown'],
    ['swallows', "the host's own error", 'did not reject'],
    ['rewords', "the host's own error", 'not the one without the plugin'],
    ['leavesOpen', 'a call that fails', "No span has the host's error"],
    ['changesResult', "the host's own result", 'not what the host gives'],
    ['leaksContent', 'capture.content false', 'Content left'],
    ['leaksKey', 'a credential', 'A credential was recorded'],
    ['listens', 'process listeners', 'other process listeners'],
    ['mixesTraces', 'traces that run at once apart', 'of one of several traces'],
    ['recordsTwice', 'as the promised spans', 'not the promised ones'],
  ])('catches a plugin that %s (%s)', async (flaw, part, message) => {
    await expect(run(part, { plugin: () => search({ [flaw]: true }) })).rejects.toThrow(message)
  })

  it('catches a module that acts when it is imported', async () => {
    const module = new URL('fixtures/loud.js', import.meta.url)
    await expect(run('imported', { module })).rejects.toThrow('changed the process or printed something')
  })

  it('catches functions that are said to be replaced and are not', async () => {
    await expect(run('when it resumes', { hostFunctions: () => [String] })).rejects.toThrow('is replaced')
  })

  it('catches a suite that sends no canary, and so could find no leak', async () => {
    const blind = { exercise: ({ secret }: { secret: string }) => host.search('ap', secret) }
    await expect(run('capture.content false', blind)).rejects.toThrow('exercise() must send it')
  })

  it('runs under the runner of Node', () => {
    const file = fileURLToPath(new URL('fixtures/runner.ts', import.meta.url))
    const { NODE_TEST_CONTEXT: _context, ...env } = process.env
    const { stdout } = spawnSync(
      process.execPath,
      ['--conditions=@agl/source', '--test', '--test-reporter=tap', file],
      {
        env,
        encoding: 'utf8',
      },
    )
    expect(stdout).toMatch(/^# pass 16$/m)
    expect(stdout).toMatch(/^# fail 0$/m)
  })
})
