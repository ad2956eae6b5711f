import { AglError } from '@agl/core'
import type {
  AttemptedRollout,
  LLMResource,
  NamedResources,
  PromptTemplateResource,
  ProxyLLMResource,
} from '@agl/store'

/** A model to call, with the URL that belongs to this attempt. */
export interface LLM extends LLMResource {
  /** For an OpenAI client: the endpoint, led through the proxy of this attempt where the resource says so. */
  baseURL: string
}

/** The first model among the resources. */
export function firstLLM(resources: NamedResources, rollout: AttemptedRollout): LLM | undefined {
  for (const resource of Object.values(resources)) {
    if (resource.resourceType === 'prompt_template') continue
    const endpoint = endpointOf(resource, rollout)
    return { ...resource, resourceType: 'llm', endpoint, baseURL: endpoint }
  }
  return undefined
}

export function firstPromptTemplate(resources: NamedResources): PromptTemplateResource | undefined {
  return Object.values(resources).find((resource) => resource.resourceType === 'prompt_template')
}

/**
 * The URL by which Agent Lightning's proxy tells whose call it is:
 * `http://host/rollout/ID/attempt/ID/v1` for `http://host/v1`; other models' endpoints as they are.
 */
function endpointOf(
  resource: LLMResource | ProxyLLMResource,
  { rolloutId, attempt }: AttemptedRollout,
): string {
  if (resource.resourceType === 'llm') return resource.endpoint
  const [, prefix = '', version = ''] = /^(.*?)(\/v1)?\/?$/.exec(resource.endpoint) ?? []
  return `${prefix}/rollout/${rolloutId}/attempt/${attempt.attemptId}${version}`
}

/**
 * Fills a template of engine `f-string`: `{name}` is replaced, `{{` and `}}` stand for braces.
 *
 * @throws AglError `value_invalid` for another engine, for a name that has no value, for what is more than a name, and for
 *   a single brace
 */
export function formatPrompt(
  { template, engine }: PromptTemplateResource,
  values: Readonly<Record<string, unknown>>,
): string {
  if (engine !== 'f-string')
    throw new AglError(
      'value_invalid',
      `A template of engine ${engine} cannot be filled here; use its own library.`,
    )
  return template.replace(/\{\{|\}\}|\{([^{}]*)\}|[{}]/g, (found, name: string | undefined) => {
    if (found.length === 1)
      throw new AglError('value_invalid', `The template has a single "${found}"; write it twice for a brace.`)
    if (name === undefined) return found.charAt(0)
    if (!Object.hasOwn(values, name))
      throw new AglError('value_invalid', `The template asks for "{${name}}" and got no value of that name.`)
    return String(values[name])
  })
}
