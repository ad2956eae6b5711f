export { langchain, langchainHandler } from './plugin.ts'
export type { LangChainOptions } from './plugin.ts'
export type { LangChainHandler } from './handler.ts'
