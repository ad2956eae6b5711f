export type Hosts = typeof import('./fixtures/latest.ts')

/** LangChain and LangGraph in the newest versions, or in the oldest ones that are supported. */
export async function loadHosts(versions: 'latest' | 'lowest'): Promise<Hosts> {
  const file = versions === 'latest' ? './fixtures/latest.ts' : './fixtures/lowest/index.js'
  const loaded: unknown = await import(file)
  if (!isHosts(loaded)) throw new Error(`The ${versions} versions of LangChain are not all there.`)
  return loaded
}

function isHosts(value: unknown): value is Hosts {
  return typeof value === 'object' && value !== null && 'BaseChatModel' in value && 'StateGraph' in value
}
