import type { CallbackHandlerMethods } from '@langchain/core/callbacks/base'

/** A handler of the program's own, which writes down all that it is told. */
export function recorder(): { handler: CallbackHandlerMethods; events: string[] } {
  const events: string[] = []
  const ids: string[] = []
  const label = (id: unknown): string => {
    if (typeof id !== 'string') return '-'
    if (!ids.includes(id)) ids.push(id)
    return `#${ids.indexOf(id)}`
  }
  /** Where each event has its run's id and that of the run around it, among what it is told. */
  const note =
    (event: string, id = 1, parent = 2) =>
    (...args: unknown[]): void => {
      const told = args.map((value, i) => (i === id || i === parent ? label(value) : withoutIds(value)))
      events.push(`${event} ${told.join(' ')}`)
    }
  return {
    events,
    handler: {
      handleChainStart: note('chain start', 2, 3),
      handleChainEnd: note('chain end'),
      handleChainError: note('chain error'),
      handleChatModelStart: note('chat start', 2, 3),
      handleLLMStart: note('llm start', 2, 3),
      handleLLMNewToken: note('token', 2, 3),
      handleLLMEnd: note('llm end'),
      handleLLMError: note('llm error'),
      handleToolStart: note('tool start', 2, 3),
      handleToolEnd: note('tool end'),
      handleToolError: note('tool error'),
      handleRetrieverStart: note('retriever start', 2, 3),
      handleRetrieverEnd: note('retriever end'),
      handleRetrieverError: note('retriever error'),
      handleAgentAction: note('agent action'),
      handleAgentEnd: note('agent end'),
      handleText: note('text'),
      handleCustomEvent: note('custom', 2, -1),
    },
  }
}

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g

/** As text, without what differs from one run of a program to the next. */
export function withoutIds(value: unknown): string {
  const text = value instanceof Error ? `${value.name}: ${value.message}` : JSON.stringify(value)
  return (text ?? 'undefined')
    .replaceAll(UUID, 'uuid')
    .replaceAll(/\b[0-9a-f]{32}\b/g, 'hash')
    .replaceAll(/\d{13}(\.\d+)?/g, 'time')
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'time')
}
