-- Where backups go, what is known of each place, and when the next is due.

CREATE TABLE backup_targets (
  address TEXT PRIMARY KEY,
  id TEXT NOT NULL,
  last_number BIGINT NOT NULL,
  last_at BIGINT NOT NULL,
  every_s BIGINT NOT NULL,
  since BIGINT NOT NULL,
  keep TEXT NOT NULL,
  credentials {BLOB},
  is_paused INTEGER NOT NULL,
  tried_at BIGINT NOT NULL,
  fault TEXT NOT NULL
);
