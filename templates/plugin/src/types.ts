/** The part of the host's client that the plugin uses. The host itself is never imported. */
export interface TemplateClient {
  search(query: string, limit?: number): Promise<readonly string[]>
}

export interface TemplateOptions {
  /** The clients whose searches are recorded. */
  clients: readonly TemplateClient[]
}
