import * as paths from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  definePlugin,
  record,
  start,
  type Lightning,
  type Plugin,
  type PluginApi,
  type ResponseReader,
} from '@agl/core'
import { begin, CHAT, hush, named, spansOf } from './support.ts'

type Method = (...args: unknown[]) => unknown

/** A host as libraries have it: a class whose method plugins replace. */
function makeHost() {
  class Base {
    inherited(): string {
      return 'inherited'
    }
  }
  class Client extends Base {
    name = 'client'
    async create(text: string, ...more: number[]): Promise<string> {
      await Promise.resolve()
      return `${this.name} ${text} ${more.length}`
    }
  }
  return { Base, Client, client: new Client() }
}

/** A plugin that marks what passes through `key` of `target`. */
function marker(target: object, key: PropertyKey, mark = 'seen', name = 'marker'): Plugin {
  return definePlugin({
    name,
    setup(api) {
      api.patch(
        target,
        key,
        (original) =>
          function (this: unknown, ...args) {
            const result = Reflect.apply(original, this, args)
            return result instanceof Promise
              ? result.then((text) => `${mark}(${String(text)})`)
              : `${mark}(${String(result)})`
          },
      )
    },
  })
}

async function launch(plugins: readonly Plugin[], strict = false): Promise<Lightning> {
  return start({ plugins, strict })
}

