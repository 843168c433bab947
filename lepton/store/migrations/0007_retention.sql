-- Versions of files that a retention rule has let go of: what only they held is pruned; who made them and why stays.

CREATE TABLE vault_let_go (
  domain {BLOB} NOT NULL,
  version {BLOB} NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (domain, version)
);
