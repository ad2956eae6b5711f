import type { EmbeddingData, EmbeddingStart } from '@agl/core'
import { usageData } from './chat.ts'
import { defined, fields, list, text, type Fields } from './guards.ts'
import { settings } from './request.ts'

export function embeddingStart(body: Fields, baseURL: string | undefined): EmbeddingStart {
  return defined<EmbeddingStart>({
    provider: 'OpenAI',
    request: settings(body),
    input: body['input'],
    baseURL,
  })
}

/** How many vectors of what length came back; the numbers themselves are not recorded. */
export function embeddingData(body: unknown): EmbeddingData {
  const answer = fields(body)
  const data = list(answer['data'])
  const vector = fields(data[0])['embedding']
  const { usage } = usageData(answer['usage'])
  return defined<EmbeddingData>({
    response: defined<{ model?: string }>({ model: text(answer['model']) }),
    count: data.length,
    dimensions: Array.isArray(vector) || vector instanceof Float32Array ? vector.length : undefined,
    usage,
  })
}
