import { symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { appFolder, run, runJSON } from './support.ts'

/*
 * Each test is a program in a folder of its own, with small host packages in its node_modules. Every file of a host
 * counts how often it is run.
 */

type Files = Record<string, string | object>

const ran = (id: string): string => `(globalThis.ran ??= {})['${id}'] = (globalThis.ran['${id}'] ?? 0) + 1;`

function esm(id: string): string {
  return `${ran(id)}
    export class Client { call(text) { return '${id} ' + text } }
    export default Client`
}

function cjs(id: string): string {
  return `'use strict';
    ${ran(id)}
    class Client { call(text) { return '${id} ' + text } }
    exports.Client = Client // no newline at the end`
}

/** A package with an ESM and a CommonJS copy of itself. */
function dual(folder: string, version: string, name = 'toy'): Files {
  return {
    [`${folder}/package.json`]: {
      name,
      version,
      main: './index.js',
      exports: {
        '.': { import: './index.mjs', require: './index.js' },
        './other': { import: './other.mjs', require: './other.js' },
      },
    },
    [`${folder}/index.mjs`]: esm(`${name} ${version} esm`),
    [`${folder}/index.js`]: cjs(`${name} ${version} cjs`),
    [`${folder}/other.mjs`]: esm(`${name} ${version} other esm`),
    [`${folder}/other.js`]: cjs(`${name} ${version} other cjs`),
  }
}

const TOY = dual('node_modules/toy', '1.2.0')

/** What every program begins with: a plugin that marks what passes through a toy's client. */
const SETUP: Files = {
  'setup.mjs': `
    import { definePlugin, start } from '@agl/core'
    export const mark = (api) => (module) => {
      api.patch(module.Client.prototype, 'call', (original) => function (...args) {
        return 'traced ' + Reflect.apply(original, this, args)
      })
    }
    export const toy = definePlugin({
      name: 'toy',
      hosts: { toy: '>=1 <3' },
      setup(api) { api.eachHost('toy', mark(api)) },
    })
    export const begin = (config = {}) => start({ plugins: [toy], ...config })
    export const relative = (path) => path.slice(process.cwd().length + 1)
    export const hosts = (lightning) => lightning.status().flatMap((plugin) => plugin.hosts)
      .map((host) => [host.package, host.version, host.format, relative(host.path), host.patched].join(' ')).sort()
    export const print = (value) => console.log(JSON.stringify(value))
    export const ran = () => globalThis.ran ?? {}
    export { definePlugin }
  `,
}

const IMPORTS = `
  import { createRequire } from 'node:module'
  import { begin, definePlugin, hosts, mark, print, ran, toy } from './setup.mjs'
  const require = createRequire(import.meta.url)
`

function program(files: Files, main: string): Promise<unknown> {
  return runJSON(appFolder({ ...SETUP, ...files, 'main.mjs': IMPORTS + main }))
}

describe('a host', () => {
  it.each([
    ['imported', `const { Client } = await import('toy')`, 'esm'],
    ['required', `const { Client } = require('toy')`, 'cjs'],
  ])('that was %s before the start is found', async (_, load, format) => {
    const result = await program(
      TOY,
      `${load}
       const client = new Client()
       const lightning = await begin()
       print([client.call('x'), hosts(lightning), lightning.status()[0].state, ran()])`,
    )
    expect(result).toEqual([
      `traced toy 1.2.0 ${format} x`,
      [`toy 1.2.0 ${format} node_modules/toy true`],
      'active',
      { [`toy 1.2.0 ${format}`]: 1 },
    ])
  })

  it.each([
    ['imported', `const { Client } = await import('toy')`, 'esm'],
    ['required', `const { Client } = require('toy')`, 'cjs'],
    ['required from CommonJS', `const { Client } = require('./app.cjs')`, 'cjs'],
    ['imported from CommonJS', `const { Client } = await require('./later.cjs')()`, 'esm'],
  ])('that is %s after the start is found before anyone uses it', async (_, load, format) => {
    const result = await program(
      {
        ...TOY,
        'app.cjs': `const { Client } = require('toy'); exports.Client = Client`,
        'later.cjs': `module.exports = () => import('toy')`,
      },
      `const lightning = await begin()
       const before = [hosts(lightning), ran()]
       ${load}
       print([before, new Client().call('x'), hosts(lightning), ran()])`,
    )
    expect(result).toEqual([
      [[], {}],
      `traced toy 1.2.0 ${format} x`,
      [`toy 1.2.0 ${format} node_modules/toy true`],
      { [`toy 1.2.0 ${format}`]: 1 },
    ])
  })

  it('that the program imports statically is found', async () => {
    const result = await program(
      TOY,
      `import { Client } from 'toy'
       const lightning = await begin()
       print([new Client().call('x'), hosts(lightning)])`,
    )
    expect(result).toEqual(['traced toy 1.2.0 esm x', ['toy 1.2.0 esm node_modules/toy true']])
  })

  it('that awaits something while it loads is found as well', async () => {
    const result = await program(
      {
        'node_modules/toy/package.json': { name: 'toy', version: '1.2.0', type: 'module' },
        'node_modules/toy/index.js': `await null; export class Client { call(x) { return x } }`,
      },
      `import { Client } from 'toy'
       const lightning = await begin()
       print([new Client().call('x'), hosts(lightning)])`,
    )
    expect(result).toEqual(['traced x', ['toy 1.2.0 esm node_modules/toy true']])
  })

  it('that another file of the program starts with is found, whichever of the two runs first', async () => {
    const result = await program(
      { ...TOY, 'first.mjs': `import { begin } from './setup.mjs'; export const lightning = await begin()` },
      `import { lightning } from './first.mjs'
       import { Client } from 'toy'
       print([new Client().call('x'), hosts(lightning), ran()])`,
    )
    expect(result).toEqual([
      'traced toy 1.2.0 esm x',
      ['toy 1.2.0 esm node_modules/toy true'],
      { 'toy 1.2.0 esm': 1 },
    ])
  })

  it('is found in both formats when both are in use', async () => {
    const result = await program(
      TOY,
      `const { Client: Before } = require('toy')
       const lightning = await begin()
       const { Client: After } = await import('toy')
       print([new Before().call('x'), new After().call('x'), hosts(lightning), ran()])`,
    )
    expect(result).toEqual([
      'traced toy 1.2.0 cjs x',
      'traced toy 1.2.0 esm x',
      ['toy 1.2.0 cjs node_modules/toy true', 'toy 1.2.0 esm node_modules/toy true'],
      { 'toy 1.2.0 cjs': 1, 'toy 1.2.0 esm': 1 },
    ])
  })

  it.each(['before', 'after'])(
    'is found in every version that is in use, loaded %s the start',
    async (when) => {
      const load = `const own = (await import('toy')).Client
                  const nested = (await import('dependent')).Client
                  const old = require('toy-old').Client`
      const result = await program(
        {
          ...TOY,
          'node_modules/dependent/package.json': {
            name: 'dependent',
            version: '1.0.0',
            exports: './index.mjs',
          },
          'node_modules/dependent/index.mjs': `export { Client } from 'toy'`,
          ...dual('node_modules/dependent/node_modules/toy', '2.0.1'),
          ...dual('node_modules/toy-old', '1.0.0'),
        },
        `${when === 'before' ? load : ''}
       const lightning = await begin()
       ${when === 'after' ? load : ''}
       print([[own, nested, old].map((Client) => new Client().call('x')), hosts(lightning)])`,
      )
      expect(result).toEqual([
        ['traced toy 1.2.0 esm x', 'traced toy 2.0.1 esm x', 'traced toy 1.0.0 cjs x'],
        [
          'toy 1.0.0 cjs node_modules/toy-old true',
          'toy 1.2.0 esm node_modules/toy true',
          'toy 2.0.1 esm node_modules/dependent/node_modules/toy true',
        ],
      ])
    },
  )

  it.each(['before', 'after'])(
    'that is linked from elsewhere is found, loaded %s the start',
    async (when) => {
      const folder = appFolder({
        ...SETUP,
        ...dual('elsewhere/toy', '1.5.0'),
        'main.mjs': `${IMPORTS}
        ${when === 'before' ? `const { Client } = await import('toy')` : ''}
        const lightning = await begin()
        ${when === 'after' ? `const { Client } = await import('toy')` : ''}
        print([new Client().call('x'), hosts(lightning)])`,
      })
      symlinkSync(join(folder, 'elsewhere/toy'), join(folder, 'node_modules/toy'), 'junction')
      expect(await runJSON(folder)).toEqual(['traced toy 1.5.0 esm x', ['toy 1.5.0 esm elsewhere/toy true']])
    },
  )

  it('is never loaded by us', async () => {
    const result = await program(
      TOY,
      `const lightning = await begin()
       await lightning.stop('toy'); await lightning.resume('toy')
       const unused = [lightning.status(), ran()]
       require('toy')
       delete require.cache[require.resolve('toy')]
       await lightning.stop('toy'); await lightning.resume('toy')
       const dropped = ran()
       await lightning.shutdown()
       await begin()
       print([unused, dropped, ran()])`,
    )
    expect(result).toEqual([
      [[{ name: 'toy', state: 'active', hosts: [] }], {}],
      { 'toy 1.2.0 cjs': 1 },
      { 'toy 1.2.0 cjs': 1 },
    ])
  })

  it('that was loaded between the start and the use of its plugin is found', async () => {
    const result = await program(
      { ...TOY, ...dual('node_modules/tool', '1.0.0', 'tool') },
      `const other = definePlugin({ name: 'other', setup(api) { api.eachHost('tool', mark(api)) } })
       const lightning = await begin({ plugins: [other] })
       const esm = (await import('toy')).Client
       const cjs = require('toy').Client
       await lightning.use(toy)
       print([new esm().call('x'), new cjs().call('x'), hosts(lightning)])`,
    )
    expect(result).toEqual([
      'traced toy 1.2.0 esm x',
      'traced toy 1.2.0 cjs x',
      ['toy 1.2.0 cjs node_modules/toy true', 'toy 1.2.0 esm node_modules/toy true'],
    ])
  })

  it('is as before after stop, traced again after resume, and as before after shutdown', async () => {
    const result = await program(
      TOY,
      `const Early = (await import('toy')).Client
       const original = Early.prototype.call
       const lightning = await begin()
       const Late = require('toy').Client
       const calls = () => [Early, Late].map((Client) => new Client().call('x'))
       const steps = [calls()]
       await lightning.stop('toy')
       steps.push(calls(), hosts(lightning))
       for (let i = 0; i < 3; i++) { await lightning.resume('toy'); steps.push(calls()); await lightning.stop('toy') }
       await lightning.resume('toy')
       steps.push(hosts(lightning))
       await lightning.shutdown()
       steps.push(calls(), Early.prototype.call === original)
       print(steps)`,
    )
    const plain = ['toy 1.2.0 esm x', 'toy 1.2.0 cjs x']
    const traced = plain.map((text) => `traced ${text}`)
    expect(result).toEqual([
      traced,
      plain,
      ['toy 1.2.0 cjs node_modules/toy false', 'toy 1.2.0 esm node_modules/toy false'],
      traced,
      traced,
      traced,
      ['toy 1.2.0 cjs node_modules/toy true', 'toy 1.2.0 esm node_modules/toy true'],
      plain,
      true,
    ])
  })

  it('that is loaded while the plugin is stopped is found at resume', async () => {
    const result = await program(
      TOY,
      `const lightning = await begin()
       await lightning.stop('toy')
       const esm = new (await import('toy')).Client()
       const cjs = new (require('toy')).Client()
       const stopped = [esm.call('x'), cjs.call('x')]
       await lightning.resume('toy')
       print([stopped, esm.call('x'), cjs.call('x')])`,
    )
    expect(result).toEqual([
      ['toy 1.2.0 esm x', 'toy 1.2.0 cjs x'],
      'traced toy 1.2.0 esm x',
      'traced toy 1.2.0 cjs x',
    ])
  })

  it('that is loaded after the shutdown is left alone, and found by the next start', async () => {
    const result = await program(
      TOY,
      `import { registerHooks } from 'node:module'
       const sources = []
       await (await begin()).shutdown()
       const { Client } = await import('toy')
       const left = new Client().call('x')
       const early = registerHooks({ load: (url, context, next) => {
         const result = next(url, context)
         if (url.includes('/toy/')) sources.push(String(result.source))
         return result
       } })
       require('toy')
       early.deregister()
       await begin()
       print([left, new Client().call('x'), sources.map((source) => source.includes('agl'))])`,
    )
    expect(result).toEqual(['toy 1.2.0 esm x', 'traced toy 1.2.0 esm x', [false]])
  })

  it('is seen by the file that a plugin asks for, and by no other', async () => {
    const result = await program(
      TOY,
      `const files = []
       const plugin = definePlugin({
         name: 'other',
         setup(api) {
           api.eachHost('toy', (module, host) => {
             files.push(host.file + ' ' + host.format)
             mark(api)(module)
             return () => files.push('undone')
           }, { file: /^other$/ })
         },
       })
       const early = require('toy/other').Client
       const lightning = await begin({ plugins: [plugin] })
       const late = (await import('toy/other')).Client
       const main = (await import('toy')).Client
       const calls = [early, late, main].map((Client) => new Client().call('x'))
       await lightning.stop('other')
       print([calls, files])`,
    )
    expect(result).toEqual([
      ['traced toy 1.2.0 other cjs x', 'traced toy 1.2.0 other esm x', 'toy 1.2.0 esm x'],
      ['other cjs', 'other esm', 'undone', 'undone'],
    ])
  })

  it('alone is touched: no other file of it, of other packages or of the program is', async () => {
    const result = await program(
      { ...TOY, ...dual('node_modules/tool', '1.0.0', 'tool'), 'own.mjs': `export default 1` },
      `import { registerHooks } from 'node:module'
       import { readFileSync } from 'node:fs'
       import { fileURLToPath } from 'node:url'
       await begin()
       const changed = []
       registerHooks({ load: (url, context, next) => {
         const result = next(url, context)
         if (String(result.source) !== readFileSync(fileURLToPath(url), 'utf8')) changed.push(url.split('/').slice(-2).join('/'))
         return result
       } })
       await import('tool'); require('tool'); await import('toy/other'); require('toy/other'); await import('./own.mjs')
       const before = [...changed]
       await import('toy'); require('toy')
       print([before, changed])`,
    )
    expect(result).toEqual([[], ['toy/index.mjs', 'toy/index.js']])
  })

  it('is shown to a plugin once for each copy, however often it is asked for', async () => {
    const result = await program(
      TOY,
      `let visits = 0
       const plugin = definePlugin({ name: 'other', setup(api) { api.eachHost('toy', () => void visits++) } })
       await import('toy')
       const lightning = await begin({ plugins: [toy, plugin] })
       await import('toy'); require('toy'); require('toy')
       const first = visits
       await lightning.use(definePlugin({ name: 'third', setup(api) { api.eachHost('toy', () => void visits++) } }))
       print([first, visits])`,
    )
    expect(result).toEqual([2, 4])
  })

  it('with an old-fashioned manifest is found', async () => {
    const result = await program(
      {
        'node_modules/toy/package.json': { name: 'toy', version: '1.0.0', main: 'lib/main' },
        'node_modules/toy/lib/main.js': cjs('main'),
        'node_modules/dependent/index.js': `module.exports = require('toy')`,
        'node_modules/dependent/node_modules/toy/package.json': {
          name: 'toy',
          version: '1.1.0',
          main: 'lib',
        },
        'node_modules/dependent/node_modules/toy/lib/index.js': cjs('folder'),
      },
      `const lightning = await begin()
       print([require('toy'), require('dependent')].map(({ Client }) => new Client().call('x')))`,
    )
    expect(result).toEqual(['traced main x', 'traced folder x'])
  })

  it('in CommonJS is found through import, and in ESM through require', async () => {
    const result = await program(
      {
        'node_modules/toy/package.json': { name: 'toy', version: '1.0.0' },
        'node_modules/toy/index.js': cjs('cjs'),
        'node_modules/dependent/index.js': `module.exports = require('toy')`,
        'node_modules/dependent/node_modules/toy/package.json': {
          name: 'toy',
          version: '2.0.0',
          type: 'module',
        },
        'node_modules/dependent/node_modules/toy/index.js': esm('esm'),
      },
      `const lightning = await begin()
       const imported = (await import('toy')).Client
       const required = require('dependent').Client
       print([new imported().call('x'), new required().call('x'), hosts(lightning), ran()])`,
    )
    expect(result).toEqual([
      'traced cjs x',
      'traced esm x',
      ['toy 1.0.0 cjs node_modules/toy true', 'toy 2.0.0 esm node_modules/dependent/node_modules/toy true'],
      { cjs: 1, esm: 1 },
    ])
  })

  it('that a compiler dressed as a module is told apart by what it is', async () => {
    const result = await program(
      {
        'node_modules/toy/package.json': { name: 'toy', version: '1.0.0' },
        'node_modules/toy/index.js': `Object.defineProperty(exports, Symbol.toStringTag, { value: 'Module' })\n${cjs('cjs')}`,
      },
      `const lightning = await begin()
       require('toy')
       print(hosts(lightning))`,
    )
    expect(result).toEqual(['toy 1.0.0 cjs node_modules/toy true'])
  })

  it('that fails to load fails as it would without us', async () => {
    const folder = appFolder({
      ...SETUP,
      'node_modules/toy/package.json': { name: 'toy', version: '1.0.0' },
      'node_modules/toy/index.js': `throw new RangeError('broken host')`,
      'node_modules/dependent/index.js': `module.exports = () => require('toy')`,
      'node_modules/dependent/node_modules/toy/package.json': {
        name: 'toy',
        version: '2.0.0',
        type: 'module',
      },
      'node_modules/dependent/node_modules/toy/index.js': `await null; throw new RangeError('broken host')`,
      'main.mjs': `${IMPORTS}
        const load = async () => [
          await import('toy').catch((error) => error.name + ': ' + error.message),
          await import('./node_modules/dependent/node_modules/toy/index.js').catch((error) => error.name),
          await import('no-such-host').catch((error) => error.code),
        ]
        const lightning = await begin()
        print([await load(), await load(), hosts(lightning)])`,
    })
    const { code, stdout, stderr } = await run(folder)
    expect([code, stderr]).toEqual([0, ''])
    const errors = ['RangeError: broken host', 'RangeError', 'ERR_MODULE_NOT_FOUND']
    expect(JSON.parse(stdout)).toEqual([errors, errors, []])
  })

  it('that cannot be patched works untraced and is told', async () => {
    const folder = appFolder({
      ...SETUP,
      'node_modules/toy/package.json': { name: 'toy', version: '1.0.0', exports: './index.mjs' },
      'node_modules/toy/index.mjs': `export const Client = class Other { run(text) { return 'plain ' + text } }`,
      'main.mjs': `${IMPORTS}
        const { Client } = await import('toy')
        const lightning = await begin()
        print([new Client().run('x'), lightning.status()[0]])`,
    })
    const { stdout, stderr } = await run(folder)
    expect(JSON.parse(stdout)).toMatchObject([
      'plain x',
      {
        state: 'failed',
        hosts: [{ patched: false }],
        reason: expect.stringMatching(/toy 1\.0\.0 is loaded/),
      },
    ])
    expect(stderr).toContain('[agl:toy] "call" could not be replaced')
  })

  it('that a plugin stumbles over does not disturb the program', async () => {
    const folder = appFolder({
      ...SETUP,
      ...TOY,
      'main.mjs': `${IMPORTS}
        const bad = definePlugin({ name: 'bad', setup(api) { api.eachHost('toy', () => { throw new Error('clumsy') }) } })
        await begin({ plugins: [bad, toy] })
        const esm = await import('toy')
        const cjs = require('toy')
        print([esm, cjs].map(({ Client }) => new Client().call('x')))`,
    })
    const { code, stdout, stderr } = await run(folder)
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toEqual(['traced toy 1.2.0 esm x', 'traced toy 1.2.0 cjs x'])
    expect(stderr.match(/clumsy/g)).toHaveLength(1)
  })

  it('that is outside the tested range, or missing, is told by the state of its plugin', async () => {
    const result = await program(
      dual('node_modules/toy', '4.0.0'),
      `const missing = definePlugin({ name: 'missing', hosts: { nowhere: '>=1' }, setup() {} })
       const lightning = await begin({ plugins: [toy, missing], log: 'silent' })
       const before = lightning.status()
       const { Client } = await import('toy')
       print([before, lightning.status()[0].state, new Client().call('x')])`,
    )
    expect(result).toEqual([
      [
        {
          name: 'toy',
          state: 'unsupported',
          hosts: [],
          reason: 'toy 4.0.0 is outside the tested range >=1 <3',
        },
        {
          name: 'missing',
          state: 'missing-peer',
          hosts: [],
          reason: expect.stringContaining('npm install nowhere'),
        },
      ],
      'unsupported',
      'traced toy 4.0.0 esm x',
    ])
  })

  it.each([
    ['1.0.0', true],
    ['2.9.9', true],
    ['3.0.0', false],
    ['0.9.0', false],
    ['2.0.0-beta.1', true],
  ])('of version %s is in the range ">=1 <3": %s', async (version, inside) => {
    const result = await program(
      dual('node_modules/toy', version),
      `print((await begin({ log: 'silent' })).status()[0].state)`,
    )
    expect(result).toBe(inside ? 'active' : 'unsupported')
  })
})
