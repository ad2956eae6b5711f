import type { Engine, Transport } from './engine.ts'
import { MemoryEngine } from './memory.ts'

/** Everything is in this process, so that nobody else can write. */
export function memoryTransport(): Transport {
  const engine: Engine = new MemoryEngine()
  return {
    ordered: true,
    poll: undefined,
    call: async (operation, ...args) => engine[operation](...args),
    sync: (work) => work(engine),
    close: async () => engine.close(),
  }
}
