import { expect, onTestFinished } from 'vitest'
import { openStore } from '../src/index.ts'
import { run } from './processes.ts'
import { llmSpan } from './spans.ts'

/** Kills a server of the store again and again under load. Resolves to what it acknowledged and does not have. */
export async function lostByKills(storeURL: string): Promise<string[]> {
  let server = run('serve.ts', [storeURL])
  const url = await server.line(/^http/)
  const store = await openStore(url)
  onTestFinished(() => store.close())
  const acknowledged = { spans: new Set<string>(), enqueued: new Set<string>(), ended: new Set<string>() }
  let over = false
  const worker = async (): Promise<void> => {
    while (!over) {
      try {
        const [rollout] = await store.enqueueRollouts([{ input: 'load' }])
        acknowledged.enqueued.add(rollout?.rolloutId ?? '')
        const { rolloutId, attempt } = await store.startRollout()
        const ids = { rolloutId, attemptId: attempt.attemptId }
        const spans = Array.from({ length: 20 }, () => llmSpan(ids))
        await store.addSpans(spans)
        for (const { spanId } of spans) acknowledged.spans.add(`${rolloutId}/${spanId}`)
        await store.updateAttempt(rolloutId, 'latest', { status: 'succeeded' })
        acknowledged.ended.add(rolloutId)
      } catch {
        // Not acknowledged, so not counted.
      }
    }
  }
  const workers = Array.from({ length: 8 }, worker)
  for (let kills = 0; kills < 2; kills++) {
    const before = acknowledged.ended.size
    await expect.poll(() => acknowledged.ended.size, { timeout: 30_000 }).toBeGreaterThan(before + 20)
    server.process.kill('SIGKILL')
    await server.end()
    server = run('serve.ts', [storeURL, new URL(url).port])
    await server.line(/^http/)
  }
  over = true
  await Promise.all(workers)
  server.process.kill('SIGKILL')
  await server.end()

  const kept = await openStore(storeURL)
  onTestFinished(() => kept.close())
  const { items } = await kept.queryRollouts()
  const statuses = new Map(items.map(({ rolloutId, status }) => [rolloutId, status]))
  const spans = new Set<string>()
  for (const { rolloutId } of items) {
    for (const { spanId } of (await kept.querySpans({ rolloutId })).items) spans.add(`${rolloutId}/${spanId}`)
  }
  return [
    ...[...acknowledged.spans].filter((key) => !spans.has(key)),
    ...[...acknowledged.enqueued].filter((id) => statuses.get(id) !== 'queuing'),
    ...[...acknowledged.ended].filter((id) => statuses.get(id) !== 'succeeded'),
  ]
}
