/** Where a model is served. */
export interface LLMResource {
  resourceType: 'llm'
  endpoint: string
  model: string
  apiKey: string | null
  /** Goes into each request as it is, in the names of the API: `temperature`, `max_tokens`. */
  samplingParameters: Record<string, unknown>
}

/** A model behind Agent Lightning's proxy, whose URL is another for each attempt. */
export interface ProxyLLMResource extends Omit<LLMResource, 'resourceType'> {
  resourceType: 'proxy_llm'
}

export interface PromptTemplateResource {
  resourceType: 'prompt_template'
  template: string
  engine: 'jinja' | 'f-string' | 'poml'
}

/** What an algorithm tunes and an agent uses, as Agent Lightning v0.3 has it. */
export type Resource = LLMResource | ProxyLLMResource | PromptTemplateResource

type Optional<Whole, Key extends keyof Whole> = Omit<Whole, Key> & Partial<Pick<Whole, Key>>

/** A resource as it is handed in: without a key it has none, and no parameters without any. */
export type ResourceInput =
  | Optional<LLMResource, 'apiKey' | 'samplingParameters'>
  | Optional<ProxyLLMResource, 'apiKey' | 'samplingParameters'>
  | PromptTemplateResource

export type NamedResources = Record<string, Resource>
export type NamedResourcesInput = Record<string, ResourceInput>

/** Resources under one id. Times are Unix seconds. */
export interface ResourcesUpdate {
  resourcesId: string
  createTime: number
  updateTime: number
  /** From 1; one more with each update. */
  version: number
  resources: NamedResources
}
