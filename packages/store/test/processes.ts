import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'

/** A program of `test/fixtures`, running in a process of its own. */
export interface Program {
  process: ChildProcess
  /** Resolves with the first line of its output that `matches`. */
  line(matches: RegExp): Promise<string>
  /** Resolves when it has ended, with all its output. */
  end(): Promise<{ code: number | null; signal: NodeJS.Signals | null; lines: string[]; errors: string }>
}

export function run(
  name: string,
  args: readonly string[] = [],
  options: { uid?: number; shell?: string } = {},
): Program {
  const file = fileURLToPath(new URL(`fixtures/${name}`, import.meta.url))
  const command = [process.execPath, '--conditions=@agl/source', '--no-warnings', file, ...args]
  const [program = '', ...rest] =
    options.shell === undefined ? command : ['bash', '-c', `${options.shell}; exec "$@"`, 'bash', ...command]
  const child = spawn(program, rest, {
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(options.uid && { uid: options.uid }),
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  let [output, errors] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text))
  const lines = (): string[] => output.split('\n').slice(0, -1)
  const ended = once(child, 'close')
  return {
    process: child,
    line: (matches) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const found = lines().find((line) => matches.test(line))
          if (found !== undefined) resolve(found)
        }
        child.stdout.on('data', look)
        child.on('close', () =>
          reject(new Error(`${name} ended without a line like ${matches}:\n${output}${errors}`)),
        )
        look()
      }),
    end: async () => {
      await ended
      return { code: child.exitCode, signal: child.signalCode, lines: lines(), errors }
    },
  }
}
