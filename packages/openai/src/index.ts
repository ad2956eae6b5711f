export { instrument, openai } from './plugin.ts'
export type { OpenAIOptions } from './plugin.ts'
