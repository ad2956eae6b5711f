import { z } from 'zod'

type Helpers = typeof import('openai/helpers/zod')
type Format = ReturnType<Helpers['zodResponseFormat']>
export type MakeFormat = () => Format

const Answer = z.object({ answer: z.number() })

/** The client's own helper, or the same by hand: what it attaches is hidden, and a copied request would lose it. */
export function makeFormat(helpers: unknown): MakeFormat {
  if (isHelpers(helpers)) return () => helpers.zodResponseFormat(Answer, 'answer')
  return () => {
    const format = {
      type: 'json_schema',
      json_schema: { name: 'answer', strict: true, schema: z.toJSONSchema(Answer) },
    }
    const hide = (key: string, value: unknown): void => {
      Object.defineProperty(format, key, { value, enumerable: false })
    }
    hide('$brand', 'auto-parseable-response-format')
    hide('$parseRaw', (text: string) => Answer.parse(JSON.parse(text)))
    if (!isFormat(format)) throw new Error('unreachable')
    return format
  }
}

function isHelpers(value: unknown): value is Helpers {
  return typeof value === 'object' && value !== null && 'zodResponseFormat' in value
}

function isFormat(value: object): value is Format {
  return '$parseRaw' in value
}
