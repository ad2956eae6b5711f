import { spawn } from 'node:child_process'

const SCRIPT = `
live=' '
while read -r what group; do
  case $what in
    add) live="$live$group " ;;
    end) live="\${live%%" $group "*} \${live#*" $group "}" ;;
  esac
done
for group in $live; do kill -s KILL -- "-$group"; done
`

/** Ends process groups that their controller can no longer end, because it was killed itself. */
export interface Reaper {
  add(group: number): void
  end(group: number): void
  close(): Promise<void>
}

/** A shell that reads which groups live, and kills them when its input ends without a word. */
export function startReaper(warn: (message: string, cause?: unknown) => void): Reaper {
  // Windows has no process groups.
  if (process.platform === 'win32') return { add() {}, end() {}, close: () => Promise.resolve() }
  // Of its own session, so that what ends the controller's group does not end it.
  const shell = spawn('/bin/sh', ['-c', SCRIPT], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] })
  const { stdin } = shell
  const exited = new Promise<void>((resolve) => {
    shell.on('exit', () => resolve())
    shell.on('error', (error) => {
      warn('Agents will outlive a controller that is killed: there is no /bin/sh.', error)
      resolve()
    })
  })
  stdin.on('error', () => {})
  shell.unref()
  const tell = (what: 'add' | 'end', group: number): void => void stdin.write(`${what} ${group}\n`)
  return {
    add: (group) => tell('add', group),
    end: (group) => tell('end', group),
    async close() {
      shell.ref()
      stdin.end()
      await exited
    },
  }
}
