-- What was taken back of signed tokens before they ended by themselves; forgotten once none of them can still live.

CREATE TABLE revoked (
  mark TEXT PRIMARY KEY,
  username TEXT NOT NULL,
  seq BIGINT NOT NULL,
  at BIGINT NOT NULL,
  until BIGINT NOT NULL
);
CREATE INDEX revoked_seq ON revoked (seq);
CREATE INDEX revoked_username ON revoked (username);
