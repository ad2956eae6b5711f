import { createRequire } from 'node:module'
import { makeFormat, type MakeFormat } from './formats.ts'

type Module = typeof import('openai')
export type Client = InstanceType<Module['OpenAI']>

/** One copy of the client in this process: ES modules and CommonJS of one package are two. */
export interface Copy {
  name: string
  major: number
  OpenAI: Module['OpenAI']
  AzureOpenAI: Module['AzureOpenAI']
  format: MakeFormat
}

const require = createRequire(import.meta.url)

export const COPIES: readonly (readonly [alias: string, major: number, format: 'esm' | 'cjs'])[] = [
  ['openai5', 5, 'esm'],
  ['openai5', 5, 'cjs'],
  ['openai6', 6, 'esm'],
  ['openai6', 6, 'cjs'],
  ['openai', 7, 'esm'],
  ['openai', 7, 'cjs'],
]

export async function loadCopy(alias: string, major: number, format: 'esm' | 'cjs'): Promise<Copy> {
  const load = (name: string): Promise<unknown> =>
    format === 'esm' ? import(name) : Promise.resolve(require(name))
  const module = await load(alias)
  if (!isOpenAI(module)) throw new Error(`${alias} is not the openai client.`)
  return {
    name: `openai ${major} (${format})`,
    major,
    OpenAI: module.OpenAI,
    AzureOpenAI: module.AzureOpenAI,
    // Version 5's helper needs a zod older than the one that the others need.
    format: major === 5 ? makeFormat(undefined) : makeFormat(await load(`${alias}/helpers/zod`)),
  }
}

function isOpenAI(value: unknown): value is Module {
  // CommonJS exports the class, with everything else on it.
  return (
    (typeof value === 'object' || typeof value === 'function') && value !== null && 'AzureOpenAI' in value
  )
}
