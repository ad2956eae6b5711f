import type { Sink, Span, TraceRecord } from '@agl/core'

export interface SpanNode {
  span: Span
  /** By start time. */
  children: SpanNode[]
}

/** A sink that keeps everything in memory and can be made to fail or hang. */
export interface MemorySink extends Sink {
  /** All spans written, in the order in which they came. */
  readonly spans: Span[]
  /** The latest record of each trace, in the order in which they began. */
  readonly traces: TraceRecord[]
  /** Number of calls to `write`, failed ones included. */
  readonly writes: number
  readonly closed: boolean
  /** The spans as trees, one for each root; a span whose parent is not here is a root. */
  tree(): SpanNode[]
  /** The trees as text: a span's name on each line, indented by its depth. */
  outline(): string
  clear(): void
  /** Lets the next writes reject, as often as `times`. */
  fail(times?: number, error?: unknown): void
  /** Lets writes hang until `release`. */
  hang(): void
  /** Ends `fail` and `hang`; writes that hang go through. */
  release(): void
}

export interface MemorySinkOptions {
  /** @default 'memory' */
  name?: string
}

export function memorySink({ name = 'memory' }: MemorySinkOptions = {}): MemorySink {
  const spans: Span[] = []
  const traces = new Map<string, TraceRecord>()
  let failures = { left: 0, error: undefined as unknown }
  let hanging: Gate | undefined
  let writes = 0
  let closed = false
  const keep = (batch: readonly Span[], records: readonly TraceRecord[]): void => {
    spans.push(...batch)
    for (const record of records)
      traces.set(`${record.rolloutId}/${record.attemptId}/${record.traceId}`, record)
  }
  return {
    name,
    spans,
    get traces() {
      return [...traces.values()]
    },
    get writes() {
      return writes
    },
    get closed() {
      return closed
    },
    write: async (batch, records) => {
      writes++
      if (hanging !== undefined) await hanging.promise
      if (failures.left > 0) {
        failures.left--
        throw failures.error
      }
      keep(batch, records)
    },
    close: () => {
      closed = true
    },
    tree: () => treeOf(spans),
    outline: () => outlineOf(treeOf(spans)),
    clear: () => {
      spans.length = 0
      traces.clear()
    },
    fail: (times = Infinity, error = new Error(`The sink "${name}" was told to fail.`)) => {
      failures = { left: times, error }
    },
    hang: () => {
      hanging ??= gate()
    },
    release: () => {
      failures.left = 0
      hanging?.resolve()
      hanging = undefined
    },
  }
}

interface Gate {
  promise: Promise<void>
  resolve: () => void
}

function gate(): Gate {
  let resolve = (): void => {}
  const promise = new Promise<void>((done) => (resolve = done))
  return { promise, resolve }
}

/** Spans as trees, one for each span whose parent is not among them. */
export function treeOf(spans: readonly Span[]): SpanNode[] {
  const nodes = new Map(spans.map((span) => [span.spanId, { span, children: [] as SpanNode[] }]))
  const roots: SpanNode[] = []
  for (const node of nodes.values()) {
    const parent = node.span.parentId === null ? undefined : nodes.get(node.span.parentId)
    ;(parent?.children ?? roots).push(node)
  }
  const order = (a: SpanNode, b: SpanNode): number =>
    a.span.startTime - b.span.startTime || a.span.sequenceId - b.span.sequenceId
  for (const node of nodes.values()) node.children.sort(order)
  return roots.sort(order)
}

function outlineOf(nodes: readonly SpanNode[], depth = 0): string {
  return nodes
    .map(({ span, children }) => [`${'  '.repeat(depth)}${span.name}`, outlineOf(children, depth + 1)])
    .flat()
    .filter((line) => line !== '')
    .join('\n')
}
