import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const LIMIT = 30_000

/** Compares the process before and after the import; prints what has changed as JSON. */
const PROBE = `
const look = () => ({
  globals: Reflect.ownKeys(globalThis).map(String).sort(),
  listeners: process.eventNames().map((name) => [String(name), process.listenerCount(name)].join(' ')).sort(),
  environment: Object.entries(process.env).map((pair) => pair.join('=')).sort(),
  timers: process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout' || kind === 'TCPSocketWrap').sort(),
})
const parts = () => [fetch, Promise, process.emit, process.on, process.exit, ...Object.values(console)]
const before = look()
const own = parts()
await import(process.argv[1])
const after = look()
const changes = Object.keys(before).filter((key) => JSON.stringify(before[key]) !== JSON.stringify(after[key]))
const now = parts()
if (own.length !== now.length || own.some((part, index) => part !== now[index])) changes.push('patches')
console.log(JSON.stringify(changes))
`

/** Imports a module in a new process and fails where that did more than define things. */
export async function importAlone(module: string | URL, nodeOptions: readonly string[]): Promise<void> {
  const args = [...nodeOptions, '--no-warnings', '--input-type=module', '--eval', PROBE, '--', String(module)]
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: LIMIT })
  const lines = stdout.trim().split('\n')
  assert.deepEqual(lines, ['[]'], `Importing ${String(module)} changed the process or printed something.`)
}
