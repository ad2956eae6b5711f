import { AglError } from '@agl/core'
import { isObject } from '../json-reader.ts'
import type { Page, StoreStatistics } from '../types.ts'

/*
 * What servers answer, checked.
 */

export function listOf<Item>(answer: unknown, read: (value: unknown) => Item): Item[] {
  if (Array.isArray(answer)) return answer.map(read)
  throw unexpected()
}

export function pageOf<Item>(answer: unknown, read: (value: unknown) => Item): Page<Item> {
  if (!isObject(answer)) throw unexpected()
  const { items, limit, offset, total } = answer
  return { items: listOf(items, read), limit: Number(limit), offset: Number(offset), total: Number(total) }
}

/** What is null where there is none. */
export function maybe<Item>(answer: unknown, read: (value: unknown) => Item): Item | undefined {
  return answer === null ? undefined : read(answer)
}

export function statisticsOf(answer: unknown, name: string): StoreStatistics {
  if (!isObject(answer)) throw unexpected()
  const count = (key: string): number => Number(answer[key] ?? 0)
  return {
    name,
    totalRollouts: count('total_rollouts'),
    totalAttempts: count('total_attempts'),
    totalSpans: count('total_spans'),
    totalResources: count('total_resources'),
    totalWorkers: count('total_workers'),
    uptime: count('uptime'),
  }
}

export function unexpected(): AglError {
  return new AglError('store_unavailable', 'The server answered with something else than was asked for.')
}
