import { AglError, isLogLevel } from './errors.ts'
import type { CaptureOptions, Config, QueueOptions } from './types.ts'

interface Rule {
  is(value: unknown): boolean
  must: string
}
type Rules = { readonly [key: string]: Rule | Rules }

const BOOLEAN: Rule = { is: (value) => typeof value === 'boolean', must: 'be true or false' }
const TEXT: Rule = { is: (value) => typeof value === 'string', must: 'be a text' }
const COUNT: Rule = { is: (value) => isNumber(value) && value >= 1, must: 'be a number from 1 on' }
// Longer timers fire at once.
const MILLISECONDS: Rule = {
  is: (value) => isNumber(value) && value >= 0 && value < 2 ** 31,
  must: 'be a number of milliseconds from 0 to 2147483647',
}
const CAPTURE: Record<keyof CaptureOptions, Rule> = {
  content: BOOLEAN,
  tokens: BOOLEAN,
  redact: { is: (value) => typeof value === 'function', must: 'be a function' },
}
const QUEUE: Record<keyof QueueOptions, Rule> = {
  size: COUNT,
  interval: MILLISECONDS,
  batch: COUNT,
  keepAlive: BOOLEAN,
}
const OVERLAY: Record<Exclude<keyof Config, 'environment' | 'environments'>, Rule | Rules> = {
  plugins: listOf('setup', 'be a list of plugins; did you forget to call a factory, as in vllm()?'),
  sinks: listOf('write', 'be a list of sinks, each with a name and a write()'),
  exporters: {
    is: (value) => Array.isArray(value) && value.every((item) => has(item, 'export')),
    must: "be a list of OpenTelemetry's span exporters",
  },
  capture: CAPTURE,
  strict: BOOLEAN,
  log: {
    is: (value) => isLogLevel(value) || (isRecord(value) && Object.values(value).every(isLogLevel)),
    must: 'be silent, error, warn, info or debug, or an object of such levels by scope',
  },
  drain: MILLISECONDS,
  queue: QUEUE,
  serviceName: TEXT,
  outside: { is: (value) => value === 'record' || value === 'ignore', must: "be 'record' or 'ignore'" },
}
const OPTIONS: Rules = {
  ...OVERLAY,
  environment: TEXT,
  environments: { is: isRecord, must: 'be an object of configurations by name' },
}

/** Checks `config` and lays the environment's overlay over it: objects merge by name, arrays and the rest replace. */
export function resolveConfig(config: Config): Config {
  check(config, OPTIONS, '')
  for (const [name, overlay] of Object.entries(config.environments ?? {}))
    check(overlay, OVERLAY, `environments.${name}.`)
  const env = typeof process === 'object' ? process.env : undefined
  const name = config.environment ?? env?.['AGL_ENV'] ?? env?.['NODE_ENV']
  const given = name === undefined ? undefined : config.environments?.[name]
  if (given === undefined) return config
  const overlay = present(given)
  return {
    ...config,
    ...overlay,
    ...merged('capture', config, overlay),
    ...merged('queue', config, overlay),
    ...merged('log', config, overlay),
  }
}

function merged(key: 'capture' | 'queue' | 'log', config: Config, overlay: Config): Config {
  const [below, above] = [config[key], overlay[key]]
  return isRecord(below) && isRecord(above) ? { [key]: { ...below, ...present(above) } } : {}
}

/** Undefined is not given: an overlay must not lift a setting by it. */
function present<T extends object>(options: T): Partial<T>
function present(options: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
}

function check(given: unknown, rules: Rules, path: string): void {
  if (!isRecord(given))
    throw invalid(
      path === ''
        ? 'The configuration must be an object; export it with defineConfig({ … }).'
        : `The option "${path.slice(0, -1)}" must be an object.`,
    )
  for (const [key, value] of Object.entries(given)) {
    const rule = Object.hasOwn(rules, key) ? rules[key] : undefined
    if (rule === undefined)
      throw invalid(
        `The configuration has no option "${path}${key}"; known are: ${Object.keys(rules).join(', ')}.`,
      )
    if (value === undefined) continue
    if (!isRule(rule)) check(value, rule, `${path}${key}.`)
    else if (!rule.is(value)) throw invalid(`The option "${path}${key}" must ${rule.must}.`)
  }
}

function invalid(message: string): AglError {
  return new AglError('config_invalid', message)
}

function listOf(method: string, must: string): Rule {
  const fits = (item: unknown): boolean =>
    isRecord(item) && typeof item['name'] === 'string' && has(item, method)
  return { is: (value) => Array.isArray(value) && value.every(fits), must }
}

function has(item: unknown, method: string): boolean {
  return isRecord(item) && typeof item[method] === 'function'
}

function isRule(rule: Rule | Rules): rule is Rule {
  return typeof rule['is'] === 'function'
}

function isNumber(value: unknown): value is number {
  return typeof value === 'number'
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
