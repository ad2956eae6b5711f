import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { offline, pythonEnvironment, pythonFolder } from './environment.ts'

/** A Python program that answers each line of JSON with one. */
export interface PythonProgram extends AsyncDisposable {
  /** The first line that it printed, by which it says that it is ready. */
  readonly hello: unknown
  ask(question: unknown): Promise<unknown>
}

interface Waiting {
  resolve: (answer: unknown) => void
  reject: (error: Error) => void
}

/**
 * Starts `python/PROGRAM` in the environment `environment` and waits for its first line. It ends when its standard input
 * does, so that none is left behind when we are killed.
 */
export async function startPython(
  environment: string,
  program: string,
  args: readonly string[] = [],
): Promise<PythonProgram> {
  const python = await pythonEnvironment(environment)
  const child = spawn(python, [join(pythonFolder, program), ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...offline },
  })
  let problems = ''
  child.stderr.on('data', (text: Buffer) => {
    problems = (problems + text.toString()).slice(-8000)
  })
  const waiting: Waiting[] = []
  const answers = createInterface({ input: child.stdout })
  answers.on('line', (line) => {
    const next = waiting.shift()
    try {
      next?.resolve(JSON.parse(line))
    } catch {
      next?.reject(new Error(`${program} printed what is no JSON: ${line}`))
    }
  })
  const exited = new Promise<void>((resolve) => {
    const over = (reason: string): void => {
      for (const { reject } of waiting.splice(0)) reject(new Error(`${program} ${reason}.\n${problems}`))
      resolve()
    }
    child.on('error', (error) => over(`could not be started: ${error.message}`))
    child.on('exit', (code, signal) => over(`ended with ${code ?? signal}`))
  })
  const answer = (): Promise<unknown> => new Promise((resolve, reject) => waiting.push({ resolve, reject }))
  return {
    hello: await answer(),
    ask(question) {
      const answered = answer()
      child.stdin.write(`${JSON.stringify(question)}\n`)
      return answered
    },
    async [Symbol.asyncDispose]() {
      child.stdin.end()
      const late = setTimeout(() => child.kill('SIGKILL'), 10_000)
      await exited
      clearTimeout(late)
    },
  }
}
