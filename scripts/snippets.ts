import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './workspace.ts'

/** A fenced code block of one of the documents. */
export interface Snippet {
  /** The document, relative to the root. */
  readonly document: string
  /** The line of the document on which the code starts, from 1. */
  readonly line: number
  readonly language: string
  /** What follows the language on the fence's line: `run`, `no-check REASON`. */
  readonly info: string
  /** The name in the comment on the first line (`// agl.config.ts`), by which other blocks of the document import it. */
  readonly fileName: string | undefined
  readonly code: string
}

/** The documents that users read. */
export function documents(): string[] {
  return globSync(
    ['README.md', 'CONTRIBUTING.md', 'docs/**/*.md', '{packages,templates,examples}/*/README.md'],
    {
      cwd: root,
    },
  ).toSorted()
}

export function snippetsOf(document: string): Snippet[] {
  const lines = readFileSync(join(root, document), 'utf8').split('\n')
  const snippets: Snippet[] = []
  for (let index = 0; index < lines.length; index++) {
    const [, fence, language, info] = /^(`{3,})(\w+)?\s*(.*)$/.exec(lines[index] ?? '') ?? []
    if (fence === undefined) continue
    const start = index + 1
    while (index + 1 < lines.length && lines[index + 1]?.trimEnd() !== fence) index++
    index++
    const code = lines.slice(start, index).join('\n')
    const fileName = /^\/\/ ([\w./-]+\.[cm]?[jt]s)\b/.exec(code)?.[1]
    snippets.push({ document, line: start + 1, language: language ?? '', info: info ?? '', fileName, code })
  }
  return snippets
}
