-- The house: resources with their events, versions with their lineage, people with their tokens.
-- {BLOB}, {SERIAL} are filled in for the database in use. Times are microseconds since 1970, UTC. JSON is text.

CREATE TABLE events (
  seq {SERIAL},
  at BIGINT NOT NULL,
  workspace TEXT NOT NULL,
  subject TEXT NOT NULL,
  kind TEXT NOT NULL,
  verb TEXT NOT NULL,
  body {BLOB} NOT NULL,
  leaf {BLOB} NOT NULL
);
CREATE INDEX events_subject ON events (subject, seq);
CREATE INDEX events_workspace ON events (workspace, seq);

CREATE TABLE resources (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  workspace TEXT NOT NULL,
  name TEXT NOT NULL,
  name_key TEXT,
  spec TEXT NOT NULL,
  status TEXT NOT NULL,
  state TEXT NOT NULL,
  owner TEXT NOT NULL,
  is_final INTEGER NOT NULL,
  revision BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
-- name_key is the name where a kind's names are unique, else null (nulls never collide).
CREATE UNIQUE INDEX resources_name ON resources (kind, workspace, name_key);
CREATE INDEX resources_list ON resources (kind, workspace, id);
CREATE INDEX resources_state ON resources (kind, workspace, state, id);
CREATE INDEX resources_named ON resources (kind, workspace, name, id);
CREATE INDEX resources_alive ON resources (kind, state, id) WHERE is_final = 0;
CREATE INDEX resources_owner ON resources (owner, id) WHERE owner <> '';

CREATE TABLE versions (
  id TEXT PRIMARY KEY,
  workspace TEXT NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  number BIGINT NOT NULL,
  digest TEXT NOT NULL,
  size_bytes BIGINT NOT NULL,
  files TEXT NOT NULL,
  meta TEXT NOT NULL,
  parents TEXT NOT NULL,
  job TEXT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX versions_number ON versions (workspace, kind, name, number);
CREATE INDEX versions_list ON versions (workspace, id);
CREATE INDEX versions_kind ON versions (workspace, kind, id);
CREATE INDEX versions_job ON versions (job, kind, id) WHERE job <> '';

CREATE TABLE edges (
  child TEXT NOT NULL,
  role TEXT NOT NULL,
  parent TEXT NOT NULL,
  PRIMARY KEY (child, role)
);
CREATE INDEX edges_parent ON edges (parent);

CREATE TABLE metrics (
  job TEXT NOT NULL,
  name TEXT NOT NULL,
  step BIGINT NOT NULL,
  worker INTEGER NOT NULL,
  at BIGINT NOT NULL,
  value DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (job, name, step, worker)
);

-- How far the reports of one worker have been taken in.
CREATE TABLE reports (
  job TEXT NOT NULL,
  generation INTEGER NOT NULL,
  worker INTEGER NOT NULL,
  taken BIGINT NOT NULL,
  PRIMARY KEY (job, generation, worker)
);

CREATE TABLE tokens (
  hash TEXT PRIMARY KEY,
  id TEXT NOT NULL,
  username TEXT NOT NULL,
  label TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT
);
CREATE UNIQUE INDEX tokens_id ON tokens (id);
CREATE INDEX tokens_user ON tokens (username, id);

CREATE TABLE members (
  workspace TEXT NOT NULL,
  username TEXT NOT NULL,
  role TEXT NOT NULL,
  PRIMARY KEY (workspace, username)
);
CREATE INDEX members_user ON members (username);

CREATE TABLE idempotency (
  principal TEXT NOT NULL,
  key TEXT NOT NULL,
  request TEXT NOT NULL,
  answer TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (principal, key)
);
CREATE INDEX idempotency_age ON idempotency (created_at);

CREATE TABLE leases (
  name TEXT PRIMARY KEY,
  lock_token TEXT NOT NULL,
  lock_expires_at BIGINT NOT NULL
);
