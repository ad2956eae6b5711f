import { describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  AglError,
  defineConfig,
  definePlugin,
  emitMessage,
  record,
  start,
  type Config,
  type PluginApi,
} from '@agl/core'
import { appFolder, begin, CHAT, hush, memorySink, named, run, spansOf } from './support.ts'

function environment(variables: Record<string, string>): void {
  for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value)
  onTestFinished(() => void vi.unstubAllEnvs())
}

async function refusal(config: unknown): Promise<AglError> {
  // A program without types may pass anything.
  const error: unknown = await Reflect.apply(start, undefined, [config]).then(
    () => 'it started',
    (caught: unknown) => caught,
  )
  if (!(error instanceof AglError)) throw new Error(`not refused: ${String(error)}`)
  expect(error.code).toBe('config_invalid')
  expect(error.message).toMatch(/^[A-Z].*[.?]$/)
  return error
}

describe('a configuration', () => {
  it('is what defineConfig and definePlugin were given', () => {
    const plugin = definePlugin({ name: 'p', setup: () => undefined })
    const config = { plugins: [plugin] }
    expect(defineConfig(config)).toBe(config)
    expect(config.plugins[0]).toBe(plugin)
  })

  it.each([
    [{ plugin: [] }, '"plugin"', 'plugins, sinks'],
    [{ Sinks: [] }, '"Sinks"', 'plugins, sinks'],
    [{ toString: 1 }, '"toString"', 'plugins, sinks'],
    [{ capture: { contents: false } }, '"capture.contents"', 'content, tokens, redact'],
    [{ queue: { length: 5 } }, '"queue.length"', 'size, interval, batch'],
    [{ environments: { staging: { sink: [] } } }, '"environments.staging.sink"', 'plugins, sinks'],
    [
      { environments: { staging: { capture: { text: false } } } },
      '"environments.staging.capture.text"',
      'content',
    ],
    [{ environments: { staging: { environment: 'x' } } }, '"environments.staging.environment"', 'plugins'],
  ])(
    'with the unknown option of %j is refused by a sentence that names it and those that are known',
    async (...row) => {
      const [config, option, known] = row
      const { message } = await refusal(config)
      expect(message).toContain(option)
      expect(message).toContain(known)
    },
  )

  it.each<[string, unknown]>([
    ['plugins', {}],
    ['plugins', [() => undefined]],
    ['plugins', [{ name: 'no setup' }]],
    ['plugins', [null]],
    ['sinks', memorySink()],
    ['sinks', [memorySink]],
    ['sinks', [{ name: 'no write' }]],
    ['exporters', [{}]],
    ['exporters', 'console'],
    ['capture', false],
    ['capture.content', 'no'],
    ['capture.tokens', 0],
    ['capture.redact', /secret/],
    ['environment', 1],
    ['environments', []],
    ['environments.staging', true],
    ['environments.staging.strict', 'yes'],
    ['strict', 'yes'],
    ['log', 'loud'],
    ['log', { 'agl:openai': 'loud' }],
    ['log', 3],
    ['drain', '1s'],
    ['drain', -1],
    ['drain', Number.NaN],
    ['drain', Number.POSITIVE_INFINITY],
    ['queue', 100],
    ['queue.size', 0],
    ['queue.interval', '5'],
    ['queue.batch', Number.NaN],
    ['serviceName', 5],
    ['outside', 'drop'],
  ])(
    'whose option %s is %j is refused by a sentence that names it and says what it must be',
    async (path, value) => {
      const config = path.split('.').reduceRight((inner, key) => ({ [key]: inner }), value)
      const { message } = await refusal(config)
      expect(message).toMatch(new RegExp(`^The option "${path.replaceAll('.', String.raw`\.`)}" must be `))
    },
  )

  it.each([[null], ['agl.config.ts'], [[]]])('that is %j is refused', async (config) => {
    expect((await refusal(config)).message).toContain('defineConfig')
  })

  it('that was refused leaves a process in which the right one starts', async () => {
    await refusal({ typo: 1 })
    await using running = await begin()
    expect(running.lightning.status()).toHaveLength(1)
  })

  it('may leave every option out or undefined', async () => {
    const none: Config = JSON.parse('{}')
    for (const key of ['plugins', 'sinks', 'capture', 'log', 'drain', 'strict', 'environments']) {
      Object.assign(none, { [key]: undefined })
    }
    for (const config of [undefined, {}, none]) {
      await using lightning = await start(config)
      expect(lightning.status()).toEqual([])
    }
  })
})

