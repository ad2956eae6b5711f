export type GatewayState = 'queuing' | 'running' | 'succeeded' | 'failed'

/** How a controller is to run a rollout. */
export interface GatewayConfig {
  /** From the start of the agent; 0 is no limit. */
  timeoutSeconds: number
  local: {
    /** Which agent to run, in the names of the controller. */
    agentClass: string | null
    /** Environment variables of the agent: `input`, a path such as `input.files.0.name`, or the value itself. */
    envMap: Record<string, string>
  } | null
  k8s: { jobTemplate: string | null } | null
}

/** A rollout of Agent Lightning 1.0. Times are Unix seconds. */
export interface GatewayRollout {
  rolloutId: string
  input: unknown
  /** Whether its calls go to the model in train or in val mode. */
  isTrain: boolean
  config: GatewayConfig
  /** In the algorithm's own names, such as `batch_idx`. */
  metadata: Record<string, unknown>
  status: {
    state: GatewayState
    /** Who runs it. */
    k8sJobName: string | null
    lastAttemptId: string | null
    errorMessage: string | null
    /** One more with each change. */
    version: number
    createdAt: number
    updatedAt: number
  }
}

export interface EnqueueInput {
  input: unknown
  /** @default true */
  isTrain?: boolean
  config?: {
    /** @default 3600 */
    timeoutSeconds?: number
    local?: { agentClass?: string; envMap?: Record<string, string> }
    k8s?: { jobTemplate?: string }
  }
  metadata?: Record<string, unknown>
  /** A rollout that exists under this id is returned as it is. @default a new id */
  rolloutId?: string
}

export interface StatusPatch {
  state?: GatewayState
  k8sJobName?: string
  lastAttemptId?: string
  errorMessage?: string
}

/** A rollout that has ended. */
export interface TerminalRollout {
  rolloutId: string
  state: GatewayState
  /** `data_id` or `instance_id` of its input, else empty. */
  dataId: string
  isTrain: boolean
}

export interface TerminalPage {
  items: TerminalRollout[]
  /** The cursor after this page. */
  nextAfter: number
  /** All that have ended since the gateway was started, the deleted ones too. */
  totalTerminal: number
}

/** Something that happened in an attempt. */
export interface GatewayEvent {
  /** `model_request`, `reward`, or any other. */
  eventType: string
  rolloutId: string
  attemptId: string
  /** When the gateway got it, in Unix seconds. */
  timestamp: number
  data: Record<string, unknown>
}

/** A model call, as a trainer uses it. */
export interface ModelRequest {
  /** Empty where the model server gave none. */
  promptTokenIds: number[]
  responseTokenIds: number[]
  /** One per response token; null where there are none, or not all of them are numbers. */
  responseLogProbs: number[] | null
  server: { model: string | null; version: number | null }
  httpStatus: number | null
  status: string | null
  /** What the model server said in place of an answer. */
  error?: unknown
}

export interface GatewayReward {
  /** Null where something else than a number was sent. */
  value: number | null
  source: string | null
  reason: string | null
}

/** An event cut down to what training needs; `kind` says which. */
export type TripletEvent = Omit<GatewayEvent, 'data'> &
  (
    | { kind: 'model_request'; data: ModelRequest }
    | { kind: 'reward'; data: GatewayReward }
    | { kind: 'other'; data: Record<string, unknown> }
  )

/** Where a model is served. */
export interface GatewayModel {
  model: string
  /** With the API's path: `http://127.0.0.1:8000/v1`. */
  endpoint: string
  /** The training step that the weights are of. @default 0 */
  version?: number
}

export interface PauseOptions {
  /** After how many seconds agents are told to come again. @default 5 */
  retryAfterSeconds?: number
  /** For people; agents read it in their refusal. */
  reason?: string
}

/** Whether model calls are let through. */
export interface ProxyState {
  paused: boolean
  retryAfterSeconds: number
  /** Why it is paused, where that was said. */
  reason: string | null
  /** Model calls that are under way. */
  inflight: number
}
