import { context, createContextKey } from '@opentelemetry/api'
import { afterEach, describe, expect, it } from 'vitest'
import {
  definePlugin,
  emitReward,
  record,
  start,
  trace,
  type Config,
  type Lightning,
  type LlmStart,
  type PluginApi,
  type Sink,
  type Span,
} from '@agl/core'

/** Keeps what it gets. */
function memorySink(): Sink & { spans: Span[] } {
  const spans: Span[] = []
  return { name: 'memory', spans, write: (given) => void spans.push(...given) }
}

const running: Lightning[] = []

async function begin(config: Config = {}): Promise<{ api: PluginApi; lightning: Lightning }> {
  let api: PluginApi | undefined
  const spy = definePlugin({
    name: 'spy',
    setup(given) {
      api = given
    },
  })
  const lightning = await start({ log: 'silent', ...config, plugins: [spy, ...(config.plugins ?? [])] })
  running.push(lightning)
  if (api === undefined) throw new Error('the plugin was not set up')
  return { api, lightning }
}

afterEach(async () => {
  for (const lightning of running.splice(0)) await lightning.shutdown()
})

const call = (request: Record<string, unknown> = {}): LlmStart => ({
  operation: 'chat',
  provider: 'OpenAI',
  request: { model: 'm', temperature: 0, ...request },
})

async function attributesOf(
  config: Config,
  request: Record<string, unknown>,
): Promise<Record<string, unknown>> {
  const { api } = await begin(config)
  const { spans } = await record('one', () => api.activity('llm', call(request)).end())
  return spans[0]?.attributes ?? {}
}

describe('the settings of a request', () => {
  const text = {
    documents: [{ text: 'canary' }],
    metadata: { note: 'canary' },
    user: 'canary',
    stop: ['canary'],
    response_format: { schema: { description: 'canary' } },
  }

  it('that can carry text are content', async () => {
    const attributes = await attributesOf({ capture: { content: false } }, text)
    expect(JSON.stringify(attributes)).not.toContain('canary')
    expect(attributes).toMatchObject({ 'gen_ai.request.model': 'm', 'gen_ai.request.temperature': 0 })
  })

  it('pass through redact', async () => {
    const redact = (given: string): string => given.replaceAll('canary', '***')
    const attributes = await attributesOf({ capture: { redact } }, text)
    expect(JSON.stringify(attributes)).not.toContain('canary')
    expect(attributes['gen_ai.request.user']).toBe('***')
  })

  it('that hold secrets are never recorded', async () => {
    const names =
      'api_key apiKey x-api-key openai_api_key auth token access_token bearer_token azure_ad_token authorization ' +
      'aws_session_token aws_access_key_id api_base base_url proxy password client_secret'
    const attributes = await attributesOf(
      {},
      {
        ...Object.fromEntries(names.split(' ').map((name) => [name, 'sk-1'])),
        extra_headers: { Authorization: 'sk-1' },
        model_list: [{ litellm_params: { api_key: 'sk-1' } }],
        metadata: { team: 'a', api_key: 'sk-1', inner: [{ authorization_token: 'sk-1' }] },
        max_tokens: 5,
        stop_token_ids: [1],
        response_format: { schema: { properties: { token: { type: 'string' } } } },
      },
    )
    expect(JSON.stringify(attributes)).not.toContain('sk-1')
    expect(attributes).toMatchObject({
      'gen_ai.request.max_tokens': 5,
      'gen_ai.request.stop_token_ids': '[1]',
      'gen_ai.request.metadata': '{"team":"a","inner":[{}]}',
      'gen_ai.request.response_format': '{"schema":{"properties":{"token":{"type":"string"}}}}',
    })
  })
})

it('drops the ids of a prompt whose tools redact changed', async () => {
  const { api } = await begin({ capture: { redact: (text) => text.replaceAll('canary', '***') } })
  const { spans } = await record('one', () => {
    const tools = [{ name: 'f', description: 'canary' }]
    const tokens = { prompt: Int32Array.of(1, 2), choices: [{ index: 0, response: Int32Array.of(3) }] }
    api.activity('llm', { ...call(), tools }).end({ tokens })
  })
  expect(spans[0]?.attributes).not.toHaveProperty('prompt_token_ids')
  expect(spans[0]?.attributes['response_token_ids']).toEqual(Int32Array.of(3))
})

