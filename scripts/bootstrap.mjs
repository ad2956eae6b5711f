/**
 * Runs `node ARGUMENTS` with everything the repository needs, starting from a bare Node 20 and npm: fetches pnpm when there is
 * none, installs the dependencies when they are not those of the lockfile, and uses the Node among them where the machine's own
 * is outside the supported range. Plain JavaScript without dependencies, because it runs before there are any.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { basename, delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const windows = process.platform === 'win32'
const toolsBin = join(root, '.tools/node_modules/.bin')
const modulesBin = join(root, 'node_modules/.bin')
const ownNode = join(root, 'node_modules/node/bin', windows ? 'node.exe' : 'node')
const attempts = 3

const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const pnpmVersion = packageManager.replace('pnpm@', '')
const env = {
  ...process.env,
  PATH: [modulesBin, toolsBin, process.env.PATH].join(delimiter),
  COREPACK_ENABLE_DOWNLOAD_PROMPT: '0',
}

const say = (line) => console.error(`setup: ${line}`)

function fail(sentence) {
  say(sentence)
  process.exit(1)
}

/** ^22.18 || ^24.11 || >=26: what the published packages and the tools in use share. */
function nodeIsSupported() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  return (major === 22 && minor >= 18) || (major === 24 && minor >= 11) || major >= 26
}

function pnpmIsUsable(command) {
  const result = spawnSync(command, ['--version'], {
    cwd: root,
    env,
    encoding: 'utf8',
    shell: windows,
    timeout: 60_000,
  })
  return result.status === 0 && result.stdout.trim().split('.')[0] === pnpmVersion.split('.')[0]
}

/** Runs a command that needs the network, again after a pause when it fails. */
async function withRetries(command, args) {
  for (let attempt = 1; attempt <= attempts; attempt++) {
    const { status } = spawnSync(command, args, { cwd: root, env, shell: windows, stdio: ['ignore', 2, 2] })
    if (status === 0) return true
    if (attempt === attempts) return false
    say(
      `"${basename(command)} ${args[0]}" failed (try ${attempt} of ${attempts}); trying again in ${attempt * 3} s.`,
    )
    await sleep(attempt * 3000)
  }
}

async function findPnpm() {
  const fetched = join(toolsBin, 'pnpm')
  if (existsSync(fetched) && pnpmIsUsable(fetched)) return fetched
  if (pnpmIsUsable('pnpm')) return 'pnpm'
  say(
    `pnpm ${pnpmVersion.split('.')[0]}, which installs the dependencies, is not here: fetching pnpm ${pnpmVersion} from the npm registry into .tools/.`,
  )
  const args = [
    'install',
    '--prefix',
    '.tools',
    '--no-audit',
    '--no-fund',
    '--loglevel=error',
    `pnpm@${pnpmVersion}`,
  ]
  if (!(await withRetries('npm', args)))
    fail(`pnpm could not be fetched; check the network, or install pnpm ${pnpmVersion} yourself.`)
  return fetched
}

/** pnpm keeps a copy of the lockfile that it last installed. */
function isInstalled() {
  const installed = join(root, 'node_modules/.pnpm/lock.yaml')
  if (!existsSync(installed) || !existsSync(ownNode)) return false
  return readFileSync(installed).equals(readFileSync(join(root, 'pnpm-lock.yaml')))
}

async function installDependencies() {
  if (isInstalled()) return
  const pnpm = await findPnpm()
  say('installing the dependencies named in pnpm-lock.yaml from the npm registry.')
  if (!nodeIsSupported())
    say(
      `this machine has Node ${process.versions.node}; Node 24, which the project runs on, comes with them as the npm package "node".`,
    )
  if (
    !(await withRetries(pnpm, ['install', '--frozen-lockfile', '--reporter=append-only', '--loglevel=warn']))
  )
    fail('the dependencies could not be installed; see the lines above.')
  if (!existsSync(ownNode))
    fail('the npm package "node" came without its program; remove node_modules and try again.')
}

await installDependencies()

const child = spawn(nodeIsSupported() ? process.execPath : ownNode, process.argv.slice(2), {
  cwd: root,
  env,
  stdio: 'inherit',
})
child.on('error', (error) => fail(`Node could not be started: ${error.message}`))
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    // Ctrl-C at a terminal reaches the child by itself; passing it on would count twice.
    if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal)
  })
}
child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]))
