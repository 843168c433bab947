-- Facts about the platform itself, and finding a version by name without its kind.

CREATE TABLE facts (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
);

CREATE INDEX versions_name ON versions (workspace, name, id);
