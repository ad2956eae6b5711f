import { isDict, parsePythonJSON } from '@agl/core/semconv'

/** The URLs of the images in a prompt's messages, in order. `prompt` is a list of messages, a map of them, or one. */
export function imageURLs(prompt: object | null): unknown[] {
  return messagesOf(prompt).flatMap((message) => {
    const content = contentOf(message)
    return Array.isArray(content) ? content.flatMap(urlOf) : []
  })
}

function messagesOf(prompt: object | null): unknown[] {
  if (Array.isArray(prompt)) return prompt
  if (!isDict(prompt)) return []
  const numbered = Object.entries(prompt).filter(([key]) => /^\d+$/.test(key))
  if (numbered.length === 0) return [prompt]
  return numbered.toSorted(([a], [b]) => Number(a) - Number(b)).map(([, message]) => message)
}

/** Contents of several parts are recorded as JSON. */
function contentOf(message: unknown): unknown {
  if (!isDict(message) || !Object.hasOwn(message, 'content')) return undefined
  const { content } = message
  if (typeof content !== 'string') return content
  // Most contents are text, and refusing text takes a parser ten times as long as reading a list.
  if (!/^[ \t\n\r]*\[/.test(content)) return undefined
  try {
    return parsePythonJSON(content)
  } catch {
    return undefined
  }
}

function urlOf(part: unknown): unknown[] {
  if (!isDict(part) || part['type'] !== 'image_url') return []
  const image = part['image_url']
  return isDict(image) && Object.hasOwn(image, 'url') ? [image['url']] : []
}