describe('an overlay', () => {
  const config = {
    capture: { content: false, tokens: true },
    serviceName: 'base',
    environments: {
      chosen: { capture: { content: true }, serviceName: 'chosen' },
      other: { serviceName: 'other' },
    },
  } satisfies Config

  async function serviceOf(given: Config): Promise<unknown> {
    await using _ = await begin(given)
    const spans = await spansOf('run', () => emitMessage('kept'))
    return spans[0]?.resource.attributes['service.name']
  }

  it('is chosen by the option, else AGL_ENV, else NODE_ENV', async () => {
    environment({ NODE_ENV: 'nowhere' })
    expect(await serviceOf(config)).toBe('base')
    environment({ NODE_ENV: 'other' })
    expect(await serviceOf(config)).toBe('other')
    environment({ AGL_ENV: 'chosen' })
    expect(await serviceOf(config)).toBe('chosen')
    expect(await serviceOf({ ...config, environment: 'other' })).toBe('other')
  })

  it('merges objects by name and replaces lists', async () => {
    const [base, chosen] = [memorySink('base'), memorySink('chosen')]
    const setUp: string[] = []
    const plugin = (name: string) => definePlugin({ name, setup: () => void setUp.push(name) })
    await using lightning = await start({
      capture: { content: false, tokens: true },
      plugins: [plugin('one'), plugin('two')],
      sinks: [base],
      environment: 'chosen',
      environments: { chosen: { capture: { content: true }, plugins: [plugin('three')], sinks: [chosen] } },
    })
    await record('run', () => emitMessage('kept'))
    await lightning.flush()
    expect(setUp).toEqual(['three'])
    expect(base.spans).toEqual([])
    expect(chosen.spans[0]?.attributes['agentlightning.message.body']).toBe('kept')
  })

  it('keeps what it does not name of an object', async () => {
    await using running = await begin({
      capture: { content: true, tokens: true },
      environment: 'production',
      environments: { production: { capture: { content: false } } },
    })
    expect(running.api.capture).toMatchObject({ content: false, tokens: true })
    const spans = await spansOf('run', () =>
      running.api.activity('llm', { ...CHAT, messages: [{ role: 'user', content: 'x' }] }).end(),
    )
    expect(named(spans, 'openai.chat.completion').attributes).not.toHaveProperty('gen_ai.prompt.0.content')
  })
})

describe('the log', () => {
  async function spoken(config: Config): Promise<string[]> {
    const { lines, mock } = hush()
    mock.mockClear()
    const apis: PluginApi[] = []
    const plugin = (name: string) => definePlugin({ name, setup: (api) => void apis.push(api) })
    await using _ = await start({ ...config, plugins: [plugin('one'), plugin('two')] })
    for (const { log } of apis) {
      log.error('error')
      log.warn('warn')
      log.info('info')
      log.debug('debug', { detail: 1 })
    }
    return lines()
  }

  it('tells errors and warnings by default, with the scope', async () => {
    expect(await spoken({})).toEqual([
      '[agl:one] error',
      '[agl:one] warn',
      '[agl:two] error',
      '[agl:two] warn',
    ])
  })

  it('follows a level for all', async () => {
    expect(await spoken({ log: 'silent' })).toEqual([])
    expect(await spoken({ log: 'error' })).toEqual(['[agl:one] error', '[agl:two] error'])
    expect(await spoken({ log: 'debug' })).toHaveLength(8)
  })

  it('follows a level for one scope, and for the rest', async () => {
    expect(await spoken({ log: { 'agl:two': 'info', '*': 'error' } })).toEqual([
      '[agl:one] error',
      '[agl:two] error',
      '[agl:two] warn',
      '[agl:two] info',
    ])
  })

  it('follows AGL_LOG before the configuration', async () => {
    environment({ AGL_LOG: 'error' })
    expect(await spoken({ log: 'debug' })).toEqual(['[agl:one] error', '[agl:two] error'])
    environment({ AGL_LOG: 'agl:one=silent, agl:two=error,nonsense,agl:x=loud' })
    expect(await spoken({ log: 'debug' })).toEqual(['[agl:two] error'])
    expect(await spoken({ log: { 'agl:one': 'debug', 'agl:two': 'debug' } })).toEqual(['[agl:two] error'])
  })

  it('is merged by scope from an overlay', async () => {
    const log = { 'agl:one': 'error', 'agl:two': 'error' } as const
    const environments = { quiet: { log: { 'agl:one': 'silent' } } } as const
    expect(await spoken({ log, environment: 'quiet', environments })).toEqual(['[agl:two] error'])
  })

  it('goes to standard error, so that the output of a program stays its own', async () => {
    const folder = appFolder({
      'main.mjs': `
        import { start, trace } from '@agl/core'
        await start({ log: { '*': 'debug' }, plugins: [{ name: 'p', setup(api) { api.log.info('hello') } }] })
        console.log('output')`,
    })
    expect(await run(folder)).toMatchObject({ code: 0, stdout: 'output\n', stderr: '[agl:p] hello\n' })
  })
})
