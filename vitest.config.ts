import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'
import projects from './vitest.workspace.ts'

export default defineConfig({
  ssr: { resolve: { conditions: ['@agl/source'] } },
  test: {
    projects,
    // Much of the time, tests wait for processes and servers.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    // Many tests start real processes, on machines that may have other things to do.
    testTimeout: 30_000,
    hookTimeout: 30_000,
  },
})