it('is not lifted from its settings by an undefined in an overlay', async () => {
  const dev: Config = {}
  Reflect.set(dev, 'capture', { content: undefined })
  const { api } = await begin({ capture: { content: false }, environment: 'dev', environments: { dev } })
  const { spans } = await record('one', () =>
    api.activity('llm', { ...call(), messages: [{ role: 'user', content: 'canary' }] }).end(),
  )
  expect(JSON.stringify(spans)).not.toContain('canary')
})

it('keeps logprobs as they were when the call ended', async () => {
  const { api } = await begin()
  const logprobs = [{ token: 'a', logprob: -1 }]
  const { spans } = await record('one', () => {
    api.activity('llm', call()).end({ choices: [{ index: 0, logprobs }] })
    logprobs.length = 0
  })
  expect(spans[0]?.attributes['logprobs.content']).toBe('[{"token":"a","logprob":-1}]')
})

it('flushes and shuts down without a time limit', async () => {
  const sink = memorySink()
  const { lightning } = await begin({ sinks: [sink] })
  await trace('one', () => void emitReward(1))
  expect(await lightning.flush({ timeout: Number.POSITIVE_INFINITY })).toEqual({ written: 2, dropped: 0 })
  expect(await lightning.shutdown({ timeout: Number.POSITIVE_INFINITY })).toEqual({ written: 2, dropped: 0 })
})

it('starts anew when it is started while it shuts down', async () => {
  const { lightning } = await begin({ sinks: [memorySink()] })
  const sink = memorySink()
  const ending = lightning.shutdown()
  const next = await start({ sinks: [sink], log: 'silent' })
  running.push(next)
  await ending
  expect(next).not.toBe(lightning)
  await trace('one', () => void emitReward(1))
  await next.flush()
  expect(sink.spans).toHaveLength(2)
})

it('lets functions that are being traced end in peace when it shuts down', async () => {
  const { lightning } = await begin()
  let down = (): void => undefined
  const shut = new Promise<void>((resolve) => (down = resolve))
  const traced = trace('long', async () => {
    await shut
    emitReward(1)
    return 'done'
  })
  await lightning.shutdown()
  down()
  await expect(traced).resolves.toBe('done')
})

it('records nothing of a trace where tracing is suppressed', async () => {
  const sink = memorySink()
  const { lightning } = await begin({ sinks: [sink] })
  const suppressed = context
    .active()
    .setValue(createContextKey('OpenTelemetry SDK Context Key SUPPRESS_TRACING'), true)
  await context.with(suppressed, () => trace('quiet', () => void emitReward(1)))
  await lightning.flush()
  expect(sink.spans).toEqual([])
})

it('tells of the end of a trace that began by itself after its last span', async () => {
  const order: string[] = []
  const { api, lightning } = await begin({
    sinks: [
      {
        name: 'order',
        write: (spans, traces) => {
          order.push(...spans.map((span) => span.name), ...traces.map((one) => one.status))
        },
      },
    ],
    queue: { batch: 1 },
  })
  const agent = api.activity('agent', { name: 'a' })
  const tool = agent.run(() => api.activity('tool', { name: 't' }))
  agent.end()
  tool.end()
  await lightning.flush()
  expect(order).toEqual(['running', 'a.agent', 't.tool', 'succeeded'])
})

it('takes back what a plugin did that was stopped while it was being set up', async () => {
  const host = { greet: (): string => 'hello' }
  const { greet } = host
  const { lightning } = await begin()
  let go = (): void => undefined
  const slow = definePlugin({
    name: 'slow',
    async setup(api) {
      await new Promise<void>((resolve) => (go = resolve))
      api.patch(host, 'greet', () => () => 'patched')
    },
  })
  const using = lightning.use(slow)
  await lightning.stop('slow')
  go()
  await using
  expect(host.greet).toBe(greet)
})
