import { AglError } from './errors.ts'
import type { Config } from './types.ts'

const KNOWN: Record<keyof Config, (value: unknown) => boolean> = {
  plugins: Array.isArray,
  sinks: Array.isArray,
  exporters: Array.isArray,
  capture: isRecord,
  environment: (value) => typeof value === 'string',
  environments: isRecord,
  strict: (value) => typeof value === 'boolean',
  log: (value) => typeof value === 'string' || isRecord(value),
  drain: (value) => typeof value === 'number' && value >= 0,
  queue: isRecord,
  serviceName: (value) => typeof value === 'string',
  outside: (value) => value === 'record' || value === 'ignore',
}
const KNOWN_INSIDE: Partial<Record<keyof Config, readonly string[]>> = {
  capture: ['content', 'tokens', 'redact'],
  queue: ['size', 'interval', 'batch'],
}

/** Checks `config` and lays the environment's overlay over it: objects merge by name, arrays and the rest replace. */
export function resolveConfig(config: Config): Config {
  check(config, '')
  const env = typeof process === 'object' ? process.env : undefined
  const name = config.environment ?? env?.['AGL_ENV'] ?? env?.['NODE_ENV']
  const overlay = name === undefined ? undefined : config.environments?.[name]
  if (overlay === undefined) return config
  check(overlay, `environments.${name}.`)
  const log =
    typeof config.log === 'object' && typeof overlay.log === 'object'
      ? { log: { ...config.log, ...overlay.log } }
      : {}
  return {
    ...config,
    ...overlay,
    ...merged('capture', config, overlay),
    ...merged('queue', config, overlay),
    ...log,
  }
}

function merged(key: 'capture' | 'queue', config: Config, overlay: Config): Config {
  return config[key] !== undefined && overlay[key] !== undefined
    ? { [key]: { ...config[key], ...overlay[key] } }
    : {}
}

function check(config: Config, path: string): void {
  const given: unknown = config
  if (!isRecord(given))
    throw new AglError(
      'config_invalid',
      'The configuration must be an object; export it with defineConfig({ … }).',
    )
  for (const [key, value] of Object.entries(given)) {
    const valid = isKnown(key) ? KNOWN[key] : undefined
    if (valid === undefined) {
      throw new AglError(
        'config_invalid',
        `The configuration has no option "${path}${key}"; known are: ${Object.keys(KNOWN).join(', ')}.`,
      )
    }
    if (value !== undefined && !valid(value)) {
      throw new AglError(
        'config_invalid',
        `The option "${path}${key}" has a value of the wrong kind; see the table of options in the README.`,
      )
    }
    const inside = isKnown(key) && isRecord(value) ? KNOWN_INSIDE[key] : undefined
    const odd =
      inside && isRecord(value) ? Object.keys(value).find((name) => !inside.includes(name)) : undefined
    if (odd !== undefined) {
      throw new AglError(
        'config_invalid',
        `The configuration has no option "${path}${key}.${odd}"; known are: ${inside?.join(', ')}.`,
      )
    }
  }
  const plugins: readonly unknown[] = config.plugins ?? []
  for (const plugin of plugins) {
    if (!isRecord(plugin) || typeof plugin['name'] !== 'string' || typeof plugin['setup'] !== 'function') {
      throw new AglError(
        'config_invalid',
        `The option "${path}plugins" holds something that is not a plugin; did you forget to call its factory, as in vllm()?`,
      )
    }
  }
}

function isKnown(key: string): key is keyof Config {
  return Object.hasOwn(KNOWN, key)
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
