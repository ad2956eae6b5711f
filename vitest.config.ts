import { defineConfig } from 'vitest/config'
import projects from './vitest.workspace.ts'

export default defineConfig({
  ssr: { resolve: { conditions: ['@agl/source'] } },
  test: { projects },
})
