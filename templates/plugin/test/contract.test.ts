import { template } from '@agl/plugin-template'
import { runPluginContract } from '@agl/testkit'
import { describe, it } from 'vitest'
import { SearchClient } from './search-client.ts'

const client = new SearchClient(['apple', 'apricot', 'banana'])

runPluginContract({
  describe,
  it,
  name: 'template',
  plugin: () => template({ clients: [client] }),
  exercise: ({ canary }) => client.search(canary),
  fail: () => client.search(''),
  spans: ['search.retriever'],
  hostFunctions: () => [client.search],
  module: new URL('../src/index.ts', import.meta.url),
  nodeOptions: ['--conditions=@agl/source'],
})
