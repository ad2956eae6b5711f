// The model server
export { startModelServer } from './server/server.ts'
export { loadTokenizer } from './server/tokenizer.ts'
export type { SpecialToken, Token, Tokenizer } from './server/tokenizer.ts'
export type { ChatMessage, MessageToolCall } from './server/template.ts'
export type * from './server/types.ts'

// The contract of a plugin
export { pluginContract, runPluginContract } from './contract/contract.ts'
export type * from './contract/types.ts'

// Sinks, clock and ids
export { memorySink, treeOf } from './sink.ts'
export type { MemorySink, MemorySinkOptions, SpanNode } from './sink.ts'
export { fixedClock, fixedIds, useFixed } from './determinism.ts'
export type { FixedClock, FixedIds } from './determinism.ts'
