export { openStore } from './open.ts'
export { storeSink } from './sink.ts'
export type * from './types.ts'
