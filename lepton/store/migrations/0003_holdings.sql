-- Which workspace holds which object: whoever may look into the workspace may read it, and nobody else.

CREATE TABLE holdings (
  digest TEXT NOT NULL,
  workspace TEXT NOT NULL,
  PRIMARY KEY (digest, workspace)
);

INSERT INTO holdings (digest, workspace)
SELECT DISTINCT {FILE_DIGEST}, versions.workspace FROM versions, {FILES};
