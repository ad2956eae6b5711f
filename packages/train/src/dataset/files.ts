import { stat } from 'node:fs/promises'
import { AglError } from '@agl/core'

export function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** The size of a file in bytes, undefined where there is none. @throws AglError `usage` for what is no file */
export async function sizeOf(path: string): Promise<number | undefined> {
  const there = await stat(path).catch(() => undefined)
  if (there?.isFile() === false) {
    throw new AglError('usage', `${path} is no file; choose another, or leave it out for standard output.`)
  }
  return there?.size
}

export function notOurs(path: string): AglError {
  const message = `${path} is there already and was not begun by an export; choose another file, or remove it.`
  return new AglError('usage', message)
}

export function notWritable(path: string, cause: unknown): AglError {
  const message = `${path} cannot be written (${reason(cause)}); choose another file.`
  return new AglError('usage', message, { cause })
}

/** @param remedy what an export to the same file does then */
export function stopped(path: string, cause: unknown, remedy: string): AglError {
  const message = `${path} cannot be written any more (${reason(cause)}); ${remedy}.`
  return new AglError('sink_failed', message, { cause })
}
