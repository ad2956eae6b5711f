import { styleText } from 'node:util'
import type { Style } from './render/text.ts'

/** Colours where standard output is a terminal that shows them; NO_COLOR turns them off. */
export function paint(style: Style, text: string): string {
  return text === '' ? '' : styleText(style, text, { stream: process.stdout })
}

/** How long lines may be: what the terminal shows, or enough for a log file. */
export function columns(): number {
  return process.stdout.isTTY ? process.stdout.columns : 160
}

export function print(lines: readonly string[]): void {
  console.log(lines.join('\n'))
}

/** How to call this command again, the way it was called now. */
export function command(): string {
  if (import.meta.url.endsWith('.ts')) return 'npm run agl --'
  return process.env['npm_command'] === undefined ? 'agl' : 'npx agl'
}
