import type { NewRollout } from '../engine.ts'
import { configToJSON } from '../json.ts'
import { DEFAULT_CONFIG } from '../lifecycle.ts'
import type { AttemptUpdate, RolloutUpdate } from '../types.ts'

/*
 * Checked requests as the JSON that goes to a server. `undefined` is left out, so that it stays as it is there.
 */

/** Input and metadata are JSON text already, which is not read once more. */
export function rolloutText(request: NewRollout, rest: Record<string, unknown> = {}): string {
  const { input, metadata, mode, resourcesId, config } = request
  const fields = JSON.stringify({ mode, resources_id: resourcesId, config: configToJSON(config), ...rest })
  return `{"input":${input},"metadata":${metadata},${fields.slice(1)}`
}

export function rolloutUpdateText({
  input,
  mode,
  resourcesId,
  status,
  config,
  metadata,
}: RolloutUpdate): string {
  return JSON.stringify({
    input,
    mode,
    resources_id: resourcesId,
    status,
    config: config && configToJSON({ ...DEFAULT_CONFIG, ...config }),
    metadata,
  })
}

export function attemptUpdateText({
  status,
  workerId,
  lastHeartbeatTime,
  metadata,
  endTime,
}: AttemptUpdate): string {
  return JSON.stringify({
    status,
    worker_id: workerId,
    last_heartbeat_time: lastHeartbeatTime,
    metadata,
    end_time: endTime,
  })
}

/** A query in the names of the API; values of `sortBy` are names too. */
export function queryJSON(query: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(query)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]: [string, unknown]) => [
        snakeCase(name),
        name === 'sortBy' ? snakeCase(String(value)) : value,
      ]),
  )
}

/** The same behind a question mark, for what has no way by a body. */
export function queryURL(query: object): string {
  const parameters = new URLSearchParams()
  for (const [name, value] of Object.entries(queryJSON(query))) parameters.set(name, String(value))
  return parameters.toString()
}

function snakeCase(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}
