import type { Family, Flavor } from '../types.ts'
import type { Dialect } from './dialect.ts'
import { litellm } from './litellm.ts'
import { llamacpp } from './llamacpp.ts'
import { sglang } from './sglang.ts'
import { oldVllm, patchedVllm } from './vllm-old.ts'

const DIALECTS: Record<Flavor, Dialect> = {
  openai: { family: 'openai', version: '0.17.1', ownedBy: 'testkit', reasoningFields: [] },
  vllm: { family: 'vllm', version: '0.17.1', ownedBy: 'vllm', reasoningFields: ['reasoning'] },
  'vllm-0.10': oldVllm,
  'vllm-patched': patchedVllm,
  litellm,
  sglang,
  llamacpp,
}

export function dialectOf(flavor: Flavor = 'openai'): Dialect {
  return DIALECTS[flavor]
}

export function familyOf(flavor: Flavor | undefined): Family {
  return dialectOf(flavor).family
}
