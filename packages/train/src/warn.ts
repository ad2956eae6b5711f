/** What the Python adapters do in silence, or leave to chance, and a reader of the data should know. */
export interface AdapterWarning {
  /**
   * `branch_lost`: a branch of the trace is left out, with its calls and rewards.
   * `order_unclear`: several parents are missing; Python orders what hung below them differently in every process.
   * `attribute_ignored`: an attribute is there and not of the type that it must have.
   */
  code: 'branch_lost' | 'order_unclear' | 'attribute_ignored'
  message: string
  /** The span that it is about. */
  spanId: string
}

export interface AdapterOptions {
  /** Called with each warning. @default prints the first one of each kind to standard error */
  onWarning?: (warning: AdapterWarning) => void
}

const said = new Set<string>()

export function warnOnce({ code, message }: AdapterWarning): void {
  if (said.has(code)) return
  said.add(code)
  console.warn(`[agl:train] ${message}`)
}
