import type { ModelServerOptions } from '@agl/testkit'
import type OpenAI from 'openai'

/** The example that the demo runs: its agent, its problems and the script of its model. */
export interface Quickstart {
  solve(client: OpenAI, model: string, question: string): Promise<number | undefined>
  problems: readonly { id: string; question: string; answer: number }[]
  scriptedModel: NonNullable<ModelServerOptions['reply']>
}

/** In the repository the example itself; the build puts it beside this file. */
const url = new URL(
  import.meta.url.endsWith('.ts') ? '../../../examples/quickstart/index.ts' : './quickstart.js',
  import.meta.url,
)

export async function loadQuickstart(): Promise<Quickstart> {
  const loaded: Quickstart = await import(url.href)
  return loaded
}
