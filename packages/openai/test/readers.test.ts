import { definePlugin, record, start, type Plugin, type ResponseReader } from '@agl/core'
import { openai } from '@agl/openai'
import { startModelServer } from '@agl/testkit'
import OpenAI from 'openai'
import { describe, expect, it } from 'vitest'
import { collect } from './checks/check.ts'
import { ask, only } from './support.ts'

const ids = (first: number) => ({ prompt: new Int32Array([first]), choices: [] })
const good = (): ResponseReader => ({ chunk() {}, response() {}, finish: () => ids(7) })
const broken = {
  'a chunk or an answer': (): ResponseReader => {
    const fail = (): never => {
      throw new Error('of the reader')
    }
    return { chunk: fail, response: fail, finish: () => ids(8) }
  },
  'the end': (): ResponseReader => ({
    ...good(),
    finish: () => {
      throw new Error('of the reader')
    },
  }),
}

/** A plugin that attaches readers to every call, and fields to its request. */
function enriching(name: string, reader: () => ResponseReader, extraBody?: Record<string, unknown>): Plugin {
  return definePlugin({
    name,
    requires: [openai()],
    setup(api) {
      api.on('llm', {
        start({ data }) {
          data.readers = [...(data.readers ?? []), reader()]
          if (extraBody !== undefined) data.extraBody = { ...data.extraBody, ...extraBody }
        },
      })
    },
  })
}

describe.each(Object.entries(broken))('a reader that fails at %s', (_, reader) => {
  it.each([
    ['whole', false],
    ['streamed', true],
  ] as const)('costs its own data alone: %s', async (_name, stream) => {
    await using server = await startModelServer({ reply: () => 'forty two' })
    await using _lightning = await start({
      plugins: [enriching('good', good), enriching('broken', reader)],
      log: 'silent',
    })
    const client = new OpenAI({ apiKey: 'k', baseURL: server.baseURL })
    const { spans, result } = await record('test', async () => {
      const answer = await client.chat.completions.create({ ...ask, stream })
      return Symbol.asyncIterator in answer ? (await collect(answer)).length : 1
    })
    expect(result).toBeGreaterThan(0)
    const attributes = only(spans)
    expect(attributes).toMatchObject({
      'gen_ai.completion.0.content': 'forty two',
      prompt_token_ids: new Int32Array([7]),
    })
    expect(attributes).not.toHaveProperty('agl.finish')
  })
})

describe('fields that a plugin adds', () => {
  const sentBy = async (bodies: readonly unknown[]): Promise<(string | undefined)[]> => {
    await using server = await startModelServer({ reply: () => 'hi' })
    await using _lightning = await start({ plugins: [enriching('more', good, { more: 1 })], log: 'silent' })
    const client = new OpenAI({ apiKey: 'k', baseURL: server.baseURL, maxRetries: 0, logLevel: 'off' })
    const { completions } = client.chat
    const sent: (string | undefined)[] = []
    for (const body of bodies) {
      const before = server.requests.length
      const outcome = await record('test', async () => Reflect.apply(completions.create, completions, [body]))
      sent.push(server.requests[before]?.rawBody.toString() ?? String(outcome.error))
    }
    return sent
  }

  it('go to the server in a copy of the request', async () => {
    const body = Object.freeze({ ...ask })
    expect(await sentBy([body])).toEqual([JSON.stringify({ ...ask, more: 1 })])
    expect(body).toEqual(ask)
  })

  it('are left out where there is no request, or one that writes itself', async () => {
    class Own {
      readonly #model = 'own'
      toJSON(): object {
        return { ...ask, model: this.#model }
      }
    }
    const [own, none] = await sentBy([new Own(), undefined])
    expect(own).toBe(JSON.stringify({ ...ask, model: 'own' }))
    expect(none).toContain('TypeError')
  })
})
