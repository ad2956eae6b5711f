/**
 * Marks a file as ours in SQLite's header, beside `user_version`, which holds the schema's version. Spells "aglS".
 */
export const APPLICATION_ID = 0x61676c53

/**
 * One step per schema version, the first from an empty file to version 1. A released step never changes.
 *
 * `spans.data` is the span as Agent Lightning's JSON; the columns beside it repeat what is searched and sorted by.
 * `id` gives arrival order. `spans.rollout` and `spans.attempt` are the `id` of those rows: as numbers that grow, they
 * keep what is written together in the same few pages of the indexes, where random texts would touch all of them.
 * `sequences` counts per rollout, whether the rollout is there or not. `rollouts.queued` is a place in the queue, until
 * somebody takes it; `limited` says whether the rollout's config has limits of time. The resources with the highest
 * `place` are the latest.
 */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE rollouts (
    id INTEGER PRIMARY KEY,
    rollout_id TEXT NOT NULL UNIQUE,
    input TEXT NOT NULL,
    start_time REAL NOT NULL,
    end_time REAL,
    mode TEXT,
    resources_id TEXT,
    status TEXT NOT NULL,
    config TEXT NOT NULL,
    metadata TEXT NOT NULL
  ) STRICT;

  CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    rollout_id TEXT NOT NULL,
    attempt_id TEXT NOT NULL,
    sequence_id INTEGER NOT NULL,
    start_time REAL NOT NULL,
    end_time REAL,
    status TEXT NOT NULL,
    worker_id TEXT,
    last_heartbeat_time REAL,
    metadata TEXT NOT NULL,
    UNIQUE (rollout_id, attempt_id),
    UNIQUE (rollout_id, sequence_id)
  ) STRICT;

  CREATE TABLE sequences (
    rollout_id TEXT PRIMARY KEY,
    last INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE spans (
    id INTEGER PRIMARY KEY,
    rollout INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    span_id TEXT NOT NULL,
    sequence_id INTEGER NOT NULL,
    trace_id TEXT NOT NULL,
    parent_id TEXT,
    name TEXT NOT NULL,
    start_time REAL NOT NULL,
    end_time REAL NOT NULL,
    data TEXT NOT NULL,
    UNIQUE (attempt, span_id)
  ) STRICT;

  CREATE INDEX spans_by_sequence ON spans (rollout, sequence_id);
  `,
  `
  ALTER TABLE rollouts ADD COLUMN queued INTEGER;
  ALTER TABLE rollouts ADD COLUMN limited INTEGER NOT NULL DEFAULT 0;
  CREATE INDEX rollouts_queued ON rollouts (queued) WHERE queued IS NOT NULL;
  CREATE INDEX rollouts_watched ON rollouts (id) WHERE limited = 1 AND status IN ('preparing', 'running');

  CREATE TABLE resources (
    id INTEGER PRIMARY KEY,
    resources_id TEXT NOT NULL UNIQUE,
    create_time REAL NOT NULL,
    update_time REAL NOT NULL,
    version INTEGER NOT NULL,
    resources TEXT NOT NULL,
    place INTEGER NOT NULL UNIQUE
  ) STRICT;

  CREATE TABLE workers (
    id INTEGER PRIMARY KEY,
    worker_id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    heartbeat_stats TEXT NOT NULL,
    last_heartbeat_time REAL,
    last_dequeue_time REAL,
    last_busy_time REAL,
    last_idle_time REAL,
    current_rollout_id TEXT,
    current_attempt_id TEXT
  ) STRICT;
  `,
]
