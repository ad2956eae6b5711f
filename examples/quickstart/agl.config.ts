import { defineConfig } from '@agl/core'
import { openai } from '@agl/openai'
import { vllm } from '@agl/vllm'

export default defineConfig({ plugins: [openai(), vllm({ logprobs: true })] })
