export { isLocalServer } from './hosts.ts'
export { vllm } from './plugin.ts'
export type { VllmOptions } from './plugin.ts'
