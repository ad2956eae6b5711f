import { text } from 'node:stream/consumers'
import { type SpanJSON, type TraceRecord, spanFromJSON } from '@agl/core'
import { openStore } from './open.ts'
import { storeSink } from './sink.ts'
import type { Opening } from './opened.ts'

/*
 * A program of its own, which writes what another has to say at its end: read from standard input.
 */

export interface LastWords extends Opening {
  spans: SpanJSON[]
  traces: TraceRecord[]
}

const words: LastWords = JSON.parse(await text(process.stdin))
const store = await openStore(words.url, words.options)
try {
  await storeSink(store).write(words.spans.map(spanFromJSON), words.traces)
} finally {
  await store.close()
}