describe('patching', () => {
  it('puts back the very original, as it was', async () => {
    const { Client, client } = makeHost()
    const before = Object.getOwnPropertyDescriptor(Client.prototype, 'create')
    await using lightning = await launch([marker(Client.prototype, 'create')])
    expect(await client.create('x', 1, 2)).toBe('seen(client x 2)')
    await lightning.stop('marker')
    expect(await client.create('x')).toBe('client x 0')
    expect(Object.getOwnPropertyDescriptor(Client.prototype, 'create')).toEqual(before)
    expect(Client.prototype.create).toBe(before?.value)
  })

  it('leaves no trace of itself on a class that inherits the method', async () => {
    const { Client, client } = makeHost()
    await using lightning = await launch([marker(Client.prototype, 'inherited')])
    expect(client.inherited()).toBe('seen(inherited)')
    await lightning.stop('marker')
    expect(client.inherited()).toBe('inherited')
    expect(Object.hasOwn(Client.prototype, 'inherited')).toBe(false)
  })

  it('is undone by shutdown, the last plugin first', async () => {
    const { Client, client } = makeHost()
    const original = Client.prototype.create
    const lightning = await launch([
      marker(Client.prototype, 'create', 'inner', 'one'),
      marker(Client.prototype, 'create', 'outer', 'two'),
    ])
    expect(await client.create('x')).toBe('outer(inner(client x 0))')
    await lightning.shutdown()
    expect(Client.prototype.create).toBe(original)
  })

  it("leaves another's wrapper on top in place and passes straight through below it", async () => {
    const { Client, client } = makeHost()
    await using lightning = await launch([marker(Client.prototype, 'create')])
    const ours = Client.prototype.create
    const theirs = async function (this: InstanceType<typeof Client>, text: string, ...more: number[]) {
      return `theirs(${await ours.call(this, text, ...more)})`
    }
    Client.prototype.create = theirs
    expect(await client.create('x')).toBe('theirs(seen(client x 0))')
    await lightning.stop('marker')
    expect(Client.prototype.create).toBe(theirs)
    expect(await client.create('x')).toBe('theirs(client x 0)')
    await lightning.resume('marker')
    expect(Client.prototype.create).toBe(theirs)
    expect(await client.create('x')).toBe('theirs(seen(client x 0))')
    Client.prototype.create = ours
    await lightning.stop('marker')
    expect(await client.create('x')).toBe('client x 0')
  })

  it('never stacks when a plugin is stopped and resumed, in any order with others', async () => {
    const { Client, client } = makeHost()
    const original = Client.prototype.create
    await using lightning = await launch([
      marker(Client.prototype, 'create', 'a', 'one'),
      marker(Client.prototype, 'create', 'b', 'two'),
    ])
    for (let i = 0; i < 5; i++) {
      await lightning.stop('one')
      expect(await client.create('x')).toBe('b(client x 0)')
      await lightning.resume('one')
      await lightning.resume('one')
      expect(await client.create('x')).toMatch(/^(a\(b|b\(a)\(client x 0\)\)$/)
      await lightning.stop('two')
      await lightning.stop('two')
      expect(await client.create('x')).toBe('a(client x 0)')
      await lightning.stop('one')
      expect(await client.create('x')).toBe('client x 0')
      await lightning.resume('two')
      await lightning.resume('one')
      expect(await client.create('x')).toMatch(/^(a\(b|b\(a)\(client x 0\)\)$/)
    }
    await lightning.shutdown()
    expect(await client.create('x')).toBe('client x 0')
    expect(Client.prototype.create).toBe(original)
  })

  it('keeps what a function carries: name, length, further properties, this, errors', async () => {
    const { Client } = makeHost()
    const error = new Error('host')
    const host = {
      parse: Object.assign(
        function parse(this: unknown, _text: string): never {
          throw Object.assign(error, { self: this })
        },
        { defaults: { strict: true } },
      ),
    }
    await using _ = await launch([marker(host, 'parse'), marker(Client.prototype, 'create', 'seen', 'other')])
    expect(host.parse.name).toBe('parse')
    expect(host.parse.length).toBe(1)
    expect(host.parse.defaults).toEqual({ strict: true })
    expect(Client.prototype.create.length).toBe(1)
    expect(() => host.parse('x')).toThrow(error)
    expect(error).toHaveProperty('self', host)
    expect(Object.keys(Client.prototype)).toEqual([])
  })

  it('twice by one plugin is once', async () => {
    const { Client, client } = makeHost()
    const one = marker(Client.prototype, 'create')
    const twice: Plugin = { name: 'twice', setup: (api) => (one.setup(api), one.setup(api)) }
    await using _ = await launch([twice])
    expect(await client.create('x')).toBe('seen(client x 0)')
  })

  it('replaces a getter that gives a function and puts the getter back', async () => {
    const host = Object.defineProperty({}, 'lazy', { get: () => () => 'lazy', configurable: true })
    const before = Object.getOwnPropertyDescriptor(host, 'lazy')
    await using lightning = await launch([marker(host, 'lazy')])
    expect(Reflect.apply(Reflect.get(host, 'lazy') as Method, host, [])).toBe('seen(lazy)')
    await lightning.stop('marker')
    expect(Object.getOwnPropertyDescriptor(host, 'lazy')).toEqual(before)
  })

  it.each([
    ['frozen', Object.freeze({ call: () => 'plain' }), 'call'],
    ['getter-only', Object.defineProperty({}, 'call', { get: () => () => 'plain' }), 'call'],
    ['module', paths, 'join'],
    ['absent', {}, 'call'],
    ['not a function', { call: 5 }, 'call'],
    ['throwing', Object.defineProperty({}, 'call', { get: fails, configurable: true }), 'call'],
  ])(
    'does nothing to a place that cannot be replaced (%s), says so, and goes on',
    async (kind, target, key) => {
      const { lines } = hush()
      const { Client, client } = makeHost()
      const before = Object.getOwnPropertyDescriptor(target, key)
      const name = `cannot ${kind}`
      const plugin: Plugin = {
        name,
        setup(api) {
          api.patch(target, key, () => () => 'replaced')
          void marker(Client.prototype, 'create').setup(api)
        },
      }
      const lightning = await launch([plugin])
      expect(lightning.status()).toMatchObject([{ name, state: 'active' }])
      expect(Object.getOwnPropertyDescriptor(target, key)).toEqual(before)
      expect(await client.create('x')).toBe('seen(client x 0)')
      expect(lines()).toEqual([expect.stringContaining(`[agl:${name}] "${key}" could not be replaced`)])
      await lightning.shutdown()
      expect(await client.create('x')).toBe('client x 0')
    },
  )

  it('does nothing where making the replacement throws', async () => {
    const { lines } = hush()
    const { Client, client } = makeHost()
    const original = Client.prototype.create
    const plugin: Plugin = { name: 'clumsy', setup: (api) => api.patch(Client.prototype, 'create', fails) }
    await using _ = await launch([plugin])
    expect(Client.prototype.create).toBe(original)
    expect(await client.create('x')).toBe('client x 0')
    expect(lines()).toHaveLength(1)
  })
})

describe('plugins', () => {
  it('are set up in the order of the list, what they require first, and stopped in reverse', async () => {
    const events: string[] = []
    const logging = (name: string, requires: readonly Plugin[] = []): Plugin => ({
      name,
      requires,
      async setup() {
        await Promise.resolve()
        events.push(`+${name}`)
        return () => void events.push(`-${name}`)
      },
    })
    const base = logging('base')
    const lightning = await launch([logging('a', [base]), logging('b', [logging('base')]), logging('c')])
    expect(events).toEqual(['+base', '+a', '+b', '+c'])
    expect(lightning.status().map(({ name, state }) => `${name} ${state}`)).toEqual([
      'base active',
      'a active',
      'b active',
      'c active',
    ])
    await lightning.shutdown()
    expect(events.slice(4)).toEqual(['-c', '-b', '-a', '-base'])
  })

  it("use the user's own instance of what they require, wherever it is listed", async () => {
    const base = (version: string): Plugin => ({ name: 'base', version, setup: () => undefined })
    const needy: Plugin = { name: 'needy', requires: [base('required')], setup: () => undefined }
    for (const plugins of [
      [needy, base('own')],
      [base('own'), needy],
    ]) {
      await using lightning = await launch(plugins)
      expect(lightning.status()).toMatchObject([{ name: 'base', version: 'own' }, { name: 'needy' }])
    }
  })

  it('may require one another', async () => {
    const one: { name: string; requires: Plugin[]; setup(): void } = {
      name: 'one',
      requires: [],
      setup: () => undefined,
    }
    const two: Plugin = { name: 'two', requires: [one], setup: () => undefined }
    one.requires.push(two)
    await using lightning = await launch([one])
    expect(lightning.status().map(({ name }) => name)).toEqual(['two', 'one'])
  })

  it('listed twice are an error that names them', async () => {
    const { Client } = makeHost()
    const original = Client.prototype.create
    const twice = marker(Client.prototype, 'create')
    await expect(start({ plugins: [twice, twice] })).rejects.toMatchObject({
      name: 'AglError',
      code: 'plugin_duplicate',
      message: expect.stringContaining('"marker"'),
    })
    expect(Client.prototype.create).toBe(original)
    await using lightning = await launch([twice])
    await expect(lightning.use(twice)).rejects.toMatchObject({ code: 'plugin_duplicate' })
    expect(lightning.status()).toHaveLength(1)
  })

  it('can be added while running, with what they require', async () => {
    const { Client, client } = makeHost()
    await using lightning = await launch([])
    const needed: Plugin = { name: 'needed', setup: () => undefined }
    await lightning.use({ ...marker(Client.prototype, 'create'), requires: [needed] })
    expect(lightning.status().map(({ name }) => name)).toEqual(['needed', 'marker'])
    expect(await client.create('x')).toBe('seen(client x 0)')
  })

  it('that are unknown cannot be stopped or resumed', async () => {
    await using lightning = await launch(
      [marker({}, 'x', '', 'known')].map((one) => ({ ...one, setup: () => {} })),
    )
    for (const act of ['stop', 'resume'] as const) {
      await expect(lightning[act]('typo')).rejects.toMatchObject({
        code: 'plugin_unknown',
        message: expect.stringMatching(/"typo".*known/),
      })
    }
  })

  it.each([
    ['throws', () => fails()],
    ['rejects', () => Promise.reject(new Error('broken'))],
  ])('that fail in setup (%s) are off, what they did is undone, and the others work', async (how, fail) => {
    const { lines } = hush()
    const { Client, client } = makeHost()
    const original = Client.prototype.create
    const name = `bad ${how}`
    const bad: Plugin = {
      name,
      setup(api) {
        void marker(Client.prototype, 'create').setup(api)
        return fail()
      },
    }
    const good: Plugin = { name: 'good', setup: () => undefined }
    await using lightning = await launch([bad, good])
    expect(lightning.status()).toEqual([
      { name, state: 'failed', hosts: [], reason: expect.stringContaining('broken') },
      { name: 'good', state: 'active', hosts: [] },
    ])
    expect(Client.prototype.create).toBe(original)
    expect(await client.create('x')).toBe('client x 0')
    expect(lines()).toEqual([expect.stringContaining(`"${name}" could not be set up`)])
  })

  it('that fail in setup are an error under strict, and nothing stays behind', async () => {
    const { Client } = makeHost()
    const original = Client.prototype.create
    const bad: Plugin = { name: 'bad', setup: fails }
    await expect(launch([marker(Client.prototype, 'create'), bad], true)).rejects.toMatchObject({
      name: 'AglError',
      code: 'plugin_failed',
      message: expect.stringContaining('"bad"'),
      cause: expect.objectContaining({ message: 'broken' }),
    })
    expect(Client.prototype.create).toBe(original)
    await using lightning = await launch([])
    expect(lightning.status()).toEqual([])
  })

  it('that failed can be resumed once the cause is gone', async () => {
    hush()
    let broken = true
    const moody: Plugin = { name: 'moody', setup: () => void (broken && fails()) }
    await using lightning = await launch([moody])
    expect(lightning.status()[0]?.state).toBe('failed')
    broken = false
    await lightning.resume('moody')
    expect(lightning.status()).toEqual([{ name: 'moody', state: 'active', hosts: [] }])
  })

  it('are set up once more at each resume, and only when they were off', async () => {
    let count = 0
    await using lightning = await launch([{ name: 'counted', setup: () => void count++ }])
    await lightning.resume('counted')
    expect(count).toBe(1)
    await lightning.stop('counted')
    await lightning.resume('counted')
    await lightning.resume('counted')
    expect(count).toBe(2)
  })

  it('undo everything although a part of it fails', async () => {
    const { lines } = hush()
    const { Client } = makeHost()
    const original = Client.prototype.create
    const clumsy: Plugin = {
      name: 'clumsy',
      setup(api) {
        void marker(Client.prototype, 'create').setup(api)
        return fails
      },
    }
    await using lightning = await launch([clumsy])
    await lightning.stop('clumsy')
    expect(Client.prototype.create).toBe(original)
    expect(lightning.status()).toMatchObject([{ state: 'stopped' }])
    expect(lines()).toEqual([expect.stringContaining('"clumsy" failed while it was being stopped')])
  })

  it('whose host is missing say how to install it, and are an error under strict', async () => {
    const plugin: Plugin = { name: 'needs', hosts: { 'no-such-host': '>=1 <2' }, setup: () => undefined }
    const lightning = await launch([plugin])
    expect(lightning.status()).toEqual([
      {
        name: 'needs',
        state: 'missing-peer',
        hosts: [],
        reason: expect.stringContaining('npm install no-such-host'),
      },
    ])
    await lightning.shutdown()
    await expect(launch([plugin], true)).rejects.toMatchObject({
      code: 'host_missing',
      message: expect.stringMatching(/"needs".*npm install no-such-host/),
    })
  })

  it('whose host is outside the tested range work and say so, and are an error under strict', async () => {
    const { lines } = hush()
    const { Client, client } = makeHost()
    const plugin: Plugin = { ...marker(Client.prototype, 'create'), hosts: { vitest: '>=1 <2' } }
    const lightning = await launch([plugin])
    const reason = /^vitest \d+\.\d+\.\d+ is outside the tested range >=1 <2$/
    expect(lightning.status()).toMatchObject([
      { state: 'unsupported', reason: expect.stringMatching(reason) },
    ])
    expect(await client.create('x')).toBe('seen(client x 0)')
    expect(lines()).toEqual([expect.stringContaining('outside the tested range')])
    await lightning.shutdown()
    await expect(launch([plugin], true)).rejects.toMatchObject({ code: 'host_unsupported' })
    expect(await client.create('x')).toBe('client x 0')
  })

  it('whose host is in the tested range are active under strict', async () => {
    await using lightning = await launch([{ name: 'fits', hosts: { vitest: '>=4' }, setup: () => {} }], true)
    expect(lightning.status()).toMatchObject([{ state: 'active' }])
  })

  it('report a copy that the user handed over, in a status that cannot be changed from outside', async () => {
    const host = {
      package: 'vitest',
      version: '4.2.0',
      format: 'instance',
      path: '/app',
      patched: true,
    } as const
    const plugin: Plugin = {
      name: 'given',
      version: '1.0.0',
      hosts: { vitest: '>=4' },
      setup: (api) => api.adopt(host),
    }
    await using lightning = await launch([plugin])
    const [status] = lightning.status()
    expect(status).toEqual({ name: 'given', state: 'active', version: '1.0.0', hosts: [host] })
    status?.hosts.splice(0)
    expect(lightning.status()[0]?.hosts).toHaveLength(1)
  })
})

describe('recording()', () => {
  it('is false while the plugin is stopped', async () => {
    await using running = await begin()
    expect(running.api.recording()).toBe(true)
    await running.lightning.stop('probe')
    expect(running.api.recording()).toBe(false)
    await running.lightning.resume('probe')
    expect(running.api.recording()).toBe(true)
  })
})

describe('hooks on activities', () => {
  it('see and enrich the activities of other plugins', async () => {
    const fed: unknown[] = []
    const reader: ResponseReader = {
      chunk: (chunk) => void fed.push(chunk),
      response: () => undefined,
      finish: () => ({ choices: [{ index: 0, response: Int32Array.of(1, 2) }], complete: true }),
    }
    const ends: unknown[] = []
    const enricher: Plugin = {
      name: 'enricher',
      setup(api) {
        api.on('llm', {
          start({ data }) {
            data.extraBody = { return_token_ids: true }
            data.readers = [...(data.readers ?? []), reader]
          },
          end: ({ start: { request }, data, error }) => void ends.push([request['model'], data.usage, error]),
        })
        api.on('tool', { start: ({ data }) => void (data.attributes = { ...data.attributes, added: true }) })
      },
    }
    await using running = await begin({ plugins: [enricher] })
    const error = new Error('x')
    const spans = await spansOf('run', () => {
      const call = running.api.activity('llm', { ...CHAT })
      expect(call.start.extraBody).toEqual({ return_token_ids: true })
      for (const one of call.start.readers ?? []) one.chunk('raw')
      const tokens = call.start.readers?.[0]?.finish({ aborted: false })
      call.end({ usage: { totalTokens: 3 }, ...(tokens === undefined ? {} : { tokens }) })
      running.api.activity('llm', { ...CHAT }).fail(error)
      running.api.activity('tool', { name: 't' }).end()
    })
    expect(fed).toEqual(['raw'])
    expect(ends).toEqual([
      ['toy', { totalTokens: 3 }, undefined],
      ['toy', undefined, error],
    ])
    expect(named(spans, 'openai.chat.completion').attributes).toMatchObject({
      response_token_ids: Int32Array.of(1, 2),
      'agl.tokens.complete': true,
    })
    expect(named(spans, 't.tool').attributes['added']).toBe(true)
    await running.lightning.stop('enricher')
    expect(running.api.activity('llm', { ...CHAT }).start.extraBody).toBeUndefined()
  })

  it('that throw are told once and disturb nobody', async () => {
    const { lines } = hush()
    const seen: string[] = []
    const bad = (api: PluginApi): void => api.on('agent', { start: fails, end: fails })
    const good = (api: PluginApi): void =>
      api.on('agent', { start: () => void seen.push('start'), end: () => void seen.push('end') })
    await using running = await begin({
      plugins: [
        { name: 'bad', setup: bad },
        { name: 'good', setup: good },
      ],
    })
    const { result, spans } = await record('run', () => {
      for (let i = 0; i < 3; i++) running.api.activity('agent', { name: 'a' }).end()
      return 'fine'
    })
    expect(result).toBe('fine')
    expect(spans).toHaveLength(4)
    expect(seen).toEqual(['start', 'end', 'start', 'end', 'start', 'end'])
    expect(lines()).toHaveLength(2)
  })
})

function fails(): never {
  throw new Error('broken')
}
