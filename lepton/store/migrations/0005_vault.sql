-- The vault: sealed keys, its packs, and where branches stand.

CREATE TABLE vault_keys (
  kind INTEGER NOT NULL,
  owner {BLOB} NOT NULL,
  holder {BLOB} NOT NULL,
  holder_version INTEGER NOT NULL,
  version INTEGER NOT NULL,
  sealed {BLOB} NOT NULL,
  PRIMARY KEY (owner, kind)
);
CREATE INDEX vault_keys_holder ON vault_keys (holder, holder_version);

CREATE TABLE vault_packs (
  domain {BLOB} NOT NULL,
  seq BIGINT NOT NULL,
  pack {BLOB} NOT NULL UNIQUE,
  size_bytes BIGINT NOT NULL,
  chunks INTEGER NOT NULL,
  marked_at BIGINT NOT NULL,
  is_gone INTEGER NOT NULL,
  PRIMARY KEY (domain, seq)
);

CREATE TABLE vault_moves (
  domain {BLOB} NOT NULL,
  name TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  version {BLOB} NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (domain, name, epoch)
);
CREATE INDEX vault_moves_at ON vault_moves (domain, name, at, epoch);

CREATE TABLE vault_heads (
  domain {BLOB} NOT NULL,
  name TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  version {BLOB} NOT NULL,
  at BIGINT NOT NULL,
  is_deleted INTEGER NOT NULL,
  PRIMARY KEY (domain, name)
);

CREATE TABLE vault_domains (
  workspace TEXT PRIMARY KEY,
  tenant {BLOB} NOT NULL,
  domain {BLOB} NOT NULL UNIQUE
);

ALTER TABLE holdings ADD COLUMN domain {BLOB};
ALTER TABLE holdings ADD COLUMN blob {BLOB};
CREATE INDEX holdings_plain ON holdings (digest) WHERE blob IS NULL;
