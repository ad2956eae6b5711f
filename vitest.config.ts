import { defineConfig } from 'vitest/config'
import projects from './vitest.workspace.ts'

export default defineConfig({
  ssr: { resolve: { conditions: ['@agl/source'] } },
  // Many tests start real processes, on machines that may have other things to do.
  test: { projects, testTimeout: 30_000, hookTimeout: 30_000 },
})
