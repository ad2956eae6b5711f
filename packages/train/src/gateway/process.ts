import { spawn, type ChildProcess } from 'node:child_process'
import type { Reaper } from './reaper.ts'

export type Command = readonly [string, ...string[]]

export interface ProcessOptions {
  command: Command
  env: Readonly<Record<string, string | undefined>>
  cwd?: string
  /** Whether what it prints is printed here too. */
  output: 'inherit' | 'ignore'
  reaper: Reaper
}

/** How a process ended. */
export interface ProcessEnd {
  succeeded: boolean
  /** In words, if it did not succeed. */
  why: string
}

export interface AgentProcess {
  /** Resolves, and never rejects, when the process is gone and nothing of its group is left. */
  ended: Promise<ProcessEnd>
  /** Ends the whole group at once; false where it has ended already. */
  kill(): boolean
}

const TAIL = 2000
const TAIL_WAIT = 500

/** Starts a command as the head of a process group of its own. */
export function startProcess({ command, env, cwd, output, reaper }: ProcessOptions): AgentProcess {
  const [file, ...args] = command
  let child: ChildProcess
  try {
    child = spawn(file, args, {
      detached: true,
      stdio: ['ignore', output, 'pipe'],
      env,
      ...(cwd === undefined ? {} : { cwd }),
    })
  } catch (error) {
    return { ended: Promise.resolve(notStarted(error)), kill: () => false }
  }
  const { pid, stderr } = child
  if (pid !== undefined) reaper.add(pid)
  let tail = Buffer.alloc(0)
  stderr?.on('data', (data: Buffer) => {
    if (output === 'inherit') process.stderr.write(data)
    tail = Buffer.concat([tail, data]).subarray(-TAIL)
  })
  let alive = pid !== undefined
  const closed = new Promise<void>((resolve) => void child.once('close', () => resolve()))
  const ended = new Promise<ProcessEnd>((resolve) => {
    child.once('error', (error) => {
      if (pid === undefined) resolve(notStarted(error))
    })
    child.once('exit', (code, signal) => {
      // What the agent has left behind would go on working for a rollout that is over.
      alive = false
      if (pid !== undefined) {
        killGroup(pid)
        reaper.end(pid)
      }
      // The last lines may still be under way; a process that has left the group can hold the pipe open for ever.
      const late = setTimeout(finish, TAIL_WAIT)
      void closed.then(finish)
      function finish(): void {
        clearTimeout(late)
        stderr?.destroy()
        const how = signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`
        const last = lastLines(tail)
        resolve({ succeeded: code === 0, why: `The agent ${how}${last === '' ? '.' : `: ${last}`}` })
      }
    })
  })
  return {
    ended,
    kill() {
      if (alive && pid !== undefined) killGroup(pid)
      return alive
    },
  }
}

/** Whole lines, where there are some. */
function lastLines(tail: Buffer): string {
  const text = tail.toString()
  const start = tail.length < TAIL ? 0 : text.indexOf('\n') + 1
  return text.slice(start).trim()
}

function killGroup(pid: number): void {
  try {
    process.kill(process.platform === 'win32' ? pid : -pid, 'SIGKILL')
  } catch {
    // It is gone.
  }
}

function notStarted(error: unknown): ProcessEnd {
  const why = error instanceof Error ? error.message : String(error)
  return { succeeded: false, why: `The agent could not be started: ${why}` }
}
