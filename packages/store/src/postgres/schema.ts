/**
 * One step per schema version, the first from an empty schema to version 1, each a list of statements in which `{name}`
 * is a table. A released step never changes. Plain SQL, so that databases which speak PostgreSQL's protocol take it too.
 *
 * The tables are those of the SQLite file. Texts are TEXT, not JSON: they hold what JSON.stringify gives, of which
 * `jsonb` refuses some (`\u0000`, lone surrogates). `places` counts places in the queue and among the resources.
 */
export const MIGRATIONS: readonly (readonly string[])[] = [
  [
    'CREATE SEQUENCE {places}',
    `CREATE TABLE {rollouts} (
      id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      rollout_id TEXT NOT NULL UNIQUE,
      input TEXT NOT NULL,
      start_time DOUBLE PRECISION NOT NULL,
      end_time DOUBLE PRECISION,
      mode TEXT,
      resources_id TEXT,
      status TEXT NOT NULL,
      config TEXT NOT NULL,
      metadata TEXT NOT NULL,
      limited INTEGER NOT NULL,
      queued BIGINT
    )`,
    'CREATE INDEX rollouts_queued ON {rollouts} (queued) WHERE queued IS NOT NULL',
    `CREATE INDEX rollouts_watched ON {rollouts} (id) WHERE limited = 1 AND status IN ('preparing', 'running')`,
    `CREATE TABLE {attempts} (
      id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      rollout_id TEXT NOT NULL,
      attempt_id TEXT NOT NULL,
      sequence_id BIGINT NOT NULL,
      start_time DOUBLE PRECISION NOT NULL,
      end_time DOUBLE PRECISION,
      status TEXT NOT NULL,
      worker_id TEXT,
      last_heartbeat_time DOUBLE PRECISION,
      metadata TEXT NOT NULL,
      UNIQUE (rollout_id, attempt_id),
      UNIQUE (rollout_id, sequence_id)
    )`,
    `CREATE TABLE {sequences} (
      rollout_id TEXT PRIMARY KEY,
      last BIGINT NOT NULL
    )`,
    `CREATE TABLE {spans} (
      id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      rollout BIGINT NOT NULL,
      attempt BIGINT NOT NULL,
      span_id TEXT NOT NULL,
      sequence_id BIGINT NOT NULL,
      trace_id TEXT NOT NULL,
      parent_id TEXT,
      name TEXT NOT NULL,
      start_time DOUBLE PRECISION NOT NULL,
      end_time DOUBLE PRECISION NOT NULL,
      data TEXT NOT NULL,
      UNIQUE (attempt, span_id)
    )`,
    'CREATE INDEX spans_by_sequence ON {spans} (rollout, sequence_id)',
    `CREATE TABLE {resources} (
      id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      resources_id TEXT NOT NULL UNIQUE,
      create_time DOUBLE PRECISION NOT NULL,
      update_time DOUBLE PRECISION NOT NULL,
      version BIGINT NOT NULL,
      resources TEXT NOT NULL,
      place BIGINT NOT NULL UNIQUE
    )`,
    `CREATE TABLE {workers} (
      id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      worker_id TEXT NOT NULL UNIQUE,
      status TEXT NOT NULL,
      heartbeat_stats TEXT NOT NULL,
      last_heartbeat_time DOUBLE PRECISION,
      last_dequeue_time DOUBLE PRECISION,
      last_busy_time DOUBLE PRECISION,
      last_idle_time DOUBLE PRECISION,
      current_rollout_id TEXT,
      current_attempt_id TEXT
    )`,
  ],
]
