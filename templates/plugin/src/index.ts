export { template } from './plugin.ts'
export type { TemplateClient, TemplateOptions } from './types.ts'
