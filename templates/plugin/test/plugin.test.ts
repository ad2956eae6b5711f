import { type Lightning, record, type Span, start } from '@agl/core'
import { template } from '@agl/plugin-template'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { SearchClient } from './search-client.ts'

const client = new SearchClient(['apple', 'apricot', 'banana'])
let lightning: Lightning

beforeEach(async () => {
  lightning = await start({ plugins: [template({ clients: [client] })], log: 'silent' })
})
afterEach(() => lightning.shutdown())

const searches = (spans: readonly Span[]): Span[] => spans.filter((span) => span.name === 'search.retriever')

/** The one search among the spans. */
function searchIn(spans: readonly Span[]): Span {
  const [span, ...others] = searches(spans)
  if (span === undefined || others.length > 0)
    throw new Error(`${searches(spans).length} searches were recorded`)
  return span
}

it('records a search with its query, its limit and what was found', async () => {
  const { result, spans } = await record('look up', () => client.search('ap', 2))

  expect(result).toEqual(['apple', 'apricot'])
  const span = searchIn(spans)
  expect(span.status.statusCode).toBe('OK')
  expect(span.attributes).toMatchObject({
    'operation.name': 'search',
    'agentops.retriever.input': 'ap',
    'agentops.retriever.output': '["apple","apricot"]',
    'search.limit': 2,
    'search.results': 2,
  })
  expect(span.endTime).toBeGreaterThanOrEqual(span.startTime)
})

it("records a failed search as an error, and the caller gets the host's own error", async () => {
  const { error, spans } = await record('look up', () => client.search(''))

  expect(error).toBeInstanceOf(RangeError)
  expect(searchIn(spans).status).toMatchObject({ statusCode: 'ERROR' })
})

it('is the child of the operation around it', async () => {
  const { spans } = await record('look up', () => client.search('banana'))

  const rootSpan = spans.find((span) => span.parentId === null)
  expect(searchIn(spans).parentId).toBe(rootSpan?.spanId)
})

it('leaves the client as it was when it stops, and records again when it resumes', async () => {
  await lightning.stop('template')
  expect(Object.hasOwn(client, 'search')).toBe(false)
  const stopped = await record('look up', () => client.search('apple'))
  expect(stopped.result).toEqual(['apple'])
  expect(searches(stopped.spans)).toEqual([])

  await lightning.resume('template')
  searchIn((await record('look up', () => client.search('apple'))).spans)
})

it('records neither the query nor what was found when content is not captured', async () => {
  await lightning.shutdown()
  lightning = await start({
    plugins: [template({ clients: [client] })],
    capture: { content: false },
    log: 'silent',
  })
  const { spans } = await record('look up', () => client.search('ap'))

  expect(searchIn(spans).attributes).toEqual({
    'agentops.span.kind': 'retriever',
    'operation.name': 'search',
    'search.results': 2,
  })
})
